/* The pool room: fenced kernel bytes in advance, for values that are drawn so often that a system call each would tell.

   A pool lies in memory, so it is in every clone. It is therefore used only while a synchronous source is watched: then
   its epoch has moved before anybody in the clone can draw from it. Without one each draw asks the kernel, which is as
   safe as CPython itself is. Nothing here touches a Python object; any thread, with or without the GIL. */
#ifndef SNAPSAFE_POOL_H
#define SNAPSAFE_POOL_H

#include <stddef.h>
#include <stdint.h>

/* Fills `out` with bytes that nobody else gets, drawn under `epoch` (of ss_look(); the caller checks afterwards that it
   still stands). Returns 0, or -1 with errno set where neither the kernel nor the CPU gave any. At most a page's worth. */
int ss_pool_take(void *out, size_t size, uint64_t epoch);

/* Erases the pool: at deactivation and at activation, between which restores go unseen. */
void ss_pool_discard(void);

/* Bytes left in the pool, for status and tests; 0 while there is none. */
size_t ss_pool_left(void);

#endif
