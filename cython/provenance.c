#include "provenance.h"

#include <string.h>
#include <sys/random.h>

uint64_t ss_provenance_key, ss_provenance_draws[SS_PROVENANCE_DRAWS];
uint32_t ss_provenance_next;

static uint64_t states[SS_PROVENANCE_STATES]; /* entries as of the draws */
static uint32_t next_state;

static uint64_t secret(void)
{
    uint64_t value = __atomic_load_n(&ss_provenance_key, __ATOMIC_RELAXED);
    if (!value) {
        uint64_t fresh = 0;
        if (getrandom(&fresh, sizeof fresh, GRND_NONBLOCK) < 0)
            fresh = (uint64_t)(uintptr_t)&ss_provenance_key;
        fresh |= 1;
        /* One key for all threads, or entries of the loser would not be found again. */
        if (__atomic_compare_exchange_n(&ss_provenance_key, &value, fresh, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            value = fresh;
    }
    return value;
}

static uint32_t fingerprint(const unsigned char *bytes, size_t size)
{
    uint64_t word = 0;
    memcpy(&word, bytes, size < sizeof word ? size : sizeof word);
    return ss_provenance_print(word, secret());
}

static bool find(const uint64_t *ring, uint32_t length, uint32_t print, uint32_t *ret_epoch)
{
    for (uint32_t i = 0; i < length; i++) {
        uint64_t entry = __atomic_load_n(&ring[i], __ATOMIC_RELAXED);
        if ((uint32_t)entry == print) {
            *ret_epoch = (uint32_t)(entry >> 32);
            return true;
        }
    }
    return false;
}

void ss_provenance_note_any(const unsigned char *bytes, size_t size, uint64_t epoch)
{
    if (size < SS_PROVENANCE_MIN)
        return;
    ss_provenance_note_print(fingerprint(bytes, size), epoch);
    if (!bytes[0]) { /* an int made of them big-endian has lost its leading zeros */
        while (size > 1 && !*bytes)
            bytes++, size--;
        ss_provenance_note_print(fingerprint(bytes, size), epoch);
    }
}

static bool find_draw(const unsigned char *bytes, size_t size, uint32_t *ret_epoch)
{
    return find(ss_provenance_draws, SS_PROVENANCE_DRAWS, fingerprint(bytes, size), ret_epoch);
}

static int hex_digit(unsigned char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* SystemRandom.getrandbits(k), and so secrets.randbits(k), shift the draw right where k is no multiple of 8, so its last bits
   are lost. The first 8 bytes identify a longer draw; for a shorter one every value of the lost bits is tried. */
static bool find_shifted(const unsigned char *big, size_t size, uint32_t *ret_epoch)
{
    const unsigned char first = *big;
    uint64_t filter[256] = {0}; /* of the draws: most of the many candidates need no search */
    for (uint32_t i = 0; i < SS_PROVENANCE_DRAWS; i++) {
        uint64_t print = __atomic_load_n(&ss_provenance_draws[i], __ATOMIC_RELAXED);
        filter[print >> 6 & 255] |= UINT64_C(1) << (print & 63);
    }
    for (unsigned shift = 1; shift < 8; shift++) {
        /* The top of (number << shift), left-aligned; one byte longer where the shift carries out. */
        unsigned char word[8] = {0};
        bool carries = first >> (8 - shift);
        size_t whole = size + carries, known = whole < sizeof word ? whole : sizeof word;
        for (size_t i = 0; i < known; i++) {
            size_t at = carries ? i : i + 1; /* the byte of `big` whose upper bits go into byte i */
            unsigned low = at < size ? big[at] >> (8 - shift) : 0;
            unsigned high = at > 0 ? (unsigned)big[at - 1] << shift : 0;
            word[i] = (unsigned char)(high | low);
        }
        for (unsigned lost = 0; lost < (whole <= sizeof word ? 1u << shift : 1u); lost++) {
            if (lost)
                word[whole - 1] = (unsigned char)((word[whole - 1] & ~((1u << shift) - 1)) | lost);
            const uint32_t print = fingerprint(word, known);
            if (filter[print >> 6 & 255] >> (print & 63) & 1 &&
                find(ss_provenance_draws, SS_PROVENANCE_DRAWS, print, ret_epoch))
                return true;
        }
    }
    return false;
}

bool ss_provenance_of_seed(const unsigned char *big, size_t size, uint32_t *ret_epoch)
{
    unsigned char word[8];
    while (size && !*big)
        big++, size--;
    if (size < SS_PROVENANCE_MIN)
        return false;
    if (find_draw(big, size, ret_epoch))
        return true;
    size_t low = size < sizeof word ? size : sizeof word;
    memset(word, 0, sizeof word);
    for (size_t i = 0; i < low; i++)
        word[i] = big[size - 1 - i];
    if (find_draw(word, sizeof word, ret_epoch))
        return true;
    if (find_shifted(big, size, ret_epoch))
        return true;
    if (size < 2 * sizeof word)
        return false;
    for (size_t i = 0; i < sizeof word; i++) {
        int high = hex_digit(big[2 * i]), digit = hex_digit(big[2 * i + 1]);
        if (high < 0 || digit < 0)
            return false;
        word[i] = (unsigned char)(high << 4 | digit);
    }
    return find_draw(word, sizeof word, ret_epoch);
}

/* Four words across the array: it is rewritten as a whole every 624 draws, so equal words mean the same block. */
static uint32_t state_print(const uint32_t *words)
{
    uint64_t a = (uint64_t)words[1] << 32 | words[200], b = (uint64_t)words[396] << 32 | words[623];
    uint64_t mixed = a * secret() ^ b * (secret() * 0x9e3779b97f4a7c15u | 1);
    uint32_t hash = (uint32_t)(mixed >> 32);
    return hash ? hash : 1;
}

void ss_provenance_note_state(const uint32_t *words, uint64_t epoch)
{
    uint32_t known, print = state_print(words);
    if (!find(states, SS_PROVENANCE_STATES, print, &known) || known != (uint32_t)epoch) {
        const uint32_t place = __atomic_fetch_add(&next_state, 1, __ATOMIC_RELAXED) % SS_PROVENANCE_STATES;
        __atomic_store_n(&states[place], epoch << 32 | print, __ATOMIC_RELAXED);
    }
}

bool ss_provenance_of_state(const uint32_t *words, uint32_t *ret_epoch)
{
    return find(states, SS_PROVENANCE_STATES, state_print(words), ret_epoch);
}
