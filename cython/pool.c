#define _GNU_SOURCE
#include "pool.h"

#include "entropy.h"
#include "epoch.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define POOL_SIZE 4096u
#define POOL_MAGIC 0x736e61707361666eu

/* All of it lies in one mapping that the kernel zeroes in children (MADV_WIPEONFORK): were the position or the epoch kept
   elsewhere, a child would hand out the zeroes. A zeroed pool has no magic, so it is none. Where the kernel does not know
   the advice (gVisor: EINVAL) the process token tells the child, by the pid and the fork handler of epoch.c. */
struct pool {
    uint64_t magic; /* written with the claim; peeked at without */
    uint64_t claim; /* of the thread that is in here */
    uint64_t epoch;
    uint64_t token;
    size_t position;
    unsigned char bytes[POOL_SIZE - 5 * sizeof(uint64_t)];
};
_Static_assert(sizeof(struct pool) == POOL_SIZE, "the pool fills its mapping");

static struct pool *the_pool; /* atomic; made once, never unmapped */

static struct pool *make_pool(void)
{
    struct pool *pool = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pool *expected = NULL;
    if (pool == MAP_FAILED)
        return NULL;
    (void)madvise(pool, POOL_SIZE, MADV_WIPEONFORK);
    (void)madvise(pool, POOL_SIZE, MADV_DONTDUMP); /* what will be drawn is nobody's business */
    if (!__atomic_compare_exchange_n(&the_pool, &expected, pool, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        (void)munmap(pool, POOL_SIZE);
        pool = expected;
    }
    return pool;
}

/* With the claim. The tag is the epoch that the caller captured before the kernel was asked: a restore in between makes
   the pool stale, not fresh. */
static bool refill(struct pool *pool, uint64_t epoch, uint64_t token)
{
    pool->magic = 0;
    if (ss_entropy_fill(pool->bytes, sizeof pool->bytes) != 0)
        return false;
    pool->epoch = epoch;
    pool->token = token;
    pool->position = 0;
    pool->magic = POOL_MAGIC;
    return true;
}

int ss_pool_take(void *out, size_t size, uint64_t epoch)
{
    struct pool *pool = __atomic_load_n(&the_pool, __ATOMIC_ACQUIRE);
    if (SS_UNLIKELY(!ss_epoch_synchronous())) {
        if (pool)
            ss_pool_discard();
        return ss_entropy_fill(out, size);
    }
    if (SS_UNLIKELY(!pool))
        pool = make_pool();
    uint64_t token = ss_process_token();
    if (SS_UNLIKELY(!pool || size > sizeof pool->bytes || !ss_claim_try(&pool->claim, token)))
        return ss_entropy_fill(out, size);
    if (SS_UNLIKELY(pool->magic != POOL_MAGIC || pool->epoch != epoch || pool->token != token ||
                    pool->position + size > sizeof pool->bytes) &&
        !refill(pool, epoch, token)) {
        ss_claim_end(&pool->claim);
        return -1;
    }
    memcpy(out, pool->bytes + pool->position, size);
    memset(pool->bytes + pool->position, 0, size); /* kept by the compiler: the page outlives this function */
    pool->position += size;
    ss_claim_end(&pool->claim);
    return 0;
}

void ss_pool_discard(void)
{
    struct pool *pool = __atomic_load_n(&the_pool, __ATOMIC_ACQUIRE);
    if (!pool || !__atomic_load_n(&pool->magic, __ATOMIC_RELAXED))
        return;
    /* A holder needs microseconds; one that was stopped in there may keep its bytes, which no later epoch gets. */
    if (ss_claim(&pool->claim)) {
        pool->magic = 0;
        explicit_bzero(pool->bytes, sizeof pool->bytes);
        ss_claim_end(&pool->claim);
    }
}

size_t ss_pool_left(void)
{
    struct pool *pool = __atomic_load_n(&the_pool, __ATOMIC_ACQUIRE);
    if (!pool || __atomic_load_n(&pool->magic, __ATOMIC_RELAXED) != POOL_MAGIC)
        return 0;
    return sizeof pool->bytes - __atomic_load_n(&pool->position, __ATOMIC_RELAXED);
}
