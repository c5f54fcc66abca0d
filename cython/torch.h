/* The torch room: the CPU generators of torch, each of which is tagged, and renewed by the first operator after a restore.

   An operator that draws asks at::detail::getDefaultCPUGenerator() first, also where it is given another generator. The words by
   which the loaded objects call that function lead to ss_torch_hook() instead (slots.h): called in any thread, with or without
   the GIL. While nothing was restored it compares two words; else it brings every generator into the new epoch: gives those with
   the system's seed another state, all 624 words of it.

   Generators of other devices are tagged only: the restore event renews them (snapsafe_rt/guards/torch.py).

   A tag is an epoch and a kind, as in numpy.h, by which it is made and read. Nothing of torch is included, linked or imported:
   where all lies is found out by trying, by torch_room.c. */
#ifndef SNAPSAFE_TORCH_H
#define SNAPSAFE_TORCH_H

#include "compat.h"
#include "epoch.h"
#include "numpy.h"
#include "slots.h"

#pragma GCC visibility push(hidden)

#define SS_TORCH_WORDS 624
#define SS_TORCH_DEFAULT_SEED UINT64_C(67280421310721) /* c10::default_rng_seed_val: each torch.Generator() begins with it */
#define SS_TORCH_CHOSEN_BITS 40                        /* a seed below this many bits is a person's: the system's has 64 */

/* Offsets in at::CPUGeneratorImpl; and that of its address in torch._C.Generator. */
typedef struct {
    Py_ssize_t impl;
    Py_ssize_t mutex, device, seed, left, next, words, normals;
} ss_torch_layout;
extern ss_torch_layout ss_torch_at;

#define SS_TORCH_AT(impl, OFFSET, TYPE) (*(TYPE *)((impl) + ss_torch_at.OFFSET))
#define SS_TORCH_NORMALS 24 /* std::optional<float>, std::optional<double>: the second values of pairs */

typedef struct ss_torch_generator {
    char *impl;
    PyObject *object; /* borrowed: forgotten when it ends */
    uint64_t tag;     /* atomic */
    uint64_t seed;    /* atomic; `seed_` when it was tagged: another one is by C++ */
    bool cpu;
    struct ss_torch_generator *next;
} ss_torch_generator;

/* torch.default_generator: lives as long as the process. NULL before there was an installation. */
extern ss_torch_generator *ss_torch_default;

/* As ss_numpy_counts. Words of 64 bits; atomic. */
typedef struct {
    uint64_t renewed, older, kept, chosen;
    uint64_t global_kept; /* is the default generator kept? */
    uint64_t foreign;     /* live ones that have a state made elsewhere */
    uint64_t problems;
} ss_torch_counts;
extern ss_torch_counts ss_torch_seen;

extern ss_slots ss_torch_slots;
extern void *(*ss_torch_original)(void); /* at::detail::getDefaultCPUGenerator() */
void *ss_torch_hook(void);

/* Looks for objects that were loaded since, if torch is guarded. Any thread, with or without the GIL. */
bool ss_torch_scan(void);
extern bool ss_torch_active; /* atomic */

static inline char *ss_torch_impl(PyObject *generator) { return *(char **)((char *)generator + ss_torch_at.impl); }

/* Is it kept? SNAPSAFE_SEEDED=reseed renews those that the program chose, too. */
static inline bool ss_torch_is_kept(const ss_torch_generator *g)
{
    return ss_numpy_is_kept(__atomic_load_n(&g->tag, __ATOMIC_ACQUIRE));
}

/* That of a torch.Generator; one that was not seen being made is tagged as what it looks like. NULL without memory. The caller
   has a reference to it, and the GIL, or an attached thread state where there is none; sets no exception. */
ss_torch_generator *ss_torch_find(PyObject *generator);

/* It was made, or began anew, under this tag. NULL without memory. As above. */
ss_torch_generator *ss_torch_note(PyObject *generator, uint64_t tag);

/* It ends. As above. */
void ss_torch_forget(PyObject *generator);
void ss_torch_forget_all(void); /* but for the default one */

/* Takes its seed for the one that goes with the tag. Any thread. */
void ss_torch_set_tag(ss_torch_generator *g, uint64_t tag);

/* Brings a generator of the CPU into `epoch`, waiting for its lock. With the GIL, which is released meanwhile; the caller has a
   reference to it. */
void ss_torch_settle(ss_torch_generator *g, uint64_t epoch);

/* The tag of a state that was set: by where it was read; else by the seed that came with it. Sets no exception. */
uint64_t ss_torch_judge_state(const ss_torch_generator *g, uint64_t epoch);
void ss_torch_note_state(const ss_torch_generator *g);

/* The tag of a seed that the program gave. As above. */
uint64_t ss_torch_judge(PyObject *seed, uint64_t epoch);

/* This number was drawn from a generator with the system's seed under `epoch`, so it is nobody's choice as a seed. */
void ss_torch_note_number(uint64_t number, uint64_t epoch);

/* Calls visit for each, attached and with the registry's lock: it may not make or end one. */
void ss_torch_each(void (*visit)(ss_torch_generator *g, void *context), void *context);

#pragma GCC visibility pop

#endif
