/* Seeds of several numbers, as numpy takes them: were they, or one of them, given out by the system? */
#ifndef SNAPSAFE_NUMPY_SEEDS_H
#define SNAPSAFE_NUMPY_SEEDS_H

#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Of one number: random.pxi's own judgement. With the GIL, or attached; leaves no exception. */
extern int (*ss_numpy_is_systems)(PyObject *seed, uint64_t *ret_epoch);

/* A list or tuple, as of the system's seed and a worker's number, or of the words or bytes of one draw. With the GIL, or attached;
   may leave an exception set. */
bool ss_numpy_seeds_in(PyObject *seeds, uint64_t *ret_epoch);

/* An array of 32 or 64 bits each. With the GIL, or attached; sets no exception. */
bool ss_numpy_seeds_in_array(const Py_buffer *view, uint64_t *ret_epoch);

#pragma GCC visibility pop

#endif
