#define _GNU_SOURCE 1
#include "status_page.h"

#include "connection.h"
#include "entropy.h"
#include "epoch_state.h"
#include "openssl.h"
#include "process.h"
#include "source.h"
#include "sqlite.h"
#include "watcher.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3, include/uapi/linux/memfd.h */
#endif

struct page {
    char magic[8];
    uint32_t version, length, sequence, text_length;
    uint64_t pid;
    uint64_t seeds;
    uint64_t hot, cold, fence_flag, fence, kept, sources;
    uint32_t source_size, source_count;
    ss_library_table libcryptos, libsqlites;
    uint64_t watcher, connection, callbacks, looked;
};

_Static_assert(offsetof(struct page, hot) == 0x28 && offsetof(struct page, libcryptos) == 0x60 &&
                   sizeof(ss_library_table) == 32 && offsetof(struct page, watcher) == 0xa0 &&
                   sizeof(struct page) <= SS_STATUS_PAGE_TEXT,
               "status_page.h says so");
/* What report/remote.py takes these for. */
_Static_assert(offsetof(ss_hot_state, epoch) == 24 && sizeof(ss_epoch_cold) == 48 &&
                   offsetof(ss_epoch_cold, attestor) == 44,
               "report/remote.py reads it");
_Static_assert(offsetof(ss_looked_words, seen_ns) == 24, "report/remote.py reads it");
_Static_assert(sizeof(ss_fence_state) == 64, "report/remote.py reads it");
_Static_assert(offsetof(ss_source, kind) == 16 && offsetof(ss_source, device) == 24 &&
                   offsetof(ss_source, detached) == 25 && offsetof(ss_source, dev) == 32 &&
                   offsetof(ss_source, lost) == 48 && offsetof(ss_source, stuck) == 52 &&
                   offsetof(ss_source, rdev) == 56,
               "report/remote.py reads it");

ss_looked_words ss_looked;

static struct page *page; /* atomic; never unmapped */

static void after_fork_in_child(void) { page->pid = (uint64_t)getpid(); }

static int make(const uint64_t *kept, const uint32_t *callbacks, const ss_random_seeds *seeds)
{
    /* Where vm.memfd_noexec is 2 the flag is demanded; kernels before 6.3 do not know it. */
    int fd = memfd_create("snapsafe", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("snapsafe", MFD_CLOEXEC);
    if (fd < 0)
        return errno;
    struct page *made = MAP_FAILED;
    if (ftruncate(fd, SS_STATUS_PAGE_LENGTH) == 0)
        made = mmap(NULL, SS_STATUS_PAGE_LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    int error = errno;
    close(fd);
    if (made == MAP_FAILED)
        return error;
    error = pthread_atfork(NULL, NULL, after_fork_in_child);
    if (error) {
        (void)munmap(made, SS_STATUS_PAGE_LENGTH);
        return error;
    }
    made->version = SS_STATUS_PAGE_VERSION;
    made->length = SS_STATUS_PAGE_LENGTH;
    made->pid = (uint64_t)getpid();
    made->looked = (uintptr_t)&ss_looked;
    made->hot = (uintptr_t)&ss_hot;
    made->cold = (uintptr_t)&ss_cold;
    made->fence_flag = (uintptr_t)&ss_fence_flag;
    made->fence = (uintptr_t)&ss_fence;
    made->sources = (uintptr_t)ss_source_table();
    made->kept = (uintptr_t)kept;
    made->seeds = (uintptr_t)seeds;
    made->source_size = sizeof(ss_source);
    made->source_count = SS_SOURCE_MAX;
    made->libcryptos = ss_openssl_table();
    made->libsqlites = ss_sqlite_table();
    made->watcher = (uintptr_t)&ss_watcher_how;
    made->connection = (uintptr_t)&ss_connection_now;
    made->callbacks = (uintptr_t)callbacks;
    __atomic_store_n(&page, made, __ATOMIC_RELEASE);
    return 0;
}

int ss_status_page_store(const void *text, size_t size, const uint64_t *kept, const uint32_t *callbacks,
                         const ss_random_seeds *seeds)
{
    if (size > SS_STATUS_PAGE_CAPACITY)
        return EMSGSIZE;
    if (!page) {
        int error = make(kept, callbacks, seeds);
        if (error)
            return error;
    }
    page->pid = (uint64_t)ss_process_pid(); /* a child of clone(2) ran no handler */
    uint32_t odd = (page->sequence + 1) | 1; /* also in a child of clone(2) that inherited an odd count */
    __atomic_store_n(&page->sequence, odd, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    page->text_length = (uint32_t)size;
    memcpy((char *)page + SS_STATUS_PAGE_TEXT, text, size);
    /* A reader that comes before this finds no page, rather than an empty one. */
    memcpy(page->magic, "SNAPSAFE", sizeof page->magic);
    __atomic_store_n(&page->sequence, odd + 1, __ATOMIC_RELEASE);
    return 0;
}
