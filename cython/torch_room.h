/* The torch seam: what snapsafe_rt/guards/torch.py calls of the rooms of torch. With the GIL. */
#ifndef SNAPSAFE_TORCH_ROOM_H
#define SNAPSAFE_TORCH_ROOM_H

#include "compat.h"

/* A module of its own, made when it is first asked for: no start pays for its names. New reference, or NULL with an exception
   set. */
PyObject *ss_torch_room(void);

#endif
