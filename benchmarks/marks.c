/* Client requests of callgrind, to be called by way of ctypes. Outside of valgrind they do nothing. */
#include <valgrind/callgrind.h>

void begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
