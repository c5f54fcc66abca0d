/* Seed provenance: was this seed, or this state, given out by the operating system?

   `random.seed(os.urandom(64))`, `random.seed(time.time())`, `copy.copy(rng)` and saving and restoring a state look explicit,
   yet what they hand over is nobody's choice, and must be renewed in a clone. So guarded entropy and getstate() leave
   fingerprints here, in bounded tables, and seed() and setstate() look them up.

   A fingerprint has 64 bits, so a chosen seed is not taken for the system's by chance. It is made of 15 bytes at most, by a keyed
   hash that loses half of those: what draws of 16 and more bytes give away to a reader of our memory is 64 bits that the others
   are not known of. What is too short to be a key, and the last UUID, which is no secret (RFC 9562, section 8), can be read there.
   No Python object; of draws no lock, racing writers lose some entries at most. */
#ifndef SNAPSAFE_PROVENANCE_H
#define SNAPSAFE_PROVENANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma GCC visibility push(hidden) /* else each access to a variable loads its address first */

typedef struct {
    uint64_t print, epoch;
} ss_provenance_entry;

/* What was drawn, in its order, with one writer at a time; who looks for something files it first. */
#define SS_PROVENANCE_NOTED 1024
extern ss_provenance_entry ss_provenance_noted[SS_PROVENANCE_NOTED];

/* Files it at once. Any thread. */
void ss_provenance_file(uint64_t print, uint64_t epoch);

/* The halves of the last UUID, for seeds that are a part of it; or the last draw of 4 to 8 bytes, little-endian, and how many it
   had. Atomic each. */
typedef struct {
    uint64_t head, tail;
} ss_provenance_ends;

extern ss_provenance_ends ss_provenance_last_draw, ss_provenance_last_uuid;

/* What each draw reads, in one line of the CPU's cache. Atomic each. The keys are 0 until ss_provenance_prepare(), and nothing is
   found then; the first is odd and the second even. `count` is that of all that was noted. */
typedef struct {
    uint64_t keys[2], count;
} __attribute__((aligned(64))) ss_provenance_hot;
extern ss_provenance_hot ss_provenance;

/* Multiply-shift hashing (Dietzfelbinger et al.) of two words. */
static inline uint64_t ss_provenance_print(uint64_t first, uint64_t second)
{
    return first * __atomic_load_n(&ss_provenance.keys[0], __ATOMIC_RELAXED) +
           second * __atomic_load_n(&ss_provenance.keys[1], __ATOMIC_RELAXED);
}

/* The same of a UUID of version 4, by its first half, past the bits that tell the version. */
static inline uint64_t ss_provenance_print_uuid(uint64_t high) { return ss_provenance_print(high | 0xf000, 0); }

/* Two threads without a GIL in common may leave one's print with the other's epoch, or lose one; an atomic pair would cost as
   much as all that we add to os.urandom. Without any GIL one counter would be every thread's, so there a print is filed at once:
   that is compat.h's word, which the including file has included, for this room does without Python. Both are found. */
static inline void ss_provenance_note_print(uint64_t print, uint64_t epoch)
{
#if defined(SS_FREE_THREADED) && SS_FREE_THREADED
    ss_provenance_file(print, epoch);
#else
    const uint64_t count = __atomic_load_n(&ss_provenance.count, __ATOMIC_RELAXED);
    ss_provenance_entry *entry = &ss_provenance_noted[count % SS_PROVENANCE_NOTED];
    __atomic_store_n(&entry->print, print, __ATOMIC_RELAXED);
    __atomic_store_n(&entry->epoch, epoch, __ATOMIC_RELAXED);
    __atomic_store_n(&ss_provenance.count, count + 1, __ATOMIC_RELEASE);
#endif
}

/* The slow half of ss_provenance_note_draw(): for a draw that is short or begins with a zero byte. */
void ss_provenance_note_any(const unsigned char *bytes, size_t size, uint64_t epoch);

static inline void ss_provenance_note_ends(ss_provenance_ends *last, uint64_t head, uint64_t tail)
{
    __atomic_store_n(&last->head, head, __ATOMIC_RELAXED);
    __atomic_store_n(&last->tail, tail, __ATOMIC_RELAXED);
}

/* Which of 9 and more bytes are the second word of a print. The last byte is left out, and all from the 16th on: so randbits(),
   which shifts the last bits out, and whoever cuts a draw leave what is looked for. */
static inline size_t ss_provenance_second(size_t size) { return size > 16 ? 7 : size - 9; }

/* Records bytes that guarded entropy gave out under `epoch`. */
static inline void ss_provenance_note_draw(const unsigned char *bytes, size_t size, uint64_t epoch)
{
    if (__builtin_expect(size > 8 && bytes[0], 1)) {
        uint64_t first, second;
        memcpy(&first, bytes, sizeof first);
        memcpy(&second, bytes + ss_provenance_second(size), sizeof second);
        ss_provenance_note_print(ss_provenance_print(first, second), epoch);
    } else {
        ss_provenance_note_any(bytes, size, epoch);
    }
}

/* Registers the fork handlers, once for the process. Returns 0 or an errno. */
int ss_provenance_setup(void);

/* Makes the keys, if there are none: before anything is noted. */
void ss_provenance_prepare(void);

/* Where to look for UUIDs besides the table: pool.c tells, for each, whether it drew one with this print. With the GIL;
   NULL where there is none. */
extern bool (*ss_provenance_pool)(uint64_t print, uint64_t *ret_epoch);

/* Was an int of these big-endian bytes (its magnitude) made of a noted draw: read big-endian (int.from_bytes, SystemRandom's
   getrandbits), little-endian, from a UUID, or from a part of the last of either (struct.unpack)? of_negative() of a negative
   number's magnitude, which was read as a signed one; of_number() of 8 bytes at most; of_bytes() big-endian and whole alone. With
   the GIL, or attached. */
bool ss_provenance_of_int(const unsigned char *big, size_t size, uint64_t *ret_epoch);
bool ss_provenance_of_negative(const unsigned char *big, size_t size, uint64_t *ret_epoch);
bool ss_provenance_of_number(uint64_t number, uint64_t *ret_epoch);
bool ss_provenance_of_bytes(const unsigned char *big, size_t size, uint64_t *ret_epoch);

/* A number has lost the zeros at its beginning, so what is noted, and looked for, begins behind them. */
static inline const unsigned char *ss_provenance_strip(const unsigned char *bytes, size_t *size)
{
    while (*size && !*bytes)
        bytes++, --*size;
    return bytes;
}

/* Of 8 bytes at most, big-endian. */
static inline uint64_t ss_provenance_read(const unsigned char *bytes, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* The most bytes of a number that are looked at; Random.seed() appends as many to a text: its SHA-512. */
#define SS_PROVENANCE_MOST 64

/* Records, with its tag, and recognises the 624 words of a Mersenne Twister that getstate() returned; and the print of anything
   else that travels as a state does. Any thread; takes a leaf lock. */
void ss_provenance_note_state(const uint32_t *words, uint32_t tag);
bool ss_provenance_of_state(const uint32_t *words, uint32_t *ret_tag);
void ss_provenance_note_made(uint64_t print, uint32_t tag);
bool ss_provenance_of_made(uint64_t print, uint32_t *ret_tag);

#pragma GCC visibility pop

#endif
