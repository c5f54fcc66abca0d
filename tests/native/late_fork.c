/* As a library does that works for a while and forks then, in one call: with or without the GIL, as its caller says. */
#include <unistd.h>

int late_fork(unsigned microseconds)
{
    (void)usleep(microseconds);
    return fork();
}
