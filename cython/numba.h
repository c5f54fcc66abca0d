/* The numba room: functions that numba compiled ask a function in C for the calling thread's generator, whenever they begin to
   draw. Ours stands in the place of that one: it renews the generator first where that is of another epoch.

   A compiled function may keep the pointer for as long as it runs. So one that runs across a restore goes on with the old state,
   as a statement of SQLite's does: there is no check after a draw. */
#ifndef SNAPSAFE_NUMBA_H
#define SNAPSAFE_NUMBA_H

#include <stdbool.h>
#include <stdint.h>

#define SS_NUMBA_GENERATORS 3 /* of random, of numpy.random, and numba's own: each thread has each */

/* From numba/_random.c. guards/numba.py sees that this version has it so (ss_numba_seeded_as()). */
typedef struct {
    int index;
    unsigned int words[624];
    int has_gauss;
    double gauss;
    int initialized;
} ss_numba_state;

typedef ss_numba_state *(*ss_numba_get)(void);
typedef void (*ss_numba_put)(ss_numba_state *, unsigned);

/* Begins to renew what these functions give. Whatever is older is renewed at its first use. By one thread at a time: table.py. */
void ss_numba_install(const ss_numba_get generators[SS_NUMBA_GENERATORS], ss_numba_put seed, const int *reseed_kept);

/* From here on what ours gives is what the originals give. Functions compiled meanwhile go on calling ours. As above. */
void ss_numba_remove(void);

/* The functions for compiled code: of a generator, and the one that seeds, by which a state is the program's choice. */
void *ss_numba_generator(int which);
void *ss_numba_seed(void);

/* Is this what the seed 5 makes of a state? Any thread. */
bool ss_numba_seeded_as(const ss_numba_state *state);

#endif
