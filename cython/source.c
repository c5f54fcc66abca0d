#define _GNU_SOURCE 1
#include "source.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/major.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

static ss_source sources[SS_SOURCE_MAX];
static int source_count; /* atomic: the SIGBUS handler reads it */
static uint64_t last_read[SS_SOURCE_MAX]; /* atomic; by slot: what its word was, for the SIGBUS handler */
static struct stat first_root;            /* what "/" was when the first source was mapped */

static struct sigaction previous_sigbus;
static bool sigbus_installed; /* atomic */

static inline uint32_t load32(const ss_source *source, size_t offset)
{
    return __atomic_load_n((const volatile uint32_t *)(source->page + offset), __ATOMIC_ACQUIRE);
}

static inline uint64_t load64(const ss_source *source, size_t offset)
{
    return __atomic_load_n((const volatile uint64_t *)(source->page + offset), __ATOMIC_ACQUIRE);
}

/* Moves `page` to where the source is mapped: in one step, as a thread that reads the source sees it. Returns 0, or an errno
   after it has unmapped `page`. */
static int put_in_place(void *page, ss_source *source)
{
    if (mremap(page, source->length, source->length, MREMAP_MAYMOVE | MREMAP_FIXED, source->page) != MAP_FAILED)
        return 0;
    const int error = errno;
    (void)munmap(page, source->length);
    return error;
}

/* Fills the hole where a source's file was, with words that differ from the one last read in every bit. The memory is filled
   elsewhere and then moved, for several threads may fault at once. Async-signal-safe. Returns whether it is filled. */
static bool fill_hole(int slot)
{
    ss_source *source = &sources[slot];
    uint64_t *hole = mmap(NULL, source->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (hole == MAP_FAILED)
        return false;
    for (size_t word = 0; word < source->length / sizeof *hole; word++)
        hole[word] = ~__atomic_load_n(&last_read[slot], __ATOMIC_ACQUIRE);
    (void)mprotect(hole, source->length, PROT_READ);
    __atomic_store_n(&source->lost, 1, __ATOMIC_RELEASE); /* before anybody can take the hole for a generation */
    return put_in_place(hole, source) == 0;
}

/* Does a load from that page fault? Asked of the kernel; async-signal-safe. */
static bool is_hole(const ss_source *source)
{
    char byte;
    const struct iovec to = {.iov_base = &byte, .iov_len = 1}, from = {.iov_base = source->page, .iov_len = 1};
    return source->page && process_vm_readv(getpid(), &to, 1, &from, 1, 0) < 0 && errno == EFAULT;
}

/* A load from a file that was truncated under its mapping raises SIGBUS. As systemd's src/basic/sigbus.c does, this fills the
   hole with memory: so the load goes on, the guards see a change, and the slow path finds the source lost. A handler above
   ours may have taken the fault and raised the signal again for us, as faulthandler's does; then the load is repeated as well
   when both have returned, but which one it was is not said any more. Any other SIGBUS goes where it went before.
   Async-signal-safe; runs with whatever locks the faulting thread holds, and takes none. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
    const unsigned char *fault = info->si_addr;
    const bool passed_on = info->si_code == SI_TKILL && info->si_pid == getpid();
    int saved_errno = errno;
    bool filled = false;
    for (int i = 0; i < __atomic_load_n(&source_count, __ATOMIC_ACQUIRE); i++) {
        const ss_source *source = &sources[i];
        if (passed_on ? is_hole(source)
                      : info->si_code > 0 && fault >= source->page && fault < source->page + source->length)
            filled = fill_hole(i) || filled;
    }
    errno = saved_errno;
    if (filled)
        return;
    if (previous_sigbus.sa_flags & SA_SIGINFO) {
        previous_sigbus.sa_sigaction(number, info, context);
    } else if (previous_sigbus.sa_handler != SIG_DFL && previous_sigbus.sa_handler != SIG_IGN) {
        previous_sigbus.sa_handler(number);
    } else {
        /* The kernel kills for a fault under SIG_IGN too. Returning repeats the load, under the old action; a signal
           that was sent rather than caused is not repeated by that, so it is sent again. */
        (void)sigaction(SIGBUS, &previous_sigbus, NULL);
        __atomic_store_n(&sigbus_installed, false, __ATOMIC_RELAXED);
        if (info->si_code <= 0)
            (void)raise(number);
    }
}

static void hold_sigbus(void)
{
    if (__atomic_load_n(&sigbus_installed, __ATOMIC_RELAXED))
        return;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_sigbus;
    /* SA_NODEFER: the handler before ours may want to fault again, as faulthandler's does. */
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &previous_sigbus) == 0)
        __atomic_store_n(&sigbus_installed, true, __ATOMIC_RELAXED);
}

int ss_source_sigbus_state(void)
{
    struct sigaction now;
    if (!__atomic_load_n(&sigbus_installed, __ATOMIC_RELAXED))
        return 0;
    if (sigaction(SIGBUS, NULL, &now) != 0 || !(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_sigbus)
        return -1;
    return 1;
}

void ss_source_release_sigbus(void)
{
    if (ss_source_sigbus_state() != 1)
        return; /* the program put its own above ours: taking ours out would take that one out too */
    (void)sigaction(SIGBUS, &previous_sigbus, NULL);
    __atomic_store_n(&sigbus_installed, false, __ATOMIC_RELAXED);
}

#define NAME(magic, name) name,
const char *const ss_unreliable_file_systems[] = {SS_UNRELIABLE_FILE_SYSTEMS(NAME) NULL};

static bool on_unreliable_file_system(int fd)
{
#define MAGIC(magic, name) magic,
    static const uint32_t magics[] = {SS_UNRELIABLE_FILE_SYSTEMS(MAGIC)};
    struct statfs fs;
    bool found = false;
    if (fstatfs(fd, &fs) == 0) {
        for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
            found |= magics[i] == (uint32_t)fs.f_type;
    }
    return found;
}

/* The word of the page to watch; sets *ret_status where it is no source. */
static enum ss_source_word judge(const ss_source *source, int *ret_status)
{
    *ret_status = SS_SOURCE_OK;
    if (source->kind == SS_KIND_SYSGENID)
        return SS_WORD_GENERATION;
    if (load32(source, 0) != SS_VMCLOCK_MAGIC) {
        *ret_status = SS_SOURCE_MAGIC;
    } else if ((load32(source, SS_VMCLOCK_OFF_VERSION) & 0xffff) != SS_VMCLOCK_VERSION) {
        *ret_status = SS_SOURCE_VERSION;
    } else if (load64(source, SS_VMCLOCK_OFF_FLAGS) & SS_VMCLOCK_FLAG_GENERATION) {
        return SS_WORD_GENERATION;
    } else if (source->device) {
        return SS_WORD_DISRUPTION;
    } else {
        *ret_status = SS_SOURCE_NO_GENERATION;
    }
    return SS_WORD_NONE;
}

static int status_of_errno(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case ENODEV:
        return SS_SOURCE_MISSING;
    case EACCES:
    case EPERM:
        return SS_SOURCE_FORBIDDEN;
    default:
        return SS_SOURCE_SYSTEM;
    }
}

static int check_file(int fd, const struct stat *st, enum ss_source_kind kind)
{
    if (st->st_size < (kind == SS_KIND_VMCLOCK ? SS_VMCLOCK_SIZE : 4))
        return SS_SOURCE_SHORT;
    if (on_unreliable_file_system(fd))
        return SS_SOURCE_FILESYSTEM;
    /* Where the file has an access list, the bits of the group are the most that it gives to anybody: acl(5). */
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return SS_SOURCE_WRITABLE;
    if (!ss_process_trusts(st->st_uid))
        return SS_SOURCE_OWNER;
    return SS_SOURCE_OK;
}

int ss_source_detach(ss_source *source)
{
    if (!source->device || __atomic_load_n(&source->detached, __ATOMIC_ACQUIRE))
        return 0;
    void *copy = mmap(NULL, source->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return errno;
    for (int i = 0; i < SS_SEQLOCK_TRIES; i++) {
        const uint32_t before = source->kind == SS_KIND_VMCLOCK ? load32(source, SS_VMCLOCK_OFF_SEQ) : 0;
        memcpy(copy, source->page, source->length);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (source->kind != SS_KIND_VMCLOCK || (!(before & 1) && load32(source, SS_VMCLOCK_OFF_SEQ) == before))
            break;
    }
    (void)mprotect(copy, source->length, PROT_READ);
    __atomic_store_n(&source->detached, true, __ATOMIC_RELEASE); /* before the copy is there: from now on no pool draws ahead */
    const int error = put_in_place(copy, source);
    if (error)
        __atomic_store_n(&source->detached, false, __ATOMIC_RELEASE);
    return error;
}

/* Maps the device in the place of its copy. Returns 0 or an errno. */
static int reattach(ss_source *source, int fd)
{
    void *page = mmap(NULL, source->length, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return errno;
    const int error = put_in_place(page, source);
    if (!error)
        __atomic_store_n(&source->detached, false, __ATOMIC_RELEASE);
    return error;
}

/* The slot for a file that has none: one that an earlier file of the same path had, else a new one, else one of an activation
   that has ended. -1 if all are in use. */
static int free_slot(enum ss_source_kind kind, const char *path)
{
    int idle = -1;
    for (int i = 0; i < source_count; i++) {
        const ss_source *one = &sources[i];
        if (__atomic_load_n(&one->pins, __ATOMIC_ACQUIRE))
            continue;
        if (one->kind == kind && (path && one->path ? strcmp(path, one->path) == 0 : path == one->path))
            return i;
        if (one->idle && idle < 0)
            idle = i;
    }
    return source_count < SS_SOURCE_MAX ? source_count : idle;
}

/* Maps the open descriptor into a slot. A slot that is used again keeps its address, and the new page takes the place of the old
   one in one step. So a thread that was stopped on its way to the old word reads a word of the new page, and sees at its next
   step that the epoch has moved (ss_epoch_unchanged): the source was another one before the slot became free. */
static int map_descriptor(int fd, const struct stat *st, enum ss_source_kind kind, const char *path, int *ret_index,
                          int *ret_errno)
{
    static uint64_t serials;
    const int count = source_count;
    int status;
    for (int i = 0; i < count; i++) {
        ss_source *known = &sources[i];
        if (known->dev == st->st_dev && known->ino == st->st_ino && known->kind == kind &&
            !__atomic_load_n(&known->lost, __ATOMIC_ACQUIRE)) {
            if (__atomic_load_n(&known->detached, __ATOMIC_ACQUIRE)) {
                *ret_errno = reattach(known, fd);
                if (*ret_errno)
                    return status_of_errno(*ret_errno);
            }
            known->idle = false;
            __atomic_store_n(&known->word, judge(known, &status), __ATOMIC_RELAXED);
            *ret_index = i;
            return status;
        }
    }
    const int index = free_slot(kind, path);
    if (index < 0)
        return SS_SOURCE_FULL;
    if (S_ISCHR(st->st_mode) && major(st->st_rdev) == MEM_MAJOR)
        return SS_SOURCE_OTHER_DEVICE;
    /* VMClock's driver maps exactly one page, read-only, at offset 0. */
    const size_t length = (size_t)sysconf(_SC_PAGESIZE);
    char *name = path ? strdup(path) : NULL;
    void *page = path && !name ? MAP_FAILED : mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        *ret_errno = errno;
        free(name);
        return S_ISCHR(st->st_mode) && *ret_errno == ENODEV ? SS_SOURCE_OTHER_DEVICE : status_of_errno(*ret_errno);
    }
    ss_source *source = &sources[index];
    if (!S_ISCHR(st->st_mode))
        hold_sigbus(); /* before the first load from it */
    if (index < count) {
        __atomic_store_n(&source->lost, 1, __ATOMIC_RELEASE);
        *ret_errno = put_in_place(page, source);
        if (*ret_errno) {
            free(name);
            return SS_SOURCE_SYSTEM;
        }
    } else {
        memset(source, 0, sizeof *source);
        source->page = page;
        source->length = length;
    }
    free(source->path);
    source->path = name;
    source->kind = kind;
    source->device = S_ISCHR(st->st_mode);
    source->dev = st->st_dev;
    source->ino = st->st_ino;
    source->rdev = st->st_rdev;
    source->idle = false;
    source->serial = ++serials;
    __atomic_store_n(&source->stuck, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&source->detached, false, __ATOMIC_RELEASE);
    __atomic_store_n(&source->lost, 0, __ATOMIC_RELEASE);
    if (index == count)
        __atomic_store_n(&source_count, count + 1, __ATOMIC_RELEASE);
    source->word = judge(source, &status);
    if (__atomic_load_n(&source->lost, __ATOMIC_ACQUIRE))
        status = SS_SOURCE_SHORT;
    *ret_index = index;
    if (status == SS_SOURCE_OK && !first_root.st_ino)
        (void)stat("/", &first_root);
    if (status != SS_SOURCE_OK && index < count) {
        __atomic_store_n(&source->lost, 1, __ATOMIC_RELEASE); /* the slot stays the path's */
    } else if (status != SS_SOURCE_OK && !source->lost) {
        /* Nobody watches it yet: it may be unmapped. */
        __atomic_store_n(&source_count, count, __ATOMIC_RELEASE);
        (void)munmap(page, length);
        source->page = NULL;
        free(source->path);
        source->path = NULL;
    }
    return status;
}

void ss_source_pin(ss_source *source, uint32_t pin, bool pinned)
{
    if (pinned)
        (void)__atomic_or_fetch(&source->pins, pin, __ATOMIC_ACQ_REL);
    else
        (void)__atomic_and_fetch(&source->pins, ~pin, __ATOMIC_ACQ_REL);
}

void ss_source_release(void)
{
    for (int i = 0; i < source_count; i++)
        sources[i].idle = true;
}

bool ss_source_root_moved(void)
{
    struct stat now;
    return first_root.st_ino && (stat("/", &now) != 0 || now.st_dev != first_root.st_dev || now.st_ino != first_root.st_ino);
}

int ss_source_map(enum ss_source_kind kind, const char *path, int *ret_index, int *ret_errno)
{
    struct stat st;
    int status;
    *ret_index = -1;
    *ret_errno = 0;
    /* Looked at before it is opened: opening a strange device can have effects. */
    if (stat(path, &st) != 0) {
        *ret_errno = errno;
        return status_of_errno(errno);
    }
    if (!S_ISCHR(st.st_mode) && !S_ISREG(st.st_mode))
        return SS_SOURCE_NOT_A_FILE;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        *ret_errno = errno;
        return status_of_errno(errno);
    }
    if (fstat(fd, &st) != 0) {
        *ret_errno = errno;
        status = SS_SOURCE_SYSTEM;
    } else if (S_ISCHR(st.st_mode)) {
        status = map_descriptor(fd, &st, kind, path, ret_index, ret_errno);
    } else if (!S_ISREG(st.st_mode)) {
        status = SS_SOURCE_NOT_A_FILE;
    } else {
        status = check_file(fd, &st, kind);
        if (status == SS_SOURCE_OK)
            status = map_descriptor(fd, &st, kind, path, ret_index, ret_errno);
    }
    close(fd); /* the mapping holds the file */
    return status;
}

int ss_source_map_fd(enum ss_source_kind kind, int fd, int *ret_index, int *ret_errno)
{
    struct stat st;
    *ret_index = -1;
    *ret_errno = 0;
    if (fstat(fd, &st) != 0) {
        *ret_errno = errno;
        return SS_SOURCE_SYSTEM;
    }
    /* A file is refused: nobody could tell whether its path leads to another file by now. */
    return S_ISCHR(st.st_mode) ? map_descriptor(fd, &st, kind, NULL, ret_index, ret_errno) : SS_SOURCE_NOT_A_FILE;
}

ss_source *ss_source_at(int index)
{
    return index >= 0 && index < __atomic_load_n(&source_count, __ATOMIC_ACQUIRE) ? &sources[index] : NULL;
}

int ss_source_identify(ss_source *source, bool adopt)
{
    static const char gone[] = " (deleted)\n";
    const uint64_t page = (uint64_t)(uintptr_t)source->page;
    uint64_t start, end, inode;
    unsigned major_number, minor_number;
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    int named = -1;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && (length = getline(&line, &size, maps)) > 0) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*x %x:%x %" SCNu64, &start, &end, &major_number, &minor_number,
                   &inode) == 5 &&
            start <= page && page < end && inode != 0) { /* 0: the hole that on_sigbus() filled */
            if (adopt) {
                __atomic_store_n(&source->dev, makedev(major_number, minor_number), __ATOMIC_RELAXED);
                __atomic_store_n(&source->ino, inode, __ATOMIC_RELAXED);
            }
            named = length < (ssize_t)sizeof gone || strcmp(line + length - (sizeof gone - 1), gone) != 0;
        }
    }
    free(line);
    if (maps)
        (void)fclose(maps);
    return named;
}

const ss_source *ss_source_table(void)
{
    return sources;
}

static size_t word_offset(const ss_source *source)
{
    if (source->kind == SS_KIND_SYSGENID)
        return 0;
    return __atomic_load_n(&source->word, __ATOMIC_RELAXED) == SS_WORD_DISRUPTION ? SS_VMCLOCK_OFF_DISRUPTION : SS_VMCLOCK_OFF_GENERATION;
}

const volatile uint64_t *ss_source_address(const ss_source *source)
{
    return (const volatile uint64_t *)(source->page + word_offset(source));
}

uint64_t ss_source_mask(const ss_source *source)
{
    return source->kind == SS_KIND_SYSGENID ? UINT32_MAX : UINT64_MAX;
}

int ss_source_read(ss_source *source, uint64_t *ret_value)
{
    uint64_t value = 0;
    int outcome = SS_READ_STUCK, status;
    if (source->kind == SS_KIND_SYSGENID) {
        value = load32(source, 0);
        outcome = SS_READ_OK;
    }
    for (int i = 0; outcome == SS_READ_STUCK && i < SS_SEQLOCK_TRIES; i++) {
        /* The low bit masked: an odd count, an update in progress, never matches. */
        uint32_t before = load32(source, SS_VMCLOCK_OFF_SEQ) & ~1u;
        value = load64(source, word_offset(source));
        if (load32(source, SS_VMCLOCK_OFF_SEQ) == before)
            outcome = SS_READ_OK;
    }
    enum ss_source_word word = judge(source, &status);
    if (__atomic_load_n(&source->lost, __ATOMIC_ACQUIRE) || status != SS_SOURCE_OK ||
        word != __atomic_load_n(&source->word, __ATOMIC_RELAXED)) {
        __atomic_store_n(&source->lost, 1, __ATOMIC_RELEASE);
        *ret_value = 0;
        return SS_READ_LOST;
    }
    __atomic_store_n(&source->stuck, outcome == SS_READ_STUCK, __ATOMIC_RELEASE);
    __atomic_store_n(&last_read[source - sources], value, __ATOMIC_RELEASE);
    *ret_value = value;
    return outcome;
}

uint64_t ss_source_reseeded(const ss_source *source)
{
    if (source->device || source->kind != SS_KIND_VMCLOCK || __atomic_load_n(&source->lost, __ATOMIC_ACQUIRE))
        return 0;
    return load64(source, SS_FILE_OFF_RESEEDED);
}

uint64_t ss_source_signaller(const ss_source *source)
{
    if (source->device || source->kind != SS_KIND_VMCLOCK || __atomic_load_n(&source->lost, __ATOMIC_ACQUIRE))
        return 0;
    return load64(source, SS_FILE_OFF_SIGNALLER);
}

bool ss_source_written_for(const ss_source *file, const ss_source *device, uint64_t value)
{
    /* publish() moves the generation first, and writes which number of the device it is for afterwards. */
    const uint64_t signaller = ss_source_signaller(file);
    return signaller != 0 && signaller == device->rdev && load64(file, SS_FILE_OFF_SEEN) == value;
}

void ss_source_read_words(const ss_source *file, ss_file_words *ret_words)
{
    memset(ret_words, 0, sizeof *ret_words);
    if (file->device || file->kind != SS_KIND_VMCLOCK || __atomic_load_n(&file->lost, __ATOMIC_ACQUIRE))
        return;
    /* publish() writes them in the opposite order: the claim, the generation, and last what both are for. So where that is to
       be seen, they are. */
    ret_words->signaller = load64(file, SS_FILE_OFF_SIGNALLER);
    ret_words->seen = load64(file, SS_FILE_OFF_SEEN);
    ret_words->reseeded = load64(file, SS_FILE_OFF_RESEEDED);
    ret_words->generation = load64(file, SS_VMCLOCK_OFF_GENERATION);
}

bool ss_source_managed(const ss_source *source)
{
    return !source->device && source->kind == SS_KIND_VMCLOCK && !__atomic_load_n(&source->lost, __ATOMIC_ACQUIRE) &&
           load32(source, SS_FILE_OFF_MANAGED) == 1;
}

/* A read lock of anybody's is none. */
static bool write_locked(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = SS_FILE_OFF_MANAGED, .l_len = 4};
    return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

int ss_source_writer_gone(const char *path, const char *lock)
{
    uint32_t managed = 0;
    struct stat st, other;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    bool gone = pread(fd, &managed, sizeof managed, SS_FILE_OFF_MANAGED) == (ssize_t)sizeof managed && managed == 1 &&
                !write_locked(fd) && fstat(fd, &st) == 0;
    close(fd);
    if (!gone || stat(lock, &other) != 0 || !S_ISREG(other.st_mode) || other.st_uid != st.st_uid)
        return gone;
    fd = open(lock, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    gone = !write_locked(fd);
    close(fd);
    return gone;
}
