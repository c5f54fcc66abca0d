/* The numpy seam: what snapsafe_rt/guards/numpy.py calls of the rooms of numpy. With the GIL. */
#ifndef SNAPSAFE_NUMPY_ROOM_H
#define SNAPSAFE_NUMPY_ROOM_H

#include "compat.h"

/* A module of its own, made when it is first asked for: no start pays for its names. New reference, or NULL with an exception
   set. */
PyObject *ss_numpy_room(void);

#endif
