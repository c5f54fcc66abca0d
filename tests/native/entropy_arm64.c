/* The arm64 half of entropy.c, run by .ci/arm64 under QEMU: `with` on a CPU that has RNDR, `without` on one that has not.
   The fence is raised, so that ss_entropy_mix() must bring a stream of its own; over zero bytes that stream is visible. */
#include "entropy.h"
#include "epoch.h"

#include <stdio.h>
#include <string.h>

static int failures;

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            failures++; \
        } \
    } while (0)

static bool all_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

/* Words of 64 bits that repeat or are all zeros or ones: a failed RNDR returns 0. */
static int implausible_words(const uint64_t *words, size_t count)
{
    int bad = 0;
    for (size_t i = 0; i < count; i++) {
        bad += words[i] == 0 || words[i] == UINT64_MAX;
        for (size_t j = 0; j < i; j++)
            bad += words[i] == words[j];
    }
    return bad;
}

static void test_stream(void)
{
    uint64_t words[512] = {0};
    ss_entropy_mix(words, sizeof words);
    EXPECT(implausible_words(words, sizeof words / sizeof *words) == 0);
}

/* Every length and alignment around a word, and not one byte beside it. */
static void test_bounds(void)
{
    for (size_t start = 1; start < 9; start++)
        for (size_t size = 0; size < 40; size++) {
            unsigned char bytes[64] = {0};
            ss_entropy_mix(bytes + start, size);
            EXPECT(all_zero(bytes, start));
            EXPECT(all_zero(bytes + start + size, sizeof bytes - start - size));
            EXPECT(size < 8 || !all_zero(bytes + start, size));
        }
}

static void test_fill(void)
{
    uint64_t words[64] = {0};
    EXPECT(ss_entropy_fill(words, sizeof words) == 0);
    EXPECT(implausible_words(words, sizeof words / sizeof *words) == 0);
}

int main(int argc, char **argv)
{
    ss_entropy_info info;
    bool with = argc == 2 && strcmp(argv[1], "with") == 0;
    if (!with && !(argc == 2 && strcmp(argv[1], "without") == 0)) {
        fprintf(stderr, "usage: entropy with|without\n");
        return 2;
    }

    unsigned char untouched[64] = {0};
    ss_entropy_mix(untouched, sizeof untouched);
    EXPECT(all_zero(untouched, sizeof untouched)); /* the fence is down: nothing is mixed in */

    ss_entropy_prepare();
    ss_entropy_raise();
    EXPECT(ss_fence_up());
    ss_entropy_inspect(&info);
    EXPECT(info.cpu == with);
    EXPECT(info.fence == (with ? SS_FENCE_CPU : SS_FENCE_DEGRADED));
    test_fill();
    if (with) {
        test_stream();
        test_bounds();
        ss_entropy_disable_cpu_for_testing(true);
        ss_entropy_inspect(&info);
        EXPECT(!info.cpu && info.fence == SS_FENCE_DEGRADED);
        test_fill();
        ss_entropy_disable_cpu_for_testing(false);
    }

    /* The host's bytes are used once each, in their own epoch, on every CPU. */
    unsigned char host[16], mixed[16] = {0};
    memset(host, 0x5a, sizeof host);
    EXPECT(ss_entropy_host(host, sizeof host, ss_epoch_begin() + 1) == 0);
    ss_entropy_inspect(&info);
    EXPECT(info.host_left == 0); /* they are of another epoch */
    EXPECT(ss_entropy_host(host, sizeof host, ss_epoch_begin()) == 0);
    ss_entropy_inspect(&info);
    EXPECT(info.host_left == sizeof host);
    ss_entropy_mix(mixed, sizeof mixed);
    EXPECT(!all_zero(mixed, sizeof mixed));
    EXPECT(with || memcmp(mixed, host, sizeof host) == 0);
    EXPECT(!with || memcmp(mixed, host, sizeof host) != 0);
    ss_entropy_inspect(&info);
    EXPECT(info.host_left == 0);

    printf("entropy_arm64 %s RNDR: %d failures\n", argv[1], failures);
    return failures != 0;
}
