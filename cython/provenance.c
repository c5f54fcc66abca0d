#include "provenance.h"

#include <pthread.h>
#include <sys/random.h>

ss_provenance_entry ss_provenance_noted[SS_PROVENANCE_NOTED];
ss_provenance_ends ss_provenance_last_draw, ss_provenance_last_uuid;
ss_provenance_hot ss_provenance;
bool (*ss_provenance_pool)(uint64_t print, uint64_t *ret_epoch);

void ss_provenance_prepare(void)
{
    uint64_t fresh[2] = {0}, none = 0;
    if (__atomic_load_n(&ss_provenance.keys[0], __ATOMIC_RELAXED))
        return;
    if (getrandom(fresh, sizeof fresh, GRND_NONBLOCK) < 0)
        fresh[0] = fresh[1] = (uint64_t)(uintptr_t)&ss_provenance.keys * UINT64_C(0x9e3779b97f4a7c15);
    /* One pair for all threads, or entries of the loser would not be found again. */
    if (__atomic_compare_exchange_n(&ss_provenance.keys[1], &none, (fresh[1] | 1) << 1, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        __atomic_store_n(&ss_provenance.keys[0], fresh[0] | 1, __ATOMIC_RELAXED);
}

/* ---- the files ---- */

/* A print has one set, in which it is lost when as many others came after it. Of a draw that 1,000 others followed one in 600 is
   lost; of one of 4 to 8 bytes, which leave three prints each, one in 16, and after 100 one in 60,000. */
#define SET_BITS 11
#define WAYS_OF_DRAWS 4
static ss_provenance_entry files[1 << SET_BITS][WAYS_OF_DRAWS];
static uint8_t next_file[1 << SET_BITS]; /* modulo the ways */
static uint64_t filed;                   /* of ss_provenance.count */

void ss_provenance_file(uint64_t print, uint64_t epoch)
{
    const uint64_t set = print >> (64 - SET_BITS);
    const uint8_t way = __atomic_fetch_add(&next_file[set], 1, __ATOMIC_RELAXED);
    __atomic_store_n(&files[set][way % WAYS_OF_DRAWS].print, print, __ATOMIC_RELAXED);
    __atomic_store_n(&files[set][way % WAYS_OF_DRAWS].epoch, epoch, __ATOMIC_RELAXED);
}

/* Two interpreters may do so at once: a print is filed twice then. */
static void file_noted(void)
{
    const uint64_t count = __atomic_load_n(&ss_provenance.count, __ATOMIC_ACQUIRE);
    uint64_t at = __atomic_load_n(&filed, __ATOMIC_RELAXED);
    if (count - at > SS_PROVENANCE_NOTED)
        at = count - SS_PROVENANCE_NOTED;
    for (; at != count; at++) {
        const ss_provenance_entry *entry = &ss_provenance_noted[at % SS_PROVENANCE_NOTED];
        ss_provenance_file(__atomic_load_n(&entry->print, __ATOMIC_RELAXED), __atomic_load_n(&entry->epoch, __ATOMIC_RELAXED));
    }
    __atomic_store_n(&filed, count, __ATOMIC_RELAXED);
}

static bool find(uint64_t print, uint64_t *ret_epoch)
{
    if (__atomic_load_n(&ss_provenance.count, __ATOMIC_RELAXED) != __atomic_load_n(&filed, __ATOMIC_RELAXED))
        file_noted();
    const ss_provenance_entry *set = files[print >> (64 - SET_BITS)];
    for (int way = 0; print && way < WAYS_OF_DRAWS; way++) {
        if (__atomic_load_n(&set[way].print, __ATOMIC_RELAXED) == print) {
            *ret_epoch = __atomic_load_n(&set[way].epoch, __ATOMIC_RELAXED);
            return true;
        }
    }
    return false;
}

/* ---- draws of 2 to 8 bytes: by the numbers that they are ---- */

/* What is noted of a draw: the number that it is read from either end, and what is left when the last byte is cut off. */
enum { BIG = 1, LITTLE, CUT };

static void note_number(int kind, uint64_t number, uint64_t epoch)
{
    ss_provenance_file(ss_provenance_print(number, (uint64_t)kind), epoch);
}

static bool find_kind(int kind, uint64_t number, uint64_t *ret_epoch)
{
    return find(ss_provenance_print(number, (uint64_t)kind), ret_epoch);
}

/* Draws of 2 and 3 bytes: few numbers, so many a chosen seed equals one. Only the last few count. */
#define TINY 8
#define NOTED (UINT64_C(1) << 32) /* beside the number, which may be 0 */
static struct {
    uint64_t big, little, epoch;
} tiny[TINY];
static uint32_t next_tiny;

static void note_tiny(uint64_t big, uint64_t little, uint64_t epoch)
{
    const uint32_t place = __atomic_fetch_add(&next_tiny, 1, __ATOMIC_RELAXED) % TINY;
    __atomic_store_n(&tiny[place].big, big | NOTED, __ATOMIC_RELAXED);
    __atomic_store_n(&tiny[place].little, little | NOTED, __ATOMIC_RELAXED);
    __atomic_store_n(&tiny[place].epoch, epoch, __ATOMIC_RELAXED);
}

/* What has 8 bits or fewer, or is what randbits() and randbelow() leave of a draw (it is shifted right, by less than `shifts`),
   is common among chosen seeds: there the newest draw alone counts, for a seed follows its draw closely. */
static bool find_tiny(uint64_t number, unsigned shifts, uint64_t *ret_epoch)
{
    const uint32_t newest = __atomic_load_n(&next_tiny, __ATOMIC_RELAXED) - 1;
    for (uint32_t age = 0; number <= 0xffffff && age < TINY; age++) {
        const uint32_t place = (newest - age) % TINY;
        const uint64_t big = __atomic_load_n(&tiny[place].big, __ATOMIC_RELAXED);
        bool found = (number > 0xff || !age) &&
                     (big == (number | NOTED) || __atomic_load_n(&tiny[place].little, __ATOMIC_RELAXED) == (number | NOTED));
        for (unsigned shift = 1; big & NOTED && !age && shift < shifts; shift++)
            found = found || (big & ~NOTED) >> shift == number;
        if (found) {
            *ret_epoch = __atomic_load_n(&tiny[place].epoch, __ATOMIC_RELAXED);
            return true;
        }
    }
    return false;
}

static void note_short(const unsigned char *bytes, size_t size, uint64_t epoch)
{
    const uint64_t big = ss_provenance_read(bytes, size), little = __builtin_bswap64(big) >> (64 - 8 * size);
    if (size < 4) {
        note_tiny(big, little, epoch);
        return;
    }
    ss_provenance_note_ends(&ss_provenance_last_draw, little, size);
    note_number(BIG, big, epoch);
    note_number(LITTLE, little, epoch);
    note_number(CUT, big >> 8, epoch);
}

void ss_provenance_note_any(const unsigned char *bytes, size_t size, uint64_t epoch)
{
    const size_t whole = size;
    if (size < 2)
        return;
    if (size > 8)
        bytes = ss_provenance_strip(bytes, &size);
    if (whole > 16 && whole - size < 8) /* the first 16 of them, as a number, have lost the same zeros */
        ss_provenance_note_draw(bytes, 16 - (whole - size), epoch);
    if (size > 8)
        ss_provenance_note_draw(bytes, size, epoch);
    else
        note_short(bytes, size, epoch);
}

/* By its first half. */
static bool find_print_of_uuid(uint64_t high, uint64_t *ret_epoch)
{
    const uint64_t print = ss_provenance_print_uuid(high);
    return find(print, ret_epoch) || (ss_provenance_pool && ss_provenance_pool(print, ret_epoch));
}

/* 4 to 8 bytes that follow each other in the last `there` of a word, in either order; of 4 also without the first bit, as of
   `% 2**31`. Fewer are too few: many a chosen seed equals those. */
static bool is_part(uint64_t word, unsigned there, uint64_t number)
{
    const unsigned bits = number >> 32 ? (unsigned)(71 - __builtin_clzll(number)) / 8 * 8 : 32;
    const uint64_t mask = UINT64_MAX >> (64 - bits), low = number >> 31 ? mask : mask >> 1;
    for (unsigned skipped = 0; skipped + bits <= there; skipped += 8) {
        const uint64_t part = word >> skipped & mask, swapped = __builtin_bswap64(part) >> (64 - bits);
        if ((part & low) == number || (swapped & low) == number)
            return true;
    }
    return false;
}

/* `% (2**32 - 1)`, the most that numpy takes. */
static uint64_t folded(uint64_t head, uint64_t tail)
{
    return ((head >> 32) + (head & UINT32_MAX) + (tail >> 32) + (tail & UINT32_MAX)) % UINT32_MAX;
}

static bool find_part(uint64_t number, uint64_t *ret_epoch)
{
    const uint64_t draw = __atomic_load_n(&ss_provenance_last_draw.head, __ATOMIC_RELAXED);
    const unsigned bits = (unsigned)__atomic_load_n(&ss_provenance_last_draw.tail, __ATOMIC_RELAXED) * 8;
    const uint64_t head = __atomic_load_n(&ss_provenance_last_uuid.head, __ATOMIC_RELAXED);
    const uint64_t tail = __atomic_load_n(&ss_provenance_last_uuid.tail, __ATOMIC_RELAXED);
    const bool fits = number && number < UINT32_MAX;
    if ((is_part(draw, bits, number) ||
         (fits && bits && (number == folded(draw, 0) || number == folded(__builtin_bswap64(draw) >> (64 - bits), 0)))) &&
        find_kind(LITTLE, draw, ret_epoch))
        return true;
    return (is_part(head, 64, number) || is_part(tail, 64, number) || (fits && number == folded(head, tail))) &&
           find_print_of_uuid(head, ret_epoch);
}

static bool find_number(uint64_t number, uint64_t *ret_epoch)
{
    return find_tiny(number, 8, ret_epoch) || find_kind(BIG, number, ret_epoch) || find_kind(LITTLE, number, ret_epoch) ||
           find_part(number, ret_epoch);
}

/* ---- longer ones ---- */

#define ENOUGH 18 /* the first bytes of a number, of which a shift may need one more than a print */

static bool find_bytes(const unsigned char *bytes, size_t size, uint64_t *ret_epoch)
{
    uint64_t first, second;
    memcpy(&first, bytes, sizeof first);
    memcpy(&second, bytes + ss_provenance_second(size), sizeof second);
    return find(ss_provenance_print(first, second), ret_epoch);
}

/* SystemRandom.getrandbits(k), and so secrets.randbits(k), shift the draw right where k is no multiple of 8, so its last bits
   are lost. Of more than 8 bytes those are not part of the print; of a shorter draw every value of them is tried, once what is
   left without the last byte was found. `big` has ENOUGH bytes at least, or `size`. */
static bool find_shifted(const unsigned char *big, size_t size, uint64_t *ret_epoch)
{
    for (unsigned shift = 1; shift < 8; shift++) {
        const bool carries = big[0] >> (8 - shift);
        const size_t whole = size + carries;
        unsigned char bytes[ENOUGH] = {0};
        for (size_t i = 0; i < whole && i < sizeof bytes; i++) {
            const size_t at = carries ? i : i + 1; /* the byte of `big` whose upper bits go into byte i */
            const unsigned low = at < size ? big[at] >> (8 - shift) : 0;
            const unsigned high = at > 0 ? (unsigned)big[at - 1] << shift : 0;
            bytes[i] = (unsigned char)(high | low);
        }
        if (whole > 8 && find_bytes(bytes, whole, ret_epoch))
            return true;
    }
    return false;
}

/* The `size` bytes of a number, which has lost its leading zeros. */
static bool find_uuid(const unsigned char *number, size_t size, uint64_t *ret_epoch)
{
    unsigned char bytes[16] = {0};
    memcpy(bytes + sizeof bytes - size, number, size);
    if (bytes[6] >> 4 != 4 || bytes[8] >> 6 != 2)
        return false;
    return find_print_of_uuid(ss_provenance_read(bytes, 8), ret_epoch);
}

bool ss_provenance_of_bytes(const unsigned char *bytes, size_t size, uint64_t *ret_epoch)
{
    if (!__atomic_load_n(&ss_provenance.keys[0], __ATOMIC_RELAXED))
        return false;
    bytes = ss_provenance_strip(bytes, &size);
    if (size <= 8)
        return find_number(ss_provenance_read(bytes, size), ret_epoch);
    return find_bytes(bytes, size, ret_epoch) || (size <= 16 && find_uuid(bytes, size, ret_epoch));
}

/* A draw of more than 8 bytes that was read little-endian. Zeros at its end are gone from the number; four are one in 2^32. */
static bool find_reversed(const unsigned char *big, size_t size, uint64_t *ret_epoch)
{
    unsigned char reversed[ENOUGH] = {0};
    size_t kept = size;
    while (kept && !big[kept - 1]) /* the zeros at its beginning */
        kept--;
    if (size - kept > 3) /* of a chosen number, as 2**64: what is left may be any */
        return false;
    for (size_t i = 0; i < sizeof reversed && i < kept; i++)
        reversed[i] = big[kept - 1 - i];
    for (size_t zeros = 0; zeros < 4; zeros++)
        if (size + zeros > 8 && ss_provenance_of_bytes(reversed, kept + zeros, ret_epoch))
            return true;
    return false;
}

bool ss_provenance_of_int(const unsigned char *big, size_t size, uint64_t *ret_epoch)
{
    if (!__atomic_load_n(&ss_provenance.keys[0], __ATOMIC_RELAXED))
        return false;
    big = ss_provenance_strip(big, &size);
    if (size <= 8)
        return ss_provenance_of_number(ss_provenance_read(big, size), ret_epoch);
    if (ss_provenance_of_bytes(big, size, ret_epoch) || find_reversed(big, size, ret_epoch) || find_shifted(big, size, ret_epoch))
        return true;
    return size == SS_PROVENANCE_MOST && find_tiny(0, 1, ret_epoch); /* two bytes of zero leave nothing before their hash */
}

bool ss_provenance_of_negative(const unsigned char *big, size_t size, uint64_t *ret_epoch)
{
    unsigned char read[SS_PROVENANCE_MOST + 1];
    big = ss_provenance_strip(big, &size);
    /* It had as many bytes, or more, whose first were all ones. */
    for (size_t whole = size < 2 ? 2 : size; size <= SS_PROVENANCE_MOST && whole <= (size < 8 ? 8 : size + 1); whole++) {
        unsigned carry = 1;
        for (size_t i = 0; i < whole; i++) {
            carry += i < size ? 255u - big[size - 1 - i] : 255u;
            read[whole - 1 - i] = (unsigned char)carry;
            carry >>= 8;
        }
        if (read[0] >> 7 && ss_provenance_of_int(read, whole, ret_epoch))
            return true;
    }
    return false;
}

bool ss_provenance_of_number(uint64_t number, uint64_t *ret_epoch)
{
    unsigned char big[8];
    if (!__atomic_load_n(&ss_provenance.keys[0], __ATOMIC_RELAXED))
        return false;
    if (find_number(number, ret_epoch))
        return true;
    for (int i = 0; i < 8; i++)
        big[i] = (unsigned char)(number >> (56 - 8 * i));
    if (number >> 48 && find_reversed(big + !big[0], sizeof big - !big[0], ret_epoch))
        return true;
    for (unsigned shift = 1; shift < 8; shift++) {
        if (number >> (64 - shift))
            return find_shifted(big, sizeof big, ret_epoch);
        if (!find_kind(CUT, number >> (8 - shift), ret_epoch))
            continue;
        for (uint64_t lost = 0; lost < 1u << shift; lost++)
            if (find_number(number << shift | lost, ret_epoch))
                return true;
    }
    return false;
}

/* ---- states ---- */

#define WAYS 8
#define SETS 2048 /* with WAYS: the last 16,384 states or so, which are kept for longer than draws */

/* A print and its tag go together, also where two interpreters have no GIL in common, or none at all. A leaf lock. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t states[SETS][WAYS];
static uint32_t state_tags[SETS][WAYS], next_way;

static void before_fork(void) { (void)pthread_mutex_lock(&mutex); }
static void after_fork_in_parent(void) { (void)pthread_mutex_unlock(&mutex); }
static void after_fork_in_child(void) { (void)pthread_mutex_init(&mutex, NULL); }

static int error;
static void set_up(void) { error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }

int ss_provenance_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* two interpreters may import the core at once */
    (void)pthread_once(&once, set_up);
    return error;
}

/* Four words across the array: it is rewritten as a whole every 624 draws, so equal words mean the same block. */
static uint64_t state_print(const uint32_t *words)
{
    return ss_provenance_print((uint64_t)words[1] << 32 | words[200], (uint64_t)words[396] << 32 | words[623]);
}

static int find_way(const uint64_t *set, uint64_t print)
{
    for (int i = 0; i < WAYS; i++)
        if (set[i] == print)
            return i;
    return -1;
}

void ss_provenance_note_made(uint64_t print, uint32_t tag)
{
    print = print ? print : 1; /* 0: an empty place */
    const size_t set = print >> 32 & (SETS - 1);
    (void)pthread_mutex_lock(&mutex);
    int way = find_way(states[set], print);
    if (way < 0)
        way = find_way(states[set], 0);
    if (way < 0)
        way = (int)(next_way++ % WAYS);
    state_tags[set][way] = tag;
    states[set][way] = print;
    (void)pthread_mutex_unlock(&mutex);
}

bool ss_provenance_of_made(uint64_t print, uint32_t *ret_tag)
{
    print = print ? print : 1;
    const size_t set = print >> 32 & (SETS - 1);
    (void)pthread_mutex_lock(&mutex);
    const int way = find_way(states[set], print);
    if (way >= 0)
        *ret_tag = state_tags[set][way];
    (void)pthread_mutex_unlock(&mutex);
    return way >= 0;
}

void ss_provenance_note_state(const uint32_t *words, uint32_t tag)
{
    ss_provenance_note_made(state_print(words), tag);
}

bool ss_provenance_of_state(const uint32_t *words, uint32_t *ret_tag)
{
    return ss_provenance_of_made(state_print(words), ret_tag);
}
