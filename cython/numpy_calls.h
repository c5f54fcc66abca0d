/* The numpy calls room: the methods of numpy.random that are exchanged, by their PyMethodDef as those of guard.h. So names that
   were bound before are guarded too. All needs the GIL, or an attached thread state where there is none: the table is changed
   with the lock of numpy.h. No function leaves an exception set. */
#ifndef SNAPSAFE_NUMPY_CALLS_H
#define SNAPSAFE_NUMPY_CALLS_H

#include "compat.h"

#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* Whose method it is. */
enum ss_numpy_owner { SS_NUMPY_GENERATOR, SS_NUMPY_RANDOM_STATE, SS_NUMPY_BIT_GENERATOR };

/* Methods that are no draws. The order is that of OTHERS in snapsafe_rt/guards/numpy.py. */
enum ss_numpy_other {
    SS_NUMPY_LEGACY_SEEDING,    /* MT19937._legacy_seeding */
    SS_NUMPY_SPAWN,             /* SeedSequence.spawn */
    SS_NUMPY_GENERATE_STATE,    /* SeedSequence.generate_state */
    SS_NUMPY_SET_SEQUENCE,      /* SeedSequence.__setstate__ */
    SS_NUMPY_SET_BIT_GENERATOR, /* BitGenerator.__setstate__ */
    SS_NUMPY_GET_STATE,         /* RandomState.get_state */
    SS_NUMPY_SET_STATE,         /* RandomState.set_state */
    SS_NUMPY_SET_GLOBAL,        /* numpy.random.set_bit_generator */
    SS_NUMPY_OTHERS
};

/* Each is guarded from here on; idempotent. Returns whether it is: not where its calling convention is another one, where somebody
   exchanged it before us, or where there are more than there is room for. */
bool ss_numpy_guard_draw(PyObject *callable, enum ss_numpy_owner owner);
bool ss_numpy_guard_other(PyObject *callable, enum ss_numpy_other which);

/* The same of a method that draws by another one, which is guarded: it is only looked at. */
bool ss_numpy_watch_draw(PyObject *callable);

/* Is this method one that is guarded now? */
bool ss_numpy_guards(PyObject *callable);

/* The word of memory by which the `i`th is seen to be in place, what it holds then, and the method's name, static; false: there
   are no more. */
bool ss_numpy_call_word(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name);

/* Puts them back, but for those that somebody exchanged meanwhile. */
void ss_numpy_release_calls(void);

#pragma GCC visibility pop

#endif
