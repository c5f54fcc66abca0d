/* The origin table: was this seed, or this state, given out by the operating system?

   `random.seed(os.urandom(64))`, `copy.copy(rng)` and saving and restoring a state look explicit, yet what they hand over
   is the system's: in a clone it must be renewed. So guarded entropy and getstate() leave fingerprints here, in two
   bounded rings, and seed() and setstate() look them up. A fingerprint is 32 bits of a keyed, lossy hash: it tells a
   reader of our memory next to nothing about a key. No Python object, no lock; racing writers lose an entry at most. */
#ifndef SNAPSAFE_ORIGIN_H
#define SNAPSAFE_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SS_ORIGIN_DRAWS 256     /* a seed follows its draw closely */
#define SS_ORIGIN_STATES 4096   /* states are kept for longer; each is looked for once a setstate() */
#define SS_ORIGIN_MIN 4         /* bytes; shorter draws are too likely to look like a chosen seed */

/* Records bytes that guarded entropy gave out under `epoch`. */
void ss_origin_note_draw(const unsigned char *bytes, size_t size, uint64_t epoch);

/* Was a seed of these big-endian bytes (an int's magnitude) made of a noted draw: read big-endian (int.from_bytes,
   Random.seed of bytes, SystemRandom.getrandbits), little-endian, or from its hex text (secrets.token_hex)? */
bool ss_origin_of_seed(const unsigned char *big, size_t size, uint32_t *ret_epoch);

/* The same for the 624 words of a Mersenne Twister that getstate() returned. */
void ss_origin_note_state(const uint32_t *words, uint64_t epoch);
bool ss_origin_of_state(const uint32_t *words, uint32_t *ret_epoch);

#endif
