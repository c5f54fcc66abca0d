/* The numpy types room: how instances of numpy.random are made, how their states are read and set, and how their pointers are
   handed out: the slots, getters and setters that are exchanged for it. All needs the GIL, or an attached thread state where
   there is none: types and pointers are installed by one thread at a time (snapsafe_rt/guards/table.py), states with the lock of
   numpy.h. */
#ifndef SNAPSAFE_NUMPY_TYPES_H
#define SNAPSAFE_NUMPY_TYPES_H

#include "compat.h"

#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* The types whose constructors are exchanged. */
enum ss_numpy_type {
    SS_NUMPY_T_BIT_GENERATOR,
    SS_NUMPY_T_SEQUENCE,
    SS_NUMPY_T_PHILOX, /* whose key may be chosen where its seed is not */
    SS_NUMPY_T_GENERATOR,
    SS_NUMPY_T_RANDOM_STATE,
    SS_NUMPY_TYPES
};
void ss_numpy_hook_type(PyTypeObject *type, enum ss_numpy_type which);

/* Adds the state of a type, by its getset descriptor; what `raw_mask` is says numpy.h. False: it is no such descriptor, or there is
   no room. Sets no exception. */
bool ss_numpy_guard_state(PyTypeObject *owner, PyObject *descriptor, uint64_t raw_mask);

/* The attributes of BitGenerator that hand out pointers: the order is that of FETCHED in snapsafe_rt/guards/numpy.py. */
enum ss_numpy_fetched { SS_NUMPY_CAPSULE, SS_NUMPY_CTYPES, SS_NUMPY_CFFI, SS_NUMPY_FETCHED };
bool ss_numpy_guard_fetched(PyObject *descriptor, enum ss_numpy_fetched which);

/* As ss_numpy_call_word() of numpy_calls.h. */
bool ss_numpy_type_word(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name);

/* Puts all back, but for what somebody exchanged meanwhile. Leaves no exception. */
void ss_numpy_release_types(void);

#pragma GCC visibility pop

#endif
