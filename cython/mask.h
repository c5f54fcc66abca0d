/* The signal masks of our own threads: they take none that the program waits for. Any thread, with or without the GIL. */
#ifndef SNAPSAFE_MASK_H
#define SNAPSAFE_MASK_H

#include <signal.h>

/* Blocks all but what the kernel raises for an instruction: blocked, a SIGBUS kills past its handler, and a load from a
   source that was truncated raises one (source.c). `ret_before` may be NULL. */
void ss_mask_block(sigset_t *ret_before);

/* A thread that main started now would have main's mask, and so would the processes that a callback starts: takes it,
   and blocks what main waits for in sigwait(3) as well. Without /proc it changes nothing. */
void ss_mask_adopt_main(void);

#endif
