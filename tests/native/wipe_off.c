/* LD_PRELOAD: what MADV_WIPEONFORK does, chosen by SNAPSAFE_TEST_WIPE. "ignored": it succeeds and does nothing, so that a
   clone of a process keeps the page, as a clone of a machine does. "unknown": EINVAL, as gVisor answers. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int madvise(void *address, size_t length, int advice)
{
    const char *wanted = getenv("SNAPSAFE_TEST_WIPE");
    if (advice == MADV_WIPEONFORK && wanted) {
        if (strcmp(wanted, "ignored") == 0)
            return 0;
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_madvise, address, length, advice);
}
