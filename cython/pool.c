#include "pool.h"

#include "entropy.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(sizeof(ss_pool_page) == SS_POOL_SIZE, "the pool fills its mapping");

ss_pool_page *ss_pool;

static ss_pool_page *make_pool(void)
{
    ss_pool_page *pool = mmap(NULL, SS_POOL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool == MAP_FAILED)
        return NULL;
    (void)madvise(pool, SS_POOL_SIZE, MADV_WIPEONFORK);
    (void)madvise(pool, SS_POOL_SIZE, MADV_DONTDUMP); /* what will be drawn is nobody's business */
    return pool;
}

/* The tag is the epoch that the caller captured before the kernel was asked: a restore in between makes the pool stale,
   not fresh. */
static bool refill(ss_pool_page *pool, uint64_t epoch)
{
    pool->token = 0;
    pool->left = 0;
    if (ss_entropy_fill(pool->bytes, sizeof pool->bytes) != 0)
        return false;
    pool->epoch = epoch;
    pool->left = sizeof pool->bytes;
    pool->token = ss_process_token();
    return true;
}

int ss_pool_draw(void *out, size_t size, uint64_t epoch)
{
    if (SS_FREE_THREADED || !ss_epoch_synchronous()) {
        ss_pool_discard();
        return ss_entropy_fill(out, size);
    }
    if (!ss_pool)
        ss_pool = make_pool();
    if (!ss_pool || size > sizeof ss_pool->bytes)
        return ss_entropy_fill(out, size);
    return refill(ss_pool, epoch) ? ss_pool_take(out, size, epoch) : -1;
}

void ss_pool_discard(void)
{
    if (ss_pool && ss_pool->token) {
        ss_pool->token = 0;
        ss_pool->left = 0;
        explicit_bzero(ss_pool->bytes, sizeof ss_pool->bytes);
    }
}

size_t ss_pool_left(void)
{
    return ss_pool && ss_pool->token ? ss_pool->left : 0;
}
