/* The torch calls room: the builtins of torch that are exchanged, by their PyMethodDef as those of guard.h.

   What draws renews the generator that it is given, and is called again if the generation moved in it; what seeds a generator,
   reads its state or sets it, keeps its tag. torch._C.Generator's constructor and end are noted. All needs the GIL, or an attached thread
   state where there is none: there one thread at a time exchanges (snapsafe_rt/guards/table.py). */
#ifndef SNAPSAFE_TORCH_CALLS_H
#define SNAPSAFE_TORCH_CALLS_H

#include "compat.h"

#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* How a builtin that draws may be called again. The order is that of snapsafe_rt/guards/torch.py. */
enum ss_torch_draw {
    SS_TORCH_PURE,    /* makes what it returns, or fills what it is given */
    SS_TORCH_CREATES, /* the same, and looks at no tensor's values */
    SS_TORCH_ONCE     /* changes its input by a factor that it draws: never again */
};

/* Methods of torch._C.Generator. The order is that of snapsafe_rt/guards/torch.py. */
enum ss_torch_method {
    SS_TORCH_MANUAL_SEED,
    SS_TORCH_SEED,
    SS_TORCH_INITIAL_SEED,
    SS_TORCH_GET_STATE,
    SS_TORCH_SET_STATE,
    SS_TORCH_CLONE_STATE,
    SS_TORCH_REDUCE,
    SS_TORCH_UNPICKLE,
    SS_TORCH_METHODS
};

/* Each is guarded from here on; idempotent. Returns whether it is: not where its calling convention is another one, where somebody
   exchanged it before us, or where there are more than there is room for. Sets no exception. */
bool ss_torch_guard_draw(PyObject *callable, enum ss_torch_draw how);
bool ss_torch_guard_method(PyObject *callable, enum ss_torch_method which);

/* torch._C.Generator, of which none of the others is guarded before. */
void ss_torch_guard_type(PyTypeObject *type);
extern PyTypeObject *ss_torch_type;

/* torch._C._autograd._top_saved_tensors_default_hooks(bool): None where the program has set none. Owned; NULL if there is no such
   function. */
extern PyObject *ss_torch_hooks;

/* As ss_numpy_call_word(). */
bool ss_torch_call_word(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name);

/* Puts all back, but for what somebody exchanged meanwhile. */
void ss_torch_release_calls(void);

#pragma GCC visibility pop

#endif
