#define _GNU_SOURCE
#include "table.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

bool ss_table_is_ours(const ss_table *table)
{
    struct stat st;
    return table->own && fstat(table->mark, &st) == 0 && st.st_dev == table->mark_dev && st.st_ino == table->mark_ino;
}

bool ss_table_take(ss_table *table)
{
    struct stat st;
    table->own = false;
    if (syscall(SYS_close_range, 0U, ~0U, CLOSE_RANGE_UNSHARE) != 0)
        return false;
    table->mark = memfd_create("snapsafe-watch", MFD_CLOEXEC);
    if (table->mark < 0 || fstat(table->mark, &st) != 0)
        return false;
    table->mark_dev = st.st_dev;
    table->mark_ino = st.st_ino;
    table->own = true;
    return true;
}
