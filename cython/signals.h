/* The signal masks of the watcher's threads. Any thread, of which the mask is set; neither needs the GIL nor takes a lock. */
#ifndef SNAPSAFE_SIGNALS_H
#define SNAPSAFE_SIGNALS_H

#include <signal.h>

/* Blocks all but what the kernel raises for an instruction: blocked, a SIGBUS kills past its handler, and a load from a
   source that was truncated raises one (source.c). *ret_before, where it is given, is the mask until now. */
void ss_signals_block(sigset_t *ret_before);

/* The mask that main has: a thread that it started now would have it, and so would the processes that a callback starts.
   Without /proc the mask stays. */
void ss_signals_as_main(void);

#endif
