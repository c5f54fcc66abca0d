/* LD_PRELOAD: stands between the hook and OpenSSL 3, whose functions the hook finds by dlsym().

   SNAPSAFE_TEST_NO_METHOD=1: RAND_set_rand_method() returns 1 and does nothing, as AWS-LC's and BoringSSL's does.
   Otherwise EVP_RAND_generate() is instrumented. Sound, without a window, as race.c: what it drew is stale if a change of the
   generation was complete before the draw ended (so before the hook's check), and the newest reseed that was complete
   when the draw began had asked for its entropy under an older generation. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "moving.h"

#define DRAWERS 4
static _Atomic int armed;
static _Atomic uint64_t seeded; /* the generation under which the newest complete reseed had asked for entropy */

/* For the scripts. */
unsigned long seam_generates, seam_reseeds;
unsigned char seam_discarded[64];

static __thread uint64_t asked, drawn_from, drawn_time;

/* Fenced entropy asks the kernel first. */
ssize_t getrandom(void *out, size_t size, unsigned flags)
{
    asked = generation();
    return syscall(SYS_getrandom, out, size, flags);
}

static int (*real_generate)(void *, unsigned char *, size_t, unsigned, int, const unsigned char *, size_t);
static int (*real_reseed)(void *, int, const unsigned char *, size_t, const unsigned char *, size_t);

static int reseed(void *rand, int prediction, const unsigned char *in, size_t size, const unsigned char *add, size_t more)
{
    uint64_t under = asked;
    int done = real_reseed(rand, prediction, in, size, add, more);
    uint64_t before = atomic_load(&seeded);
    while (done == 1 && before < under && !atomic_compare_exchange_weak(&seeded, &before, under)) {}
    __atomic_add_fetch(&seam_reseeds, 1, __ATOMIC_RELAXED);
    return done;
}

static int generate(void *rand, unsigned char *out, size_t size, unsigned strength, int prediction,
                    const unsigned char *add, size_t more)
{
    uint64_t from = atomic_load(&seeded);
    int done = real_generate(rand, out, size, strength, prediction, add, more);
    __atomic_add_fetch(&seam_generates, 1, __ATOMIC_RELAXED);
    if (atomic_exchange(&armed, 0)) {
        memcpy(seam_discarded, out, size < sizeof seam_discarded ? size : sizeof seam_discarded);
        if (page)
            bump();
    }
    for (volatile int i = 0; i < 200; i++) {} /* a gap in which the generation may move */
    drawn_from = from;
    drawn_time = now();
    return done;
}

static int do_nothing(const void *method)
{
    (void)method;
    return 1;
}

void *dlsym(void *restrict handle, const char *restrict name)
{
    static void *(*real)(void *, const char *);
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.17", "GLIBC_2.2.5"};
    for (size_t i = 0; !real && i < sizeof versions / sizeof *versions; i++)
        real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", versions[i]);
    void *found = real(handle, name);
    if (found && getenv("SNAPSAFE_TEST_NO_METHOD"))
        return strcmp(name, "RAND_set_rand_method") == 0 ? (void *)do_nothing : found;
    if (found && strcmp(name, "EVP_RAND_generate") == 0) {
        *(void **)&real_generate = found;
        return (void *)generate;
    }
    if (found && strcmp(name, "EVP_RAND_reseed") == 0) {
        *(void **)&real_reseed = found;
        return (void *)reseed;
    }
    return found;
}

/* ---- for the scripts ---- */

/* The page that moves. */
void seam_page(void *address) { page = address; }

/* The generation moves in the next draw, between its bytes and the hook's check. */
void seam_arm(void) { atomic_store(&armed, 1); }

static long rounds;
static int (*draw)(unsigned char *, int);

static void *drawing(void *unused)
{
    intptr_t stale = 0;
    unsigned char out[16];
    (void)unused;
    for (long i = 0; i < rounds; i++) {
        if (draw(out, sizeof out) != 1)
            abort();
        stale += drawn_from < complete_at(drawn_time);
    }
    return (void *)stale;
}

/* Four native threads, of which Python knows nothing, call rand_bytes; another moves the generation. Returns how many stale
   values got out, -1 if nothing moved. */
long seam_race(int (*rand_bytes)(unsigned char *, int), long each, long pause_ns)
{
    pthread_t bumper, drawers[DRAWERS];
    long stale = 0;
    uint64_t before = atomic_load(&log_count);
    draw = rand_bytes;
    rounds = each;
    atomic_store(&running, 1);
    if (pthread_create(&bumper, NULL, bumping, (void *)(intptr_t)pause_ns) != 0)
        abort();
    for (int i = 0; i < DRAWERS; i++)
        if (pthread_create(&drawers[i], NULL, drawing, NULL) != 0)
            abort();
    for (int i = 0; i < DRAWERS; i++) {
        void *result;
        pthread_join(drawers[i], &result);
        stale += (intptr_t)result;
    }
    atomic_store(&running, 0);
    pthread_join(bumper, NULL);
    return atomic_load(&log_count) > before + 10 ? stale : -1;
}
