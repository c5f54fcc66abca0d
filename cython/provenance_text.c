#include "provenance_text.h"

#include "process.h"
#include "provenance.h"

#include <time.h>

/* ---- clocks, and the process ---- */

#define RECENT_S 5
#define LEAST_PID 100

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What a clock shows soon after a machine began is a number that somebody may choose, as 2**32 - 1 ns or 3.14 s. So there the
   last hundredth counts. */
static int64_t recent_since_start(int64_t now) { return now / 100 < RECENT_S * INT64_C(1000000000) ? now / 100 : RECENT_S * INT64_C(1000000000); }

/* Year, month, day, hour, minute and second, of whatever time zone: those differ by quarters of an hour. */
static bool is_now(const int64_t *field)
{
    /* Days of the civil calendar since 1970: the year begins in March. */
    const int64_t year = field[0] - (field[1] < 3), day_of_year = (153 * ((field[1] + 9) % 12) + 2) / 5 + field[2] - 1;
    const int64_t days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
    const int64_t age = now_ns(CLOCK_REALTIME) / 1000000000 - (((days * 24 + field[3]) * 60 + field[4]) * 60 + field[5]);
    return age > -16 * 3600 && age < 16 * 3600 && (age + 16 * 3600) % 900 <= RECENT_S;
}

bool ss_provenance_of_moment(uint64_t number)
{
    if (number < LEAST_PID)
        return false;
    if (number < 1u << 22) /* Linux include/linux/threads.h, PID_MAX_LIMIT */
        return number == (uint64_t)ss_process_pid();
    if (number < 10000000) /* 10 ms after the start of the machine */
        return false;
    const int64_t since_1970 = now_ns(CLOCK_REALTIME), awake = now_ns(CLOCK_MONOTONIC);
    for (int64_t unit = 1; unit <= 1000000000 && number >= 1000000000 /* seconds of 2001 */; unit *= 1000) {
        const uint64_t now = (uint64_t)(since_1970 / unit), second = (uint64_t)(1000000000 / unit);
        if (now + 1 - number <= RECENT_S * second)
            return true;
    }
    if (number >= UINT64_C(19700101000000) && number <= UINT64_C(99991231235959)) {
        int64_t field[6], left = (int64_t)number;
        for (int i = 5; i > 0; i--, left /= 100)
            field[i] = left % 100;
        field[0] = left;
        if (is_now(field))
            return true;
    }
    return (uint64_t)awake - number <= (uint64_t)recent_since_start(awake); /* time.monotonic_ns(), perf_counter_ns() */
}

bool ss_provenance_of_moment_float(double number)
{
    const int64_t awake_ns = now_ns(CLOCK_MONOTONIC);
    const double since_1970 = (double)now_ns(CLOCK_REALTIME) * 1e-9, awake = (double)awake_ns * 1e-9;
    for (double unit = 1; unit < 1e10; unit *= 1e3) {
        const double age = since_1970 - number / unit;
        if (age > -0.001 && age <= RECENT_S)
            return true;
    }
    const double digits = number * 1048576; /* not a whole number, and not a half or a quarter of one */
    return number > 0 && number <= awake && awake - number <= (double)recent_since_start(awake_ns) * 1e-9 &&
           digits != (double)(int64_t)digits;
}

/* ---- texts ---- */

static int hex_digit(unsigned char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Puts a hexadecimal digit into a half of a byte of zeros, counted by `next`. False if it is none. */
static bool put_digit(unsigned char *bytes, size_t next, unsigned char c)
{
    const int digit = hex_digit(c);
    if (digit >= 0)
        bytes[next / 2] |= (unsigned char)(next % 2 ? digit : digit << 4);
    return digit >= 0;
}

/* Hexadecimal digits. An odd number of them has lost zeros at its beginning. */
static bool find_hex(const unsigned char *text, size_t size, size_t least, uint64_t *ret_epoch)
{
    unsigned char bytes[32] = {0};
    for (size_t at = 0, next = size & 1; at < size && next < 2 * sizeof bytes; at++, next++)
        if (!put_digit(bytes, next, text[at]))
            return false;
    const size_t whole = (size + 1) / 2;
    return size >= least && ss_provenance_of_int(bytes, whole < sizeof bytes ? whole : sizeof bytes, ret_epoch);
}

#define UUID "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
static bool find_uuid(const unsigned char *text, size_t size, uint64_t *ret_epoch)
{
    unsigned char bytes[16] = {0};
    if (size < sizeof UUID - 1)
        return false;
    for (size_t at = 0, next = 0; at < sizeof UUID - 1; at++)
        if (UUID[at] == '-' ? text[at] != '-' : !put_digit(bytes, next++, text[at]))
            return false;
    return ss_provenance_of_bytes(bytes, sizeof bytes, ret_epoch);
}

/* Decimal digits: a draw as a number, or a clock's reading. */
static bool find_decimal(const unsigned char *text, size_t size, bool alone, uint64_t *ret_epoch)
{
    unsigned char big[SS_PROVENANCE_MOST] = {0};
    for (size_t i = 0; i < size; i++) {
        unsigned carry = text[i] - (unsigned)'0';
        if (carry > 9)
            return false;
        for (size_t at = sizeof big; at--; carry >>= 8) {
            carry += big[at] * 10u;
            big[at] = (unsigned char)carry;
        }
        if (carry)
            return false;
    }
    size_t kept = sizeof big;
    const unsigned char *bytes = ss_provenance_strip(big, &kept);
    const uint64_t number = kept <= 8 ? ss_provenance_read(bytes, kept) : UINT64_MAX;
    if (number < 1 << 24 && !alone)
        return false;
    return ss_provenance_of_int(bytes, kept, ret_epoch) || ss_provenance_of_moment(number);
}

/* Decimal digits on both sides of a point: a clock's reading. */
static bool is_moment(const unsigned char *text, size_t size)
{
    double value = 0, unit = 1;
    size_t point = 0, at;
    for (at = 0; at < size; at++) {
        const unsigned digit = text[at] - (unsigned)'0';
        if (text[at] == '.' && !point && at) {
            point = at;
            continue;
        }
        if (digit > 9)
            break;
        value = value * 10 + digit;
        unit *= point ? 10 : 1;
    }
    return point && at > point + 1 && ss_provenance_of_moment_float(value / unit);
}

/* YYYY-MM-DD HH:MM:SS, as datetime.now() shows itself. */
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
    return is_now(field);
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
    unsigned char bytes[SS_PROVENANCE_MOST];
    unsigned bits = 0, count = 0;
    size_t whole = 0;
    while (size && (text[size - 1] == '=' || text[size - 1] == '\n'))
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
    return whole > 1 && ss_provenance_of_bytes(bytes, whole, ret_epoch);
}

static bool is_word(unsigned char c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); }

/* What stands among other words must have 8 digits. */
static bool find_word(const unsigned char *text, size_t size, bool alone, uint64_t *ret_epoch)
{
    const size_t prefix = size > 2 && text[0] == '0' && (text[1] | 0x20) == 'x' ? 2 : 0;
    return find_hex(text + prefix, size - prefix, !alone ? 8 : prefix ? 1 : 4, ret_epoch) ||
           find_decimal(text, size, alone, ret_epoch);
}

static bool find_text(const unsigned char *text, size_t size, uint64_t *ret_epoch)
{
    if (find_base64(text, size, ret_epoch))
        return true;
    if (size > 256)
        size = 256;
    for (size_t at = 0, end; at < size; at = end + 1) {
        for (end = at; end < size && is_word(text[end]);)
            end++;
        if (end > at && (find_word(text + at, end - at, end - at == size, ret_epoch) || find_uuid(text + at, size - at, ret_epoch) ||
                         is_moment(text + at, size - at) || find_date(text + at, size - at)))
            return true;
    }
    return false;
}

bool ss_provenance_of_seed(const unsigned char *big, size_t size, uint64_t *ret_epoch)
{
    big = ss_provenance_strip(big, &size);
    if (ss_provenance_of_int(big, size, ret_epoch))
        return true;
    if (size <= SS_PROVENANCE_MOST)
        return false;
    const size_t text = size - SS_PROVENANCE_MOST;
    return ss_provenance_of_bytes(big, text, ret_epoch) || find_text(big, text, ret_epoch);
}
