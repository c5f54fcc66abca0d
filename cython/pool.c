#include "pool.h"

#include "entropy.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(sizeof(ss_pool_page) == SS_POOL_SIZE, "the pool fills its mapping");

static ss_pool_page no_pool;
ss_pool_page *ss_pool = &no_pool;

static ss_pool_page *make_pool(void)
{
    ss_pool_page *pool = mmap(NULL, SS_POOL_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool == MAP_FAILED)
        return NULL;
    (void)madvise(pool, SS_POOL_SIZE, MADV_WIPEONFORK);
    (void)madvise(pool, SS_POOL_SIZE, MADV_DONTDUMP); /* what will be drawn is nobody's business */
    return pool;
}

/* What UUIDs left in the pool before this one: they may be seeds yet. No secret is in it: what was drawn is erased. */
static struct {
    uint64_t epoch, size;
    unsigned char bytes[sizeof(((ss_pool_page *)0)->bytes)];
} last;

static void keep_prints(const ss_pool_page *pool)
{
    last.epoch = pool->epoch;
    last.size = sizeof pool->bytes - pool->left;
    memcpy(last.bytes, pool->bytes, last.size);
}

static bool has_print(const unsigned char *bytes, size_t size, uint64_t print)
{
    for (size_t at = 0; at + sizeof print <= size; at++)
        if (memcmp(bytes + at, &print, sizeof print) == 0)
            return true;
    return false;
}

/* Other draws than those of UUIDs may have moved these by any number of bytes. */
static bool drew(uint64_t print, uint64_t *ret_epoch)
{
    const ss_pool_page *pool = ss_pool;
    if (pool->token == ss_process_token() && has_print(pool->bytes, sizeof pool->bytes - pool->left, print)) {
        *ret_epoch = pool->epoch;
        return true;
    }
    if (!has_print(last.bytes, last.size, print))
        return false;
    *ret_epoch = last.epoch;
    return true;
}

void ss_pool_prepare(void)
{
    ss_provenance_prepare();
    if (SS_FREE_THREADED)
        return;
    ss_provenance_pool = drew;
    ss_pool_page *made = ss_pool != &no_pool ? NULL : make_pool();
    if (made)
        ss_pool = made;
}

/* The tag is the epoch that the caller captured before the kernel was asked: a restore in between makes the pool stale,
   not fresh. */
static bool refill(ss_pool_page *pool, uint64_t epoch)
{
    if (pool->token == ss_process_token())
        keep_prints(pool);
    pool->token = 0;
    pool->left = 0;
    if (ss_entropy_fill(pool->bytes, sizeof pool->bytes) != 0)
        return false;
    pool->epoch = epoch;
    pool->left = sizeof pool->bytes;
    pool->token = ss_process_token();
    return true;
}

static int asked(void *out, size_t size, uint64_t epoch)
{
    const int outcome = ss_entropy_fill(out, size);
    if (outcome == 0 && size == SS_POOL_UUID) {
        uint64_t half;
        memcpy(&half, out, sizeof half);
        ss_provenance_note_print(ss_provenance_print_uuid(half), epoch);
    }
    return outcome;
}

int ss_pool_draw(void *out, size_t size, uint64_t epoch)
{
    if (SS_FREE_THREADED || !ss_epoch_synchronous()) {
        if (ss_pool->token)
            ss_pool_discard();
        return asked(out, size, epoch);
    }
    if (ss_pool == &no_pool || size > sizeof ss_pool->bytes)
        return asked(out, size, epoch);
    return refill(ss_pool, epoch) ? ss_pool_take(out, size, epoch) : -1;
}

void ss_pool_discard(void)
{
    if (ss_pool->token) {
        ss_pool->token = 0;
        ss_pool->left = 0;
        explicit_bzero(ss_pool->bytes, sizeof ss_pool->bytes);
    }
}

size_t ss_pool_left(void)
{
    return ss_pool->token ? ss_pool->left : 0;
}
