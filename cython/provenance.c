#include "provenance.h"

#include "process.h"

#include <pthread.h>
#include <sys/random.h>
#include <time.h>

ss_provenance_entry ss_provenance_draws[1 << SS_PROVENANCE_BITS];
ss_provenance_ends ss_provenance_last_draw, ss_provenance_last_uuid;
uint64_t ss_provenance_keys[2];
bool (*ss_provenance_pool)(uint64_t print, uint64_t *ret_epoch);

void ss_provenance_prepare(void)
{
    uint64_t fresh[2] = {0}, none = 0;
    if (__atomic_load_n(&ss_provenance_keys[0], __ATOMIC_RELAXED))
        return;
    if (getrandom(fresh, sizeof fresh, GRND_NONBLOCK) < 0)
        fresh[0] = fresh[1] = (uint64_t)(uintptr_t)&ss_provenance_keys * UINT64_C(0x9e3779b97f4a7c15);
    /* One pair for all threads, or entries of the loser would not be found again. */
    if (__atomic_compare_exchange_n(&ss_provenance_keys[1], &none, (fresh[1] | 1) << 1, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        __atomic_store_n(&ss_provenance_keys[0], fresh[0] | 1, __ATOMIC_RELAXED);
}

static bool find_in(const ss_provenance_entry *entry, uint64_t print, uint64_t *ret_epoch)
{
    if (__atomic_load_n(&entry->print, __ATOMIC_RELAXED) != print || !print)
        return false;
    *ret_epoch = __atomic_load_n(&entry->epoch, __ATOMIC_RELAXED);
    return true;
}

static bool find(uint64_t print, uint64_t *ret_epoch)
{
    return find_in(&ss_provenance_draws[print >> (64 - SS_PROVENANCE_BITS)], print, ret_epoch);
}

/* ---- draws of 2 to 8 bytes: by the numbers that they are ---- */

/* What is noted of a draw: the number that it is read from either end, and what is left when the last byte is cut off. Each
   has a table of its own, or the three of one draw would take each other's place now and then. */
enum { BIG, LITTLE, CUT, KINDS };
static ss_provenance_entry numbers[KINDS][1 << 8];

static void note_number(int kind, uint64_t number, uint64_t epoch)
{
    const uint64_t print = ss_provenance_print(number, 0);
    __atomic_store_n(&numbers[kind][print >> 56].print, print, __ATOMIC_RELAXED);
    __atomic_store_n(&numbers[kind][print >> 56].epoch, epoch, __ATOMIC_RELAXED);
}

static bool find_kind(int kind, uint64_t number, uint64_t *ret_epoch)
{
    const uint64_t print = ss_provenance_print(number, 0);
    return find_in(&numbers[kind][print >> 56], print, ret_epoch);
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
    uint64_t big = 0, little = 0;
    for (size_t i = 0; i < size; i++) {
        big = big << 8 | bytes[i];
        little |= (uint64_t)bytes[i] << 8 * i;
    }
    if (size < 4) {
        note_tiny(big, little, epoch);
        return;
    }
    ss_provenance_note_ends(&ss_provenance_last_draw, little, 0);
    note_number(BIG, big, epoch);
    note_number(LITTLE, little, epoch);
    note_number(CUT, big >> 8, epoch);
}

/* A number has lost the zeros at its beginning, so what is noted, and looked for, begins behind them. */
static const unsigned char *strip(const unsigned char *bytes, size_t *size)
{
    while (*size && !*bytes)
        bytes++, --*size;
    return bytes;
}

void ss_provenance_note_any(const unsigned char *bytes, size_t size, uint64_t epoch)
{
    if (size > 8)
        bytes = strip(bytes, &size);
    else if (size < 2)
        return;
    if (size > 8)
        ss_provenance_note_draw(bytes, size, epoch);
    else
        note_short(bytes, size, epoch);
}

/* 4 to 8 bytes that follow each other in the last short draw, or in the last UUID, in either order. Fewer are too few: many a
   chosen seed equals those. */
static bool is_part(const ss_provenance_ends *last, uint64_t number)
{
    const unsigned bits = number >> 32 ? (unsigned)(71 - __builtin_clzll(number)) / 8 * 8 : 32;
    const uint64_t swapped = __builtin_bswap64(number) >> (64 - bits), mask = UINT64_MAX >> (64 - bits);
    const uint64_t head = __atomic_load_n(&last->head, __ATOMIC_RELAXED), tail = __atomic_load_n(&last->tail, __ATOMIC_RELAXED);
    for (unsigned skipped = 0; number >> 16 && skipped <= 64 - bits; skipped += 8) {
        const uint64_t first = head >> skipped & mask, second = tail >> skipped & mask;
        if (first == number || first == swapped || second == number || second == swapped)
            return true;
    }
    return false;
}

static bool find_part(uint64_t number, uint64_t *ret_epoch)
{
    const uint64_t draw = __atomic_load_n(&ss_provenance_last_draw.head, __ATOMIC_RELAXED);
    const uint64_t print = ss_provenance_print_uuid(__atomic_load_n(&ss_provenance_last_uuid.head, __ATOMIC_RELAXED));
    return (is_part(&ss_provenance_last_draw, number) && find_kind(LITTLE, draw, ret_epoch)) ||
           (is_part(&ss_provenance_last_uuid, number) && (find(print, ret_epoch) || (ss_provenance_pool && ss_provenance_pool(print, ret_epoch))));
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

static uint64_t number_of(const unsigned char *bytes, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* The `size` bytes of a number, which has lost its leading zeros. */
static bool find_uuid(const unsigned char *number, size_t size, uint64_t *ret_epoch)
{
    unsigned char bytes[16] = {0};
    memcpy(bytes + sizeof bytes - size, number, size);
    if (bytes[6] >> 4 != 4 || bytes[8] >> 6 != 2)
        return false;
    const uint64_t print = ss_provenance_print_uuid(number_of(bytes, 8));
    return find(print, ret_epoch) || (ss_provenance_pool && ss_provenance_pool(print, ret_epoch));
}

static bool find_whole(const unsigned char *bytes, size_t size, uint64_t *ret_epoch)
{
    bytes = strip(bytes, &size);
    if (size <= 8)
        return find_number(number_of(bytes, size), ret_epoch);
    return find_bytes(bytes, size, ret_epoch) || (size <= 16 && find_uuid(bytes, size, ret_epoch));
}

/* A draw of more than 8 bytes that was read little-endian. Zeros at its end are gone from the number; three are one in
   16 million. */
static bool find_reversed(const unsigned char *big, size_t size, uint64_t *ret_epoch)
{
    unsigned char reversed[ENOUGH] = {0};
    size_t kept = size;
    while (kept && !big[kept - 1]) /* the zeros at its beginning */
        kept--;
    for (size_t i = 0; i < sizeof reversed && i < kept; i++)
        reversed[i] = big[kept - 1 - i];
    for (size_t zeros = 0; zeros < 3; zeros++)
        if (size + zeros > 8 && find_whole(reversed, kept + zeros, ret_epoch))
            return true;
    return false;
}

static bool find_text(const unsigned char *text, size_t size, uint64_t *ret_epoch);
static bool find_base64(const unsigned char *text, size_t size, uint64_t *ret_epoch);

#define DIGEST 64 /* Random.seed() appends the SHA-512 of bytes or text to it, and takes all for a number */

bool ss_provenance_of_seed(const unsigned char *big, size_t size, uint64_t *ret_epoch)
{
    if (!__atomic_load_n(&ss_provenance_keys[0], __ATOMIC_RELAXED))
        return false;
    big = strip(big, &size);
    if (size <= 8)
        return ss_provenance_of_number(number_of(big, size), ret_epoch);
    if (find_whole(big, size, ret_epoch) || find_reversed(big, size, ret_epoch) || find_shifted(big, size, ret_epoch))
        return true;
    if (size <= DIGEST) /* two bytes of zero leave nothing before it */
        return size == DIGEST && find_tiny(0, 1, ret_epoch);
    const size_t text = size - DIGEST;
    return find_whole(big, text, ret_epoch) || find_text(big, text, ret_epoch) || find_base64(big, text, ret_epoch);
}

bool ss_provenance_of_number(uint64_t number, uint64_t *ret_epoch)
{
    unsigned char big[8];
    if (!__atomic_load_n(&ss_provenance_keys[0], __ATOMIC_RELAXED))
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

/* ---- clocks, and the process ---- */

#define RECENT_S 5
#define LEAST_PID 100

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool ss_provenance_of_moment(uint64_t number)
{
    if (number < LEAST_PID)
        return false;
    if (number < 1u << 22) /* Linux include/linux/threads.h, PID_MAX_LIMIT */
        return number == (uint64_t)ss_process_pid();
    if (number < 1000000000) /* seconds of 2001 */
        return false;
    const int64_t since_1970 = now_ns(CLOCK_REALTIME);
    for (int64_t unit = 1; unit <= 1000000000; unit *= 1000) {
        const uint64_t now = (uint64_t)(since_1970 / unit), second = (uint64_t)(1000000000 / unit);
        if (now + 1 - number <= RECENT_S * second)
            return true;
    }
    /* time.monotonic_ns() and perf_counter_ns(): a plain number too early after the start of the machine. */
    return (uint64_t)now_ns(CLOCK_MONOTONIC) - number <= RECENT_S * UINT64_C(1000000000);
}

bool ss_provenance_of_moment_float(double number)
{
    const double since_1970 = (double)now_ns(CLOCK_REALTIME) * 1e-9, awake = (double)now_ns(CLOCK_MONOTONIC) * 1e-9;
    for (double unit = 1; unit < 1e10; unit *= 1e3) {
        const double age = since_1970 - number / unit;
        if (age > -0.001 && age <= RECENT_S)
            return true;
    }
    /* Nobody chooses so many digits. */
    const double digits = number * 1048576;
    return number > 0 && number <= awake && awake - number <= RECENT_S && digits != (double)(int64_t)digits;
}

/* ---- texts ---- */

static int hex_digit(unsigned char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Hexadecimal digits, perhaps with the dashes of a UUID. An odd number of them has lost zeros at its beginning. */
static bool find_hex(const unsigned char *text, size_t size, size_t least, uint64_t *ret_epoch)
{
    unsigned char bytes[32] = {0};
    size_t digits = 0;
    for (size_t i = 0; i < size; i++)
        digits += text[i] != '-';
    for (size_t at = 0, next = digits & 1; at < size && next < 2 * sizeof bytes; at++) {
        const int digit = hex_digit(text[at]);
        if (text[at] == '-')
            continue;
        if (digit < 0)
            return false;
        bytes[next / 2] |= (unsigned char)(next % 2 ? digit : digit << 4);
        next++;
    }
    const size_t whole = (digits + 1) / 2;
    return digits >= least && ss_provenance_of_seed(bytes, whole < sizeof bytes ? whole : sizeof bytes, ret_epoch);
}

/* Decimal digits, perhaps with a point: a draw as a number, or a clock's reading. */
static bool find_decimal(const unsigned char *text, size_t size, bool alone, uint64_t *ret_epoch)
{
    unsigned char big[DIGEST] = {0}; /* as many as a seed may have that is no text */
    double value = 0, unit = 1;
    bool point = false;
    for (size_t i = 0; i < size; i++) {
        unsigned carry = text[i] - (unsigned)'0';
        if (text[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (carry > 9)
            return false;
        value = value * 10 + carry;
        unit *= point ? 10 : 1;
        if (point)
            continue;
        for (size_t at = sizeof big; at--; carry >>= 8) {
            carry += big[at] * 10u;
            big[at] = (unsigned char)carry;
        }
        if (carry)
            return false;
    }
    if (point)
        return ss_provenance_of_moment_float(value / unit);
    if (value < 1 << 24 && !alone)
        return false;
    return ss_provenance_of_seed(big, sizeof big, ret_epoch) ||
           (value < 1e19 && ss_provenance_of_moment(number_of(big + sizeof big - 8, 8)));
}

/* YYYY-MM-DD HH:MM:SS, as datetime.now() shows itself, of whatever time zone: those differ by quarters of an hour. */
#define DATE "dddd-dd-dd?dd:dd:dd"
static bool find_date(const unsigned char *text, size_t size)
{
    int64_t field[6] = {0};
    if (size < sizeof DATE - 1)
        return false;
    for (size_t i = 0, at = 0; i < sizeof DATE - 1; i++) {
        const unsigned digit = text[i] - (unsigned)'0';
        if (DATE[i] == 'd' ? digit > 9 : DATE[i] != '?' && text[i] != DATE[i])
            return false;
        if (DATE[i] == 'd')
            field[at] = field[at] * 10 + digit;
        else
            at++;
    }
    /* Days of the civil calendar since 1970: the year begins in March. */
    const int64_t year = field[0] - (field[1] < 3), day_of_year = (153 * ((field[1] + 9) % 12) + 2) / 5 + field[2] - 1;
    const int64_t days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
    const int64_t age = now_ns(CLOCK_REALTIME) / 1000000000 - (((days * 24 + field[3]) * 60 + field[4]) * 60 + field[5]);
    return age > -16 * 3600 && age < 16 * 3600 && (age + 16 * 3600) % 900 <= RECENT_S;
}

static bool is_word(unsigned char c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); }

static bool find_word(const unsigned char *text, size_t size, bool alone, uint64_t *ret_epoch)
{
    const size_t prefix = size > 2 && text[0] == '0' && (text[1] | 0x20) == 'x' ? 2 : 0;
    return find_hex(text + prefix, size - prefix, !alone ? 8 : prefix ? 1 : 4, ret_epoch) || find_decimal(text, size, alone, ret_epoch);
}

/* Does what is nobody's choice stand in a text: a token, a UUID, the time? What stands among other words must have 8 digits. */
static bool find_text(const unsigned char *text, size_t size, uint64_t *ret_epoch)
{
    if (size > 256)
        size = 256;
    for (size_t at = 0, end; at < size; at = end + 1) {
        for (end = at; end < size && (is_word(text[end]) || text[end] == '-' || text[end] == '.');)
            end++;
        if (end == at)
            continue;
        if (find_date(text + at, size - at) || find_word(text + at, end - at, end - at == size, ret_epoch))
            return true;
        for (size_t part = at, stop; part < end; part = stop + 1) {
            for (stop = part; stop < end && text[stop] != '-';)
                stop++;
            if (stop - part < end - at && find_word(text + part, stop - part, false, ret_epoch))
                return true;
        }
    }
    return false;
}

static int base64_digit(unsigned char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

/* token_urlsafe(), or base64 in its usual alphabet: a text as a whole, for its digits stand in others as well. */
static bool find_base64(const unsigned char *text, size_t size, uint64_t *ret_epoch)
{
    unsigned char bytes[DIGEST];
    unsigned bits = 0, count = 0;
    size_t whole = 0;
    while (size && text[size - 1] == '=')
        size--;
    for (size_t at = 0; at < size && whole < sizeof bytes; at++) {
        const int digit = base64_digit(text[at]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (unsigned)digit;
        count += 6;
        if (count >= 8) {
            count -= 8;
            bytes[whole++] = (unsigned char)(bits >> count);
        }
    }
    return whole > 1 && find_whole(bytes, whole, ret_epoch);
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
