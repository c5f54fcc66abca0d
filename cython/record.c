#define _GNU_SOURCE
#include "record.h"

#include "entropy.h"
#include "epoch.h"
#include "openssl.h"
#include "source.h"
#include "sqlite.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3, include/uapi/linux/memfd.h */
#endif

struct record {
    char magic[8];
    uint32_t version, length, sequence, text_length;
    uint64_t pid;
    uint32_t watcher, callbacks;
    uint64_t hot, cold, fence_flag, fence, kept, sources;
    uint32_t source_size, source_count;
    ss_library_table libcryptos, libsqlites;
    uint32_t link;
};

_Static_assert(offsetof(struct record, hot) == 0x28 && offsetof(struct record, libcryptos) == 0x60 &&
                   sizeof(ss_library_table) == 32 && offsetof(struct record, link) == 0xa0 &&
                   sizeof(struct record) <= SS_RECORD_TEXT,
               "record.h says so");
/* What report/remote.py takes these for. */
_Static_assert(offsetof(ss_hot_state, epoch) == 24 && sizeof(ss_epoch_cold) == 48, "report/remote.py reads it");
_Static_assert(sizeof(ss_fence_state) == 56, "report/remote.py reads it");
_Static_assert(offsetof(ss_source, kind) == 16 && offsetof(ss_source, device) == 24 &&
                   offsetof(ss_source, let_go) == 25 && offsetof(ss_source, dev) == 32 &&
                   offsetof(ss_source, lost) == 48 && offsetof(ss_source, stuck) == 52,
               "report/remote.py reads it");

static struct record *record; /* atomic; never unmapped */

static int make(const uint64_t *kept)
{
    /* Where vm.memfd_noexec is 2 the flag is demanded; kernels before 6.3 do not know it. */
    int fd = memfd_create("snapsafe", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("snapsafe", MFD_CLOEXEC);
    if (fd < 0)
        return errno;
    struct record *made = MAP_FAILED;
    if (ftruncate(fd, SS_RECORD_LENGTH) == 0)
        made = mmap(NULL, SS_RECORD_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    int error = errno;
    close(fd);
    if (made == MAP_FAILED)
        return error;
    made->version = SS_RECORD_VERSION;
    made->length = SS_RECORD_LENGTH;
    made->pid = (uint64_t)getpid();
    made->hot = (uintptr_t)&ss_hot;
    made->cold = (uintptr_t)&ss_cold;
    made->fence_flag = (uintptr_t)&ss_fence_flag;
    made->fence = (uintptr_t)&ss_fence;
    made->sources = (uintptr_t)ss_source_table();
    made->kept = (uintptr_t)kept;
    made->source_size = sizeof(ss_source);
    made->source_count = SS_SOURCE_MAX;
    made->libcryptos = ss_openssl_table();
    made->libsqlites = ss_sqlite_table();
    __atomic_store_n(&record, made, __ATOMIC_RELEASE);
    return 0;
}

int ss_record_store(const void *text, size_t size, const uint64_t *kept)
{
    if (size > SS_RECORD_ROOM)
        return EMSGSIZE;
    if (!record) {
        int error = make(kept);
        if (error)
            return error;
    }
    uint32_t odd = (record->sequence + 1) | 1; /* whatever a clone of a thread in here has inherited */
    __atomic_store_n(&record->sequence, odd, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    record->text_length = (uint32_t)size;
    memcpy((char *)record + SS_RECORD_TEXT, text, size);
    /* Only now is it a record: a reader that comes before finds none. */
    memcpy(record->magic, "SNAPSAFE", sizeof record->magic);
    __atomic_store_n(&record->sequence, odd + 1, __ATOMIC_RELEASE);
    return 0;
}

void ss_record_set_watcher(uint32_t how)
{
    struct record *made = __atomic_load_n(&record, __ATOMIC_ACQUIRE);
    if (made)
        __atomic_store_n(&made->watcher, how, __ATOMIC_RELEASE);
}

void ss_record_set_contact(uint32_t state)
{
    struct record *made = __atomic_load_n(&record, __ATOMIC_ACQUIRE);
    if (made)
        __atomic_store_n(&made->link, state, __ATOMIC_RELEASE);
}

void ss_record_set_callbacks(uint32_t count)
{
    struct record *made = __atomic_load_n(&record, __ATOMIC_ACQUIRE);
    if (made)
        __atomic_store_n(&made->callbacks, count, __ATOMIC_RELEASE);
}

void ss_record_after_fork_in_child(void)
{
    if (record) {
        record->pid = (uint64_t)getpid();
        record->watcher = record->link = 0; /* the thread is not in this process */
    }
}
