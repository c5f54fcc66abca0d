/* The pool room: fenced kernel bytes in advance, for values that are drawn so often that a system call for each would cost
   too much.

   A pool lies in memory, so it is in every clone. It is therefore used only while a synchronous source is watched: then
   its epoch has moved before anybody in the clone can draw from it. Without one each draw asks the kernel, which is as
   safe as CPython itself is. Nothing here touches a Python object.

   Every function is called with the GIL, the one that all interpreters which can import the core share: it is the pool's
   lock. A lock of its own would cost a draw as much as all the rest. Free-threaded builds therefore have no pool. */
#ifndef SNAPSAFE_POOL_H
#define SNAPSAFE_POOL_H

#include "compat.h"
#include "epoch_state.h"
#include "process.h"
#include "provenance.h"

#pragma GCC visibility push(hidden) /* else each access to a variable loads its address first */

#define SS_POOL_SIZE 4096u
#define SS_POOL_UUID (2 * sizeof(uint64_t))

/* All of it lies in one mapping that the kernel zeroes in children (MADV_WIPEONFORK). If the position or the epoch lay
   elsewhere, a child would hand out the zeroes; so, a zeroed pool has no token and counts as empty. Where the kernel does not
   know the advice (gVisor: EINVAL), the token tells that the process is another one. */
typedef struct {
    uint64_t token; /* of the process that filled it; 0: there is nothing in it */
    uint64_t epoch;
    size_t left; /* bytes, at the end */
    unsigned char bytes[SS_POOL_SIZE - 3 * sizeof(uint64_t)];
} ss_pool_page;

extern ss_pool_page *ss_pool; /* never NULL, and never unmapped; an empty one that is not filled until ss_pool_prepare() */

/* The slow half of ss_pool_take(): fills the pool, or asks the kernel for these bytes alone. */
int ss_pool_draw(void *out, size_t size, uint64_t epoch);

/* Fills `out` with bytes that nobody else gets, drawn under `epoch` (of ss_epoch_begin(); the caller checks afterwards that it
   still stands). Returns 0, or -1 with errno set where neither the kernel nor the CPU gave any. At most a page's worth.
   Always inlined: where the size is known, copying and erasing are one instruction each. */
__attribute__((always_inline)) static inline int ss_pool_take(void *out, size_t size, uint64_t epoch)
{
    ss_pool_page *pool = ss_pool;
    if (SS_LIKELY(pool->left >= size && pool->epoch == epoch && pool->token == ss_process_token() &&
                  ss_epoch_synchronous())) {
        unsigned char *bytes = pool->bytes + sizeof pool->bytes - pool->left;
        memcpy(out, bytes, size);
        memset(bytes, 0, size); /* kept by the compiler: the page outlives this function */
        if (size == SS_POOL_UUID) { /* it leaves its fingerprint where it was: ss_provenance_pool */
            uint64_t half;
            memcpy(&half, out, sizeof half);
            half = ss_provenance_print_uuid(half);
            memcpy(bytes, &half, sizeof half);
        }
        pool->left -= size;
        return 0;
    }
    return ss_pool_draw(out, size, epoch);
}

/* Makes the empty pool, so that no draw has to map memory; without memory draws ask the kernel each time. */
void ss_pool_prepare(void);

/* Erases the pool: at deactivation and at activation, between which restores go unseen. */
void ss_pool_discard(void);

/* Bytes left in the pool, for status and tests; 0 while there is none. */
size_t ss_pool_left(void);

#pragma GCC visibility pop

#endif
