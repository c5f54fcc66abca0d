/* The numpy room: guards numpy.random by call, not by value: a look before and one after each method that draws.

   The C function behind each method of Generator, RandomState and BitGenerator is exchanged, in its PyMethodDef; so are the
   getters and setters by which a state travels, and what makes a SeedSequence. Before a draw a stale instance is renewed,
   under its own lock, if nobody chose its seed; after it the draw is made again if the generation moved meanwhile.

   A tag is an epoch and a kind, as in random.pxi, and as there kept inverted, so that memory that nobody wrote is of no epoch:

       BitGenerator  64 bits, the context of its PyCapsule
       SeedSequence  32 bits, the padding at its end
       RandomState   32 bits, the padding behind has_gauss: the epoch of the second normal value that it keeps

   Nothing of numpy is included, linked or imported. Where everything lies is told by snapsafe_rt/guards/numpy.py, which finds it
   out by trying. All needs the GIL, but for what bitgen.c gives to those who draw without it.

   On builds without a GIL it needs an attached thread state. Instances are shared there as elsewhere: a tag is changed by a
   compare-exchange, so no renewal goes past what another thread seeded; while a state is set, seeded or renewed the tag says so,
   and who draws by a method looks at the tag once more. The tables of the room have a lock. A BitGenerator is borrowed from its Generator
   for the length of a call: numpy itself draws from its memory past any reference. */
#ifndef SNAPSAFE_NUMPY_H
#define SNAPSAFE_NUMPY_H

#include "compat.h"
#include "epoch.h"
#include "object_lock.h"

#pragma GCC visibility push(hidden)

enum ss_numpy_kind { SS_NUMPY_SYSTEM, SS_NUMPY_KEPT, SS_NUMPY_FOREIGN, SS_NUMPY_OLD };

#define SS_NUMPY_AT(object, offset, TYPE) (*(TYPE *)((char *)(object) + (offset)))

/* What another thread may be writing where there is no GIL. Where there is one, the compiler may join the load with a comparison. */
#if SS_FREE_THREADED
#define SS_NUMPY_LOAD(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
#else
#define SS_NUMPY_LOAD(place) (*(place))
#endif

/* Offsets in the objects. */
typedef struct {
    Py_ssize_t seed_seq, lock, capsule;      /* BitGenerator */
    Py_ssize_t context;                      /* PyCapsule */
    Py_ssize_t of_generator, of_state;       /* where Generator and RandomState have their BitGenerator */
    Py_ssize_t has_gauss, gauss_tag, gauss;  /* RandomState */
    Py_ssize_t entropy, pool, sequence_tag;  /* SeedSequence */
} ss_numpy_layout;
#define SS_NUMPY_OFFSETS 12
extern ss_numpy_layout ss_numpy_at;

/* The types of numpy that this process has, and what else the room keeps of Python's. */
typedef struct {
    PyTypeObject *bit_generator, *generator, *random_state, *sequence;
    PyObject *learn;       /* learn(type): has the state of a type added; owned; read and changed with the lock below */
    PyObject *global_rand; /* atomic; borrowed, of numpy.random, which lives as long: the RandomState behind its functions */
} ss_numpy_names;
extern ss_numpy_names ss_numpy;

/* Of ss_process_lock(): held to change the tables of these rooms, never over anything of Python's. An entry is whole before it is
   counted, and stays, so who reads takes no lock. */
extern uint64_t ss_numpy_lock;

/* What is counted, and what another process may compare (sites.pxi). Words of 64 bits; atomic. */
typedef struct {
    uint64_t renewed, older, kept, chosen;
    uint64_t global_kept; /* is that behind np.random.random() kept? */
    uint64_t foreign;     /* live ones that have a state made elsewhere */
    uint64_t problems;    /* how often something could not be guarded */
} ss_numpy_counts;
extern ss_numpy_counts ss_numpy_seen;

/* Says why something cannot be guarded, of which there is no end: the first reason is kept. */
void ss_numpy_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *ss_numpy_first_problem(void); /* "" if there is none */
void ss_numpy_forget_problems(void);

static inline uint64_t ss_numpy_tag(uint64_t epoch, enum ss_numpy_kind kind) { return ~(epoch << 2 | kind); }
static inline bool ss_numpy_is_stale(uint64_t tag, uint64_t epoch) { return ~tag >> 2 != (epoch & ~UINT64_C(0) >> 2); }
static inline enum ss_numpy_kind ss_numpy_kind_of(uint64_t tag) { return (enum ss_numpy_kind)(~tag & 3); }

/* A tag of 32 bits knows whether it is of `epoch`, and if not, that it is older. */
static inline uint64_t ss_numpy_widen(uint32_t tag, uint64_t epoch)
{
    const bool same = ~tag >> 2 == ((uint32_t)epoch & ~0u >> 2);
    return ss_numpy_tag(same ? epoch : epoch - 1, (enum ss_numpy_kind)(~tag & 3));
}

/* In place of a tag while the state is being changed by a thread, which has the former one: of the system, and of no epoch, nor
   of the one before the first. */
#define SS_NUMPY_CHANGING UINT64_C(7)

/* SNAPSAFE_SEEDED=reseed renews these too. */
extern const int *ss_numpy_reseed_kept;
static inline bool ss_numpy_is_kept(uint64_t tag)
{
    const enum ss_numpy_kind kind = ss_numpy_kind_of(tag);
    return (kind == SS_NUMPY_KEPT || kind == SS_NUMPY_FOREIGN) && !__atomic_load_n(ss_numpy_reseed_kept, __ATOMIC_RELAXED);
}

/* In this thread: how much of what is made is ours; and how many constructors of Generator and RandomState run, which take the
   pointers of a BitGenerator to draw by what is guarded here. */
extern __thread int ss_numpy_quiet, ss_numpy_making;

/* The capsule of a BitGenerator, borrowed; NULL where its __init__ has not run. */
static inline PyObject *ss_numpy_capsule(PyObject *bg)
{
    PyObject *capsule = SS_NUMPY_AT(bg, ss_numpy_at.capsule, PyObject *);
    return SS_LIKELY(capsule && Py_IS_TYPE(capsule, &PyCapsule_Type)) ? capsule : NULL;
}

static inline uint64_t *ss_numpy_tag_in(PyObject *capsule)
{
    return &SS_NUMPY_AT(capsule, ss_numpy_at.context, uint64_t);
}

static inline uint64_t ss_numpy_tag_of(PyObject *bg)
{
    return __atomic_load_n(ss_numpy_tag_in(ss_numpy_capsule(bg)), __ATOMIC_ACQUIRE);
}

/* Inverted, as tags are. */
static inline uint32_t ss_numpy_gauss_tag(PyObject *rs)
{
    return SS_NUMPY_LOAD(&SS_NUMPY_AT(rs, ss_numpy_at.gauss_tag, uint32_t));
}

static inline void ss_numpy_set_gauss_tag(PyObject *rs, uint32_t tag)
{
    __atomic_store_n(&SS_NUMPY_AT(rs, ss_numpy_at.gauss_tag, uint32_t), tag, __ATOMIC_RELEASE);
}

static inline uint32_t ss_numpy_sequence_tag(PyObject *s)
{
    return __atomic_load_n(&SS_NUMPY_AT(s, ss_numpy_at.sequence_tag, uint32_t), __ATOMIC_ACQUIRE);
}

static inline void ss_numpy_set_sequence_tag(PyObject *s, uint32_t tag)
{
    __atomic_store_n(&SS_NUMPY_AT(s, ss_numpy_at.sequence_tag, uint32_t), tag, __ATOMIC_RELEASE);
}

/* The second changes it only where it is `from`, and returns whether it did. */
void ss_numpy_set_tag(PyObject *bg, uint64_t tag);
bool ss_numpy_move_tag(PyObject *bg, uint64_t from, uint64_t to);

/* How often a BitGenerator, or another that shares the place, was given a state of another epoch, where there is no GIL; atomic. A
   tag alone does not tell a draw of such a one that came, and was renewed again, meanwhile. */
extern uint64_t ss_numpy_given[SS_OBJECT_PLACES];
static inline uint64_t ss_numpy_stale_given(const PyObject *bg)
{
    return SS_FREE_THREADED ? __atomic_load_n(&ss_numpy_given[ss_object_place(bg)], __ATOMIC_ACQUIRE) : 0;
}

/* Around what gives a BitGenerator another state: nobody takes it for what the tag says meanwhile. `begin` returns that for `end`,
   which puts it back where nothing came of it. Both leave the exception that is set. Nothing where there is a GIL. */
uint64_t ss_numpy_begin_change(PyObject *bg);
void ss_numpy_end_change(PyObject *bg, uint64_t before);

/* Ends it with the tag of what was given. False where another thread took it for its own meanwhile: give it once more; not for
   ever, for who draws from it in what the giving calls takes it each time. `tries`: how often it was given. */
bool ss_numpy_changed(PyObject *bg, uint64_t tag, int tries);

/* Says again whether that behind numpy.random's functions is kept. */
void ss_numpy_show_global(void);

/* Instances of the extension types, which are never freed, are nearly all BitGenerators that there are. */
extern PyTypeObject *ss_numpy_bit_generators[16]; /* atomic each */
bool ss_numpy_is_other_bit_generator(PyObject *o);
static inline bool ss_numpy_is_bit_generator(PyObject *o)
{
    PyTypeObject *type = Py_TYPE(o);
    return SS_LIKELY(SS_NUMPY_LOAD(&ss_numpy_bit_generators[(uintptr_t)type >> 5 & 15]) == type) ||
           ss_numpy_is_other_bit_generator(o);
}
static inline bool ss_numpy_is_sequence(PyObject *o) { return o && PyObject_TypeCheck(o, ss_numpy.sequence); }

/* Fingerprints of what travels (provenance.h): of what BitGenerator.state returned or is given, of a SeedSequence's entropy, of
   the second normal value of a RandomState. Leave no exception. */
uint64_t ss_numpy_print_state(PyObject *state);
uint64_t ss_numpy_print_entropy(PyObject *entropy);
uint64_t ss_numpy_print_gauss(PyObject *rs);

/* The tag that goes with a seed which the program gave under `epoch`. Leaves no exception. */
uint64_t ss_numpy_judge(PyObject *seed, uint64_t epoch);

/* After the __init__ of a SeedSequence, of this seed, and of a BitGenerator: what began under `epoch`. */
void ss_numpy_tag_sequence(PyObject *s, PyObject *seed, uint64_t epoch);
void ss_numpy_tag_new(PyObject *bg, uint64_t epoch);

/* Each brings what is stale into `epoch`: a SeedSequence gets other entropy, a BitGenerator the state of a new one under its own
   lock, a RandomState loses its second normal value; but not where the program chose. Without `wait` a BitGenerator is left
   as it is where its lock is taken, perhaps by this thread. Returns 0, or -1 with an exception that is not ours to keep;
   what goes wrong otherwise is a problem (above). */
int ss_numpy_settle_sequence(PyObject *s, uint64_t epoch);
int ss_numpy_settle(PyObject *bg, uint64_t epoch, bool wait);
int ss_numpy_settle_gauss(PyObject *rs, PyObject *bg, uint64_t epoch);

/* How a type has its state: the getter and the setter of `owner`, before they were exchanged. */
#define SS_NUMPY_STATES 32
typedef struct {
    PyTypeObject *owner; /* owned */
    PyGetSetDef *def;
    getter get;
    setter set;
    uint64_t raw_mask; /* the bits that its next_raw() gives */
} ss_numpy_state;
extern ss_numpy_state ss_numpy_states[SS_NUMPY_STATES];
extern int ss_numpy_state_count; /* atomic */

/* That of this type, which is looked at by `learn` if it was not seen before; NULL if that does not help. Leaves no exception. */
ss_numpy_state *ss_numpy_state_of(PyTypeObject *type);

/* The bits that a next_raw() of this type gives; all, where that is not known. */
uint64_t ss_numpy_raw_mask(PyTypeObject *type);

/* Tells, as a problem, of pointers that were handed out before activation: nobody follows those. Leaves no exception. */
void ss_numpy_look_for_holders(PyObject *bg);

/* Has a BitGenerator's end noticed, by its capsule: then this is called, if it is set. Leaves the exception that is set. */
extern void (*ss_numpy_ended)(const uint64_t *tag);
void ss_numpy_note_end(PyObject *capsule);

#pragma GCC visibility pop

#endif
