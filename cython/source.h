/* The source room: maps a page that carries a generation, and reads it.

   Layout of the page: uapi-group/specifications UAPI.13 "VMClock" v1.1 (v1.0 misprints offset 0x64) and Linux
   include/uapi/linux/vmclock-abi.h; SysGenID: Amazon Linux drivers/misc/sysgenid.c. Nothing here touches a Python
   object or needs the GIL. The caller has the activation's lock (snapsafe_rt/state.py) where it maps, detaches, adopts or
   releases; whoever reads has none: the fields that change while a page is watched are atomic. */
#ifndef SNAPSAFE_SOURCE_H
#define SNAPSAFE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum ss_source_kind { SS_KIND_VMCLOCK = 0, SS_KIND_SYSGENID = 1 };

/* Which word of the page is watched; also the order of preference within one kind of file. */
enum ss_source_word { SS_WORD_NONE = 0, SS_WORD_GENERATION = 1, SS_WORD_DISRUPTION = 2 };

/* Why a path is not a source. SS_SOURCE_OK is 0; source/selection.py holds the sentence for each. */
enum ss_source_status {
    SS_SOURCE_OK = 0,
    SS_SOURCE_MISSING,        /* ENOENT, ENOTDIR, ENXIO, ENODEV */
    SS_SOURCE_FORBIDDEN,      /* EACCES, EPERM */
    SS_SOURCE_SYSTEM,         /* any other errno */
    SS_SOURCE_NOT_A_FILE,     /* a directory, FIFO, socket, block device */
    SS_SOURCE_FILESYSTEM,     /* a mapping there may not follow what is written (overlayfs, network, FUSE) */
    SS_SOURCE_WRITABLE,       /* others than its owner may write it, by its mode or an access list */
    SS_SOURCE_OWNER,          /* owned by an unrelated user */
    SS_SOURCE_SHORT,          /* the regular file is shorter than the layout */
    SS_SOURCE_MAGIC,          /* not "VCLK" */
    SS_SOURCE_VERSION,        /* a layout version other than 1 */
    SS_SOURCE_NO_GENERATION,  /* a file whose flag bit 8 is clear */
    SS_SOURCE_FULL,           /* SS_SOURCE_MAX pages are in use already */
    SS_SOURCE_LOST,           /* was a source; truncated or overwritten since */
    SS_SOURCE_OTHER_DEVICE    /* a device that is none of this kind: it cannot be mapped, or is one of the kernel's own */
};

enum ss_read { SS_READ_OK = 0, SS_READ_STUCK, SS_READ_LOST };

#define SS_SOURCE_MAX 16          /* pages that one process has mapped at a time */
#define SS_SEQLOCK_TRIES 1024     /* as AWS-LC: a hypervisor that stopped mid-update must not hang us */

/* VMClock's layout, little-endian: magic u32, version u16, counter's kind u8, sequence u32, disruption marker u64, flags u64,
   generation u64. */
#define SS_VMCLOCK_MAGIC 0x4b4c4356u
#define SS_VMCLOCK_VERSION 1
#define SS_VMCLOCK_SIZE 112
#define SS_VMCLOCK_OFF_VERSION 0x08
#define SS_VMCLOCK_OFF_COUNTER 0x0a
#define SS_VMCLOCK_OFF_SEQ 0x0c
#define SS_VMCLOCK_OFF_DISRUPTION 0x10
#define SS_VMCLOCK_OFF_FLAGS 0x18
#define SS_VMCLOCK_OFF_GENERATION 0x68
#define SS_VMCLOCK_FLAG_GENERATION 0x100u

/* Ours, beyond it and in files only, for a page of SS_FILE_SIZE. snapsafe_rt/source/vmclock_file.py writes them, for the
   manager and for `snapsafe trigger`.
   RESEEDED  u64: the kernel was reseeded for this generation.
   FROZEN    u32: 1 if the writer keeps the processes frozen until it has written.
   MANAGED   u32: 1 if a manager keeps the file; it holds OFD locks while it does (ss_source_writer_gone).
   SIGNALLER    u64: st_rdev of the device that the manager saw; without a device a pseudo-id of SS_FILE_NO_DEVICE or more.
   SEEN      u64: what that device showed when the manager wrote the generation. */
#define SS_FILE_SIZE 4096
#define SS_FILE_OFF_RESEEDED 0x800
#define SS_FILE_OFF_FROZEN 0x808
#define SS_FILE_OFF_MANAGED 0x80c
#define SS_FILE_OFF_SIGNALLER 0x810
#define SS_FILE_OFF_SEEN 0x818
#define SS_FILE_NO_DEVICE (UINT64_C(1) << 62) /* st_rdev is a 32-bit number */

/* File systems where a mapping may not follow what another process, container or host writes: the magic that statfs(2) shows
   (linux/magic.h), and how names of the type begin in /proc/PID/mountinfo. On overlayfs the first write copies the file up and
   leaves every older mapping on the lower one. */
#define SS_UNRELIABLE_FILE_SYSTEMS(X) \
    X(0x794c7630, "overlay") \
    X(0x6969, "nfs") \
    X(0x517b, "smb") \
    X(0xff534d42, "cifs") \
    X(0xfe534d42, "smb3") \
    X(0x01021997, "9p") \
    X(0x00c36400, "ceph") \
    X(0x65735546, "fuse") \
    X(0x65735546, "virtiofs")

/* Their names, with a NULL at the end. */
extern const char *const ss_unreliable_file_systems[];

typedef struct {
    unsigned char *page;      /* the address is mapped for good: a thread without the GIL may be reading there */
    size_t length;
    enum ss_source_kind kind;
    enum ss_source_word word; /* atomic */
    bool device;              /* a character device; else a regular file */
    bool detached;              /* atomic; a device whose page is a copy at present: see ss_source_detach() */
    dev_t dev; /* atomic, as ino is */
    ino_t ino;
    int lost;                 /* atomic; set by the SIGBUS handler or by a read that found another layout */
    int stuck;                /* atomic; the last read met SS_SEQLOCK_TRIES odd or moving sequence counts */
    dev_t rdev;               /* of a device: the same in every container, whatever its path */
    uint32_t pins;            /* atomic; SS_PIN_ bits: the slot is not used for another file while there is one */
    bool idle;                /* it was mapped for an activation that has ended */
    uint64_t serial;          /* of this mapping, among all that this process has made */
    char *path;               /* by which it was mapped; NULL: by a descriptor */
} ss_source;

#define SS_PIN_WATCHED 1u
#define SS_PIN_ATTESTS 2u

/* Opens, checks and maps `path`. Returns an enum ss_source_status; on SS_SOURCE_OK *ret_index is its slot, else
   *ret_errno holds errno or 0. Blocks no longer than open(2) of a device does (FIFOs are never waited for). */
int ss_source_map(enum ss_source_kind kind, const char *path, int *ret_index, int *ret_errno);

/* Before an index is watched or asked for its attestation, and after it no longer is. Any thread; takes no lock. */
void ss_source_pin(ss_source *source, uint32_t pin, bool pinned);

/* From here on every slot that is not pinned may be used for other files. Serialised as mapping is. */
void ss_source_release(void);

/* True where "/" is another folder than when the first source was mapped: after chroot(2), or in another mount namespace. A
   path that leads nowhere then says nothing of what is mapped. */
bool ss_source_root_moved(void);

/* Checks and maps a device that somebody else opened. `fd` stays open, and the caller's. SS_SOURCE_NOT_A_FILE if it is no
   character device. Else as ss_source_map(). */
int ss_source_map_fd(enum ss_source_kind kind, int fd, int *ret_index, int *ret_errno);

/* Unmaps a device and puts a copy of what it shows in its place: CRIU dumps no process that maps a device. The copy never
   changes, so it is not synchronous. Mapping the device again replaces the copy, and what changed meanwhile shows then.
   Returns 0, or an errno and the device stays mapped. Serialised as mapping is. */
int ss_source_detach(ss_source *source);

/* The slot, or NULL where `index` was never mapped. */
ss_source *ss_source_at(int index);

/* Looks up which file the slot's page is of now, and if `adopt` writes source->dev and ->ino: CRIU maps by path, so a process
   restored on another host has another file mapped. Without /proc they stay. On btrfs they become numbers that stat(2) never
   shows, so the file counts as replaced. Returns 1 if the file still has a name somewhere, 0 if not, -1 where that cannot be
   told. With the lock that mapping wants too. */
int ss_source_identify(ss_source *source, bool adopt);

/* The first of the SS_SOURCE_MAX slots, for status_page.c. */
const ss_source *ss_source_table(void);

/* Reads the watched word under the page's seqlock, at most SS_SEQLOCK_TRIES times. On SS_READ_STUCK *ret_value is the
   raw word; on SS_READ_LOST it is 0. Callable by any thread. */
int ss_source_read(ss_source *source, uint64_t *ret_value);

/* The watched word's address, aligned to 8, and the bits of it that count (SysGenID's counter is 32 bits wide). */
const volatile uint64_t *ss_source_address(const ss_source *source);
uint64_t ss_source_mask(const ss_source *source);

/* True while the generation is sure to change before any process of the clone runs: VMClock's device, or a file whose
   writer keeps the processes frozen until it has written. Never SysGenID: its driver moves when user space says so
   (SYSGENID_TRIGGER_GEN_UPDATE), and programs run meanwhile. A file may be shorter than SS_FILE_SIZE: the rest of its page
   reads as zeros. */
static inline bool ss_source_synchronous(const ss_source *source)
{
    if (__atomic_load_n(&source->lost, __ATOMIC_ACQUIRE) || __atomic_load_n(&source->detached, __ATOMIC_ACQUIRE) ||
        source->kind == SS_KIND_SYSGENID)
        return false;
    return source->device || __atomic_load_n((const uint32_t *)(source->page + SS_FILE_OFF_FROZEN), __ATOMIC_ACQUIRE) == 1;
}

/* The file's "kernel reseeded for generation" word; 0 for devices and SysGenID. */
uint64_t ss_source_reseeded(const ss_source *source);

/* The file's word at SS_FILE_OFF_SIGNALLER: which device signals restores to its manager. 0 for devices, SysGenID, and where no
   manager wrote. */
uint64_t ss_source_signaller(const ss_source *source);

/* What the writer of a file says besides its generation. */
typedef struct {
    uint64_t signaller, seen, reseeded, generation;
} ss_file_words;

/* The one rule by which a file attests that the kernel was reseeded after the restore that began an epoch. `shown`: what the
   watched word shows since then. `own`: that word is the file's generation; else it is a device's, with the st_rdev `device`,
   and the manager must have seen that device show it and claim the reseed for its newest generation. */
static inline bool ss_file_attests(const ss_file_words *file, bool own, uint64_t device, uint64_t shown)
{
    if (file->reseeded == 0)
        return false;
    return own ? file->reseeded == shown
               : device != 0 && file->signaller == device && file->seen == shown && file->reseeded == file->generation;
}

/* Reads a file's words as ss_file_attests() takes them; zeros for a device, SysGenID and a lost file. */
void ss_source_read_words(const ss_source *file, ss_file_words *ret_words);

/* True where a manager wrote `file` for the restore in which `device` changed to `value`. */
bool ss_source_written_for(const ss_source *file, const ss_source *device, uint64_t value);

/* Does the file say that a manager keeps it? False for devices and SysGenID. */
bool ss_source_managed(const ss_source *source);

/* 1 where a manager kept the file at `path` and is gone: no restore will be written into it. 0 where one keeps it, and for a file
   that no manager ever kept; -1 where it cannot be looked at. The manager holds a write lock on the word at SS_FILE_OFF_MANAGED,
   and on the file at `lock`: whoever may read the first can keep a lock from being taken there, but the second is made anew by
   each manager, and locked before it has its name. Takes no lock; needs a descriptor for a moment. */
int ss_source_writer_gone(const char *path, const char *lock);

/* Puts the process's SIGBUS handler back if ours is still installed. */
void ss_source_release_sigbus(void);

/* 1 our SIGBUS handler is installed, 0 none was needed yet, -1 the program replaced it (a truncated file kills). */
int ss_source_sigbus_state(void);

#endif
