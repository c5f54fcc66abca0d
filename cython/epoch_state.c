#include "epoch_state.h"

const volatile uint64_t ss_nothing = 0;

ss_hot_state ss_hot = {.word = &ss_nothing, .mask = UINT64_MAX};
ss_epoch_cold ss_cold = {.watched = -1, .attestor = -1};
const ss_source *ss_epoch_source;

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
    ss_file_words words = {0};
    if (!source->device) { /* on every draw while the fence is up: reads the one word that it needs */
        words.reseeded = ss_source_reseeded(source);
        return ss_file_attests(&words, true, 0, now);
    }
    const ss_source *attestor = ss_source_at(__atomic_load_n(&ss_cold.attestor, __ATOMIC_ACQUIRE));
    if (attestor)
        ss_source_read_words(attestor, &words);
    return ss_file_attests(&words, false, source->rdev, now);
}
