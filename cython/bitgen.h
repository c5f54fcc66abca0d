/* The bitgen room: guards, value by value, what is drawn past numpy's methods, by the function pointers of a BitGenerator: through
   its capsule, its ctypes or its cffi interface, as numba, Cython and C do.

   The functions in the `bitgen_t` of such an instance are exchanged when its pointers are first handed out; not those of
   the Generators over it, which have a copy. The state stays where it is and `bitgen_t.state` tells it, so whatever reads it
   finds it. A value of a stale instance is fenced entropy, until a call that has the GIL renews the instance. */
#ifndef SNAPSAFE_BITGEN_H
#define SNAPSAFE_BITGEN_H

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* numpy/random/bitgen.h */
typedef struct {
    void *state;
    uint64_t (*next_uint64)(void *state);
    uint32_t (*next_uint32)(void *state);
    double (*next_double)(void *state);
    uint64_t (*next_raw)(void *state);
} ss_bitgen;

/* Exchanges the functions. `tag`: that of the instance, which lives as long; `raw_mask`: the bits that its next_raw() gives.
   Idempotent. Returns 0, or -1 where there is no memory, or no functions. Any thread; takes the room's lock. */
int ss_bitgen_hold(ss_bitgen *bitgen, const uint64_t *tag, uint64_t raw_mask);

bool ss_bitgen_is_held(const ss_bitgen *bitgen);

/* The instance with this tag has ended. As above. */
void ss_bitgen_forget(const uint64_t *tag);

/* Puts the functions back in every instance that lives. Whoever has ours goes on with them, guarded. As above. */
void ss_bitgen_release(void);

#pragma GCC visibility pop

#endif
