#include "epoch_state.h"

const volatile uint64_t ss_nothing = 0;

ss_hot_state ss_hot = {.word = &ss_nothing, .mask = UINT64_MAX};
ss_epoch_cold ss_cold = {.watched = -1, .attestor = -1};
const ss_source *ss_epoch_source;

/* Apart, so that a draw under a raised fence makes no room for the words of a file that it does not need. */
static __attribute__((noinline)) bool reseeded_for(const ss_source *device, uint64_t shown)
{
    ss_file_words words = {0};
    const ss_source *attestor = ss_source_at(__atomic_load_n(&ss_cold.attestor, __ATOMIC_ACQUIRE));
    if (attestor)
        ss_source_read_words(attestor, &words);
    return ss_file_attests(&words, false, device->rdev, shown);
}

bool ss_epoch_reseeded(void)
{
    /* Between the fence's rise and the end of a change, what is remembered is of the epoch before. The rise came after the
       count had become odd, so whoever judges a raised fence sees that. */
    if (__atomic_load_n(&ss_cold.sequence, __ATOMIC_ACQUIRE) & 1)
        return false;
    const ss_source *source = __atomic_load_n(&ss_epoch_source, __ATOMIC_ACQUIRE);
    const uint64_t now = __atomic_load_n(&ss_hot.remembered, __ATOMIC_ACQUIRE);
    /* What was written for a generation that has seen a restore since tells of a reseed before that. */
    if (!source || now == __atomic_load_n(&ss_cold.outlived, __ATOMIC_ACQUIRE))
        return false;
    if (source->device)
        return reseeded_for(source, now);
    /* As ss_file_attests() of a file that is watched itself: of all its words that rule needs this one. */
    const uint64_t reseeded = ss_source_reseeded(source);
    return reseeded != 0 && reseeded == now;
}
