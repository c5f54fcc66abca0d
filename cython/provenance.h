/* Seed provenance: was this seed, or this state, given out by the operating system?

   `random.seed(os.urandom(64))`, `copy.copy(rng)` and saving and restoring a state look explicit, yet what they hand over
   is the system's, and must be renewed in a clone. So guarded entropy and getstate() leave fingerprints here, in two
   bounded rings, and seed() and setstate() look them up. A fingerprint is 32 bits of a keyed, lossy hash: it tells a
   reader of our memory next to nothing about a key. No Python object, no lock; racing writers lose an entry at most. */
#ifndef SNAPSAFE_PROVENANCE_H
#define SNAPSAFE_PROVENANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SS_PROVENANCE_DRAWS 256     /* a seed follows its draw closely */
#define SS_PROVENANCE_STATES 4096   /* states are kept for longer; each is looked for once a setstate() */
#define SS_PROVENANCE_MIN 4         /* bytes; shorter draws are too likely to look like a chosen seed */

extern uint64_t ss_provenance_key; /* atomic; odd, made when it is first needed; 0 until then */

/* Each entry: fingerprint in the low half (never 0), epoch in the high half. */
extern uint64_t ss_provenance_draws[SS_PROVENANCE_DRAWS];
extern uint32_t ss_provenance_next;

/* Multiply-shift hashing (Dietzfelbinger et al.) of the first 8 bytes with a secret odd multiplier: the high half of the
   product. */
static inline uint32_t ss_provenance_print(uint64_t word, uint64_t key)
{
    const uint32_t hash = (uint32_t)((word * key) >> 32);
    return hash ? hash : 1;
}

/* Two threads without a GIL in common may write to one place at once, and one entry is lost. An atomic increment would prevent
   that, but cost as much as all that we add to os.urandom. */
static inline void ss_provenance_note_print(uint32_t print, uint64_t epoch)
{
    const uint32_t place = __atomic_load_n(&ss_provenance_next, __ATOMIC_RELAXED);
    __atomic_store_n(&ss_provenance_next, place + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&ss_provenance_draws[place % SS_PROVENANCE_DRAWS], epoch << 32 | print, __ATOMIC_RELAXED);
}

/* The slow half of ss_provenance_note_draw(): for a draw that is short or begins with a zero byte, and for the first one. */
void ss_provenance_note_any(const unsigned char *bytes, size_t size, uint64_t epoch);

/* Records bytes that guarded entropy gave out under `epoch`. */
static inline void ss_provenance_note_draw(const unsigned char *bytes, size_t size, uint64_t epoch)
{
    const uint64_t key = __atomic_load_n(&ss_provenance_key, __ATOMIC_RELAXED);
    uint64_t word;
    if (__builtin_expect(size >= sizeof word && bytes[0] && key, 1)) {
        memcpy(&word, bytes, sizeof word);
        ss_provenance_note_print(ss_provenance_print(word, key), epoch);
    } else {
        ss_provenance_note_any(bytes, size, epoch);
    }
}

/* Was a seed of these big-endian bytes (an int's magnitude) made of a noted draw: read big-endian (int.from_bytes,
   Random.seed of bytes, SystemRandom.getrandbits), little-endian, or from its hex text (secrets.token_hex)? */
bool ss_provenance_of_seed(const unsigned char *big, size_t size, uint32_t *ret_epoch);

/* Records, and recognises, the 624 words of a Mersenne Twister that getstate() returned. */
void ss_provenance_note_state(const uint32_t *words, uint64_t epoch);
bool ss_provenance_of_state(const uint32_t *words, uint32_t *ret_epoch);

#endif
