#define _GNU_SOURCE 1
#include "calls.h"

#include "entropy.h"
#include "epoch.h"
#include "guard.h"
#include "libraries.h"
#include "object_lock.h"
#include "uuid_node.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

typedef PyObject *(*keywords_call)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

typedef struct {
    char name[24];
    PyObject *renew;                 /* strong, never cleared */
    PyInterpreterState *interpreter; /* whose object that is */
    uint64_t tag;                    /* the epoch + 1 that it was renewed in: */
    uintptr_t thread;                /* by this thread, the last one that drew. Cleared when that ends */
    uintptr_t mask;                  /* all bits; 0 where one renewal is for all threads */
    bool foreign;
} family; /* all but the name are atomic */

/* All but `active` are atomic, and set before the method leads to the place. */
typedef struct {
    PyMethodDef *def;
    void *original; /* never cleared: a thread may be in the entry while it is undone */
    family *family;
    enum ss_call_kind kind;
    bool active;
} guarded;

static family families[SS_CALL_FAMILIES];
static guarded calls[SS_CALLS];
static __thread uint64_t renewed[SS_CALL_FAMILIES]; /* the epoch + 1 in which this thread's was */
static __thread uint64_t fed;

/* ---- renewing ---- */

/* The calling thread: one load, where its own variables take a call. */
static inline uintptr_t this_thread(void)
{
#ifdef __x86_64__
    uintptr_t self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
#else
    return (uintptr_t)__builtin_thread_pointer();
#endif
}

/* Did this thread, or the process where one renewal is for all, renew it in this epoch? False too where another drew since. */
static inline bool is_of(const family *one, uint64_t epoch)
{
#if SS_FREE_THREADED
    /* Who drew last, and when, are two words: one could be of another thread than the other. */
    return SS_LIKELY((SS_LOOK(one->mask) ? renewed[one - families] : SS_LOOK(one->tag)) == epoch + 1);
#else
    return SS_LIKELY(one->tag == epoch + 1 &&
                     ((__atomic_load_n(&one->thread, __ATOMIC_RELAXED) ^ this_thread()) & one->mask) == 0);
#endif
}

/* A thread that ends may be followed by one at the same place. Of pthread_key_create(3), without the GIL. */
static pthread_key_t ending;
static void forget_thread(void *value)
{
    (void)value;
    for (int i = 0; i < SS_CALL_FAMILIES; i++) {
        uintptr_t own = this_thread();
        (void)__atomic_compare_exchange_n(&families[i].thread, &own, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

static void note(family *one, uint64_t epoch)
{
    renewed[one - families] = epoch + 1;
    __atomic_store_n(&one->tag, epoch + 1, __ATOMIC_RELEASE);
    const bool told = pthread_setspecific(ending, families) == 0; /* else each call goes by the thread's own tag */
    __atomic_store_n(&one->thread, told ? this_thread() : 0, __ATOMIC_RELAXED);
}

/* With no exception set, as every entry is called. 0; or -1 with an exception set: it could not be renewed. */
static __attribute__((noinline)) int renew(family *one, uint64_t epoch)
{
    if (SS_LOOK(one->mask) && renewed[one - families] == epoch + 1) {
        note(one, epoch);
        return 0;
    }
    if (PyInterpreterState_Get() != SS_LOOK(one->interpreter)) {
        __atomic_store_n(&one->foreign, true, __ATOMIC_RELAXED);
        return 0;
    }
    ss_unobserved_begin();
    PyObject *done = PyObject_CallNoArgs(SS_LOOK(one->renew));
    ss_unobserved_end();
    if (!done)
        return -1;
    Py_DECREF(done);
    note(one, epoch);
    return 0;
}

#define DRAW(CALL)                                                                                                     \
    for (int tries = 1;; tries++) {                                                                                    \
        const uint64_t epoch = ss_epoch_begin();                                                                       \
        if (!is_of(SS_LOOK(one->family), epoch) && renew(SS_LOOK(one->family), epoch) != 0)                            \
            return NULL;                                                                                               \
        PyObject *drawn = (CALL);                                                                                      \
        if (ss_epoch_unchanged(epoch) || !drawn || tries == SS_DRAW_TRIES)                                             \
            return drawn;                                                                                              \
        Py_DECREF(drawn);                                                                                              \
    }

/* ---- uuid1() and uuid6() after a restore ---- */

/* Of a call of such a function: its arguments by place, NULL for none. */
typedef struct {
    PyObject *given[3], *made[2];
    int most;
    bool known; /* they fit the signature; else the original is to say what is wrong */
} time_call;

static const char *const signatures[2][3] = {{"node", "clock_seq"}, {"node", "timestamp", "nanos"}};

static void give(time_call *call, const guarded *one, PyObject *name, PyObject *value)
{
    const char *const *expected = signatures[SS_LOOK(one->kind) != SS_CALL_TIMED];
    int at = 0;
    while (at < call->most && PyUnicode_CompareWithASCIIString(name, expected[at]) != 0)
        at++;
    call->known = call->known && at < call->most && !call->given[at];
    if (call->known)
        call->given[at] = value;
}

/* A node, and a clock sequence where they take one, that no other clone has, as far as the caller gives none. False where the
   original is to be called as it was. */
static bool complete(time_call *call, const guarded *one, uint64_t epoch)
{
    static uint32_t steps; /* atomic; two calls within a step of the clock differ by the clock sequence */
    for (int i = 0; i < call->most; i++)
        call->given[i] = call->given[i] ? call->given[i] : Py_None;
    const bool node_missing = call->given[0] == Py_None;
    const bool sequence_missing = SS_LOOK(one->kind) == SS_CALL_TIMED && call->given[1] == Py_None;
    ss_uuid_node *node = call->known && (node_missing || sequence_missing) ? ss_uuid_node_of(epoch) : NULL;
    if (!node)
        return false;
    if (node_missing)
        call->given[0] = call->made[0] = PyLong_FromUnsignedLongLong(node->node);
    if (sequence_missing)
        call->given[1] = call->made[1] = PyLong_FromUnsignedLong(
            (node->clock_seq + __atomic_fetch_add(&steps, 1, __ATOMIC_RELAXED)) & 0x3fff);
    return true;
}

static PyObject *timed(const guarded *one, uint64_t epoch, PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                       PyObject *names)
{
    time_call call = {.most = SS_LOOK(one->kind) == SS_CALL_TIMED ? 2 : 3, .known = true};
    call.known = epoch > 0 && count <= call.most;
    for (Py_ssize_t i = 0; call.known && i < count; i++)
        call.given[i] = arguments[i];
    for (Py_ssize_t i = 0; call.known && names && i < PyTuple_GET_SIZE(names); i++)
        give(&call, one, PyTuple_GET_ITEM(names, i), arguments[count + i]);
    if (!complete(&call, one, epoch))
        return ((keywords_call)SS_LOOK(one->original))(self, arguments, count, names);
    PyObject *value = NULL;
    if (call.given[0] && call.given[1])
        value = ((keywords_call)SS_LOOK(one->original))(self, call.given, call.most, NULL);
    Py_XDECREF(call.made[0]);
    Py_XDECREF(call.made[1]);
    return value;
}

static PyObject *timed_tuple(const guarded *one, uint64_t epoch, PyObject *self, PyObject *arguments, PyObject *named)
{
    time_call call = {.most = SS_LOOK(one->kind) == SS_CALL_TIMED ? 2 : 3};
    call.known = epoch > 0 && PyTuple_GET_SIZE(arguments) <= call.most;
    for (Py_ssize_t i = 0; call.known && i < PyTuple_GET_SIZE(arguments); i++)
        call.given[i] = PyTuple_GET_ITEM(arguments, i);
    PyObject *name, *given;
    for (Py_ssize_t at = 0; call.known && named && PyDict_Next(named, &at, &name, &given);)
        give(&call, one, name, given);
    if (!complete(&call, one, epoch))
        return ((PyCFunctionWithKeywords)SS_LOOK(one->original))(self, arguments, named);
    PyObject *all = call.given[0] && call.given[1] ? PyTuple_New(call.most) : NULL, *value = NULL;
    for (int i = 0; all && i < call.most; i++)
        PyTuple_SET_ITEM(all, i, Py_NewRef(call.given[i]));
    if (all)
        value = ((PyCFunctionWithKeywords)SS_LOOK(one->original))(self, all, NULL);
    Py_XDECREF(all);
    Py_XDECREF(call.made[0]);
    Py_XDECREF(call.made[1]);
    return value;
}

static PyObject *node_of(const guarded *one, uint64_t epoch, PyObject *self, PyObject *argument)
{
    ss_uuid_node *node = epoch > 0 ? ss_uuid_node_of(epoch) : NULL;
    return node ? PyLong_FromUnsignedLongLong(node->node) : ((PyCFunction)SS_LOOK(one->original))(self, argument);
}

static __attribute__((noinline)) PyObject *keywords_slowly(const guarded *one, PyObject *self, PyObject *const *arguments,
                                                           Py_ssize_t count, PyObject *names)
{
    DRAW(SS_LOOK(one->kind) != SS_CALL_DRAW ? timed(one, epoch, self, arguments, count, names)
                                            : ((keywords_call)SS_LOOK(one->original))(self, arguments, count, names))
}

static __attribute__((noinline)) PyObject *tuple_slowly(const guarded *one, PyObject *self, PyObject *arguments,
                                                        PyObject *named)
{
    DRAW(SS_LOOK(one->kind) != SS_CALL_DRAW ? timed_tuple(one, epoch, self, arguments, named)
                                            : ((PyCFunctionWithKeywords)SS_LOOK(one->original))(self, arguments, named))
}

static __attribute__((noinline)) PyObject *one_slowly(const guarded *one, PyObject *self, PyObject *argument)
{
    DRAW(SS_LOOK(one->kind) == SS_CALL_NODE ? node_of(one, epoch, self, argument)
                                            : ((PyCFunction)SS_LOOK(one->original))(self, argument))
}

/* Is there nothing to do but to call the original? */
static inline bool is_plain(const guarded *one, uint64_t epoch)
{
    return SS_LIKELY(SS_LOOK(one->kind) == SS_CALL_DRAW) && is_of(SS_LOOK(one->family), epoch);
}

/* ---- the entries, one for each calling convention and place ---- */

#define TEN(X, P) X(P##0) X(P##1) X(P##2) X(P##3) X(P##4) X(P##5) X(P##6) X(P##7) X(P##8) X(P##9)
#define EACH(X) TEN(X, ) TEN(X, 1) TEN(X, 2) X(30) X(31)
#define ENTRIES(N)                                                                                                     \
    static PyObject *keywords_##N(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names)       \
    {                                                                                                                  \
        const uint64_t epoch = ss_epoch_begin();                                                                       \
        if (is_plain(&calls[N], epoch)) {                                                                              \
            PyObject *drawn = ((keywords_call)SS_LOOK(calls[N].original))(self, arguments, count, names);              \
            if (ss_epoch_unchanged(epoch) || !drawn)                                                                   \
                return drawn;                                                                                          \
            Py_DECREF(drawn);                                                                                          \
        }                                                                                                              \
        return keywords_slowly(&calls[N], self, arguments, count, names);                                              \
    }                                                                                                                  \
    static PyObject *tuple_##N(PyObject *self, PyObject *arguments, PyObject *named)                                   \
    {                                                                                                                  \
        const uint64_t epoch = ss_epoch_begin();                                                                       \
        if (is_plain(&calls[N], epoch)) {                                                                              \
            PyObject *drawn = ((PyCFunctionWithKeywords)SS_LOOK(calls[N].original))(self, arguments, named);           \
            if (ss_epoch_unchanged(epoch) || !drawn)                                                                   \
                return drawn;                                                                                          \
            Py_DECREF(drawn);                                                                                          \
        }                                                                                                              \
        return tuple_slowly(&calls[N], self, arguments, named);                                                        \
    }                                                                                                                  \
    static PyObject *one_##N(PyObject *self, PyObject *argument)                                                       \
    {                                                                                                                  \
        const uint64_t epoch = ss_epoch_begin();                                                                       \
        if (is_plain(&calls[N], epoch)) {                                                                              \
            PyObject *drawn = ((PyCFunction)SS_LOOK(calls[N].original))(self, argument);                               \
            if (ss_epoch_unchanged(epoch) || !drawn)                                                                   \
                return drawn;                                                                                          \
            Py_DECREF(drawn);                                                                                          \
        }                                                                                                              \
        return one_slowly(&calls[N], self, argument);                                                                  \
    }
EACH(ENTRIES)
#define ENTRY(N) {(void *)keywords_##N, (void *)tuple_##N, (void *)one_##N},
static const struct {
    void *keywords, *tuple, *one;
} entries[SS_CALLS] = {EACH(ENTRY)};

static void *entry_of(int place)
{
    const int flags = SS_LOOK(calls[place].def)->ml_flags;
    if (!(flags & METH_KEYWORDS))
        return entries[place].one;
    return flags & METH_FASTCALL ? entries[place].keywords : entries[place].tuple;
}

/* ---- putting them in place ---- */

struct place {
    uintptr_t address;
    bool known, writable;
};

/* Of dl_iterate_phdr(3): 1 at the object that has the address. */
static int find_place(struct dl_phdr_info *info, size_t size, void *context)
{
    struct place *place = context;
    const ElfW(Phdr) *part = ss_libraries_part(info, PT_LOAD, place->address);
    (void)size;
    place->known = part != NULL;
    place->writable = part && part->p_flags & PF_W && !ss_libraries_part(info, PT_GNU_RELRO, place->address);
    return place->known;
}

/* The definition behind a builtin; or behind a function that Cython made, which begins as a builtin does, but for builds
   against the limited API. There the word is no definition of a loaded object. */
static PyMethodDef *definition(PyObject *builtin)
{
    PyMethodDef *def = ss_definition(builtin);
    const char *type = strrchr(Py_TYPE(builtin)->tp_name, '.');
    if (!def && strcmp(type ? type + 1 : Py_TYPE(builtin)->tp_name, "cython_function_or_method") == 0 &&
        Py_TYPE(builtin)->tp_basicsize >= (Py_ssize_t)sizeof(PyCFunctionObject)) {
        PyMethodDef *likely = ((PyCFunctionObject *)builtin)->m_ml;
        struct place place = {(uintptr_t)likely, false, false};
        (void)dl_iterate_phdr(find_place, &place);
        def = place.known && (uintptr_t)likely % sizeof(void *) == 0 ? likely : NULL;
    }
    return def;
}

static int place_of(const PyMethodDef *def)
{
    for (int i = 0; def && i < SS_CALLS; i++)
        if (SS_LOOK(calls[i].def) == def)
            return i;
    return -1;
}

/* With the room's lock. -1: there is no place for a further one. */
static int family_of(const char *name, PyObject *renew, bool each_thread)
{
    for (int i = 0; i < SS_CALL_FAMILIES; i++) {
        family *one = &families[i];
        if (one->name[0] && strcmp(one->name, name) != 0)
            continue;
        snprintf(one->name, sizeof one->name, "%s", name);
        Py_INCREF(renew);
        __atomic_store_n(&one->renew, renew, __ATOMIC_RELEASE); /* the former one stays: a thread may be in it */
        __atomic_store_n(&one->interpreter, PyInterpreterState_Get(), __ATOMIC_RELEASE);
        __atomic_store_n(&one->mask, each_thread ? UINTPTR_MAX : 0, __ATOMIC_RELEASE);
        __atomic_store_n(&one->tag, 0, __ATOMIC_RELEASE);
        return i;
    }
    return -1;
}

int ss_calls_family(const char *name, PyObject *renew, bool each_thread)
{
    static bool prepared; /* with the room's lock */
    int number = -1;
    ss_room_lock(SS_ROOM_CALLS);
    const int error = prepared ? 0 : pthread_key_create(&ending, forget_thread);
    if (!error) {
        prepared = true;
        number = family_of(name, renew, each_thread);
    }
    ss_room_unlock(SS_ROOM_CALLS);
    errno = error;
    if (error)
        PyErr_SetFromErrno(PyExc_OSError);
    else if (number < 0)
        PyErr_SetString(PyExc_RuntimeError, "no place for a further family of calls");
    return number;
}

/* Is this code of the library of this file? */
static bool is_code_of(const void *code, const char *file)
{
    Dl_info own;
    struct stat loaded, named;
    return dladdr(code, &own) && stat(own.dli_fname, &loaded) == 0 && stat(file, &named) == 0 &&
           loaded.st_ino == named.st_ino && loaded.st_dev == named.st_dev;
}

/* With the room's lock. */
static const char *put(PyObject *builtin, const char *file, int number, enum ss_call_kind kind)
{
    PyMethodDef *def = definition(builtin);
    if (!def)
        return "is no builtin";
    const int conventions = METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL | METH_METHOD;
    const int convention = def->ml_flags & conventions;
    const bool single = convention == METH_NOARGS || convention == METH_O || convention == METH_VARARGS;
    const bool named = convention == (METH_FASTCALL | METH_KEYWORDS) || convention == (METH_VARARGS | METH_KEYWORDS);
    if (!(named || single) || ((kind == SS_CALL_TIMED || kind == SS_CALL_NODED) && single) ||
        (kind == SS_CALL_NODE && convention != METH_NOARGS))
        return "has another calling convention";
    int place = place_of(def);
    for (int i = 0; place < 0 && i < SS_CALLS; i++)
        if (!calls[i].def)
            place = i;
    if (place < 0)
        return "is one too many: no place is left";
    void *now = (void *)__atomic_load_n(&def->ml_meth, __ATOMIC_ACQUIRE);
    if (calls[place].def && now == entry_of(place))
        return NULL;
    if (calls[place].def ? now != calls[place].original : !is_code_of(now, file))
        return "was exchanged by another library";
    struct place at = {(uintptr_t)&def->ml_meth, false, false};
    (void)dl_iterate_phdr(find_place, &at);
    if (at.known && !at.writable)
        return "is defined in memory that is not written to"; /* else in no object: on the heap */
    __atomic_store_n(&calls[place].original, now, __ATOMIC_RELEASE);
    __atomic_store_n(&calls[place].family, &families[number], __ATOMIC_RELEASE);
    __atomic_store_n(&calls[place].kind, kind, __ATOMIC_RELEASE);
    calls[place].active = true;
    __atomic_store_n(&calls[place].def, def, __ATOMIC_RELEASE);
    ss_slot_store(&def->ml_meth, entry_of(place));
    return NULL;
}

const char *ss_calls_guard(PyObject *builtin, const char *file, int number, enum ss_call_kind kind)
{
    ss_room_lock(SS_ROOM_CALLS);
    const char *why = put(builtin, file, number, kind);
    ss_room_unlock(SS_ROOM_CALLS);
    return why;
}

bool ss_calls_in_place(PyObject *builtin)
{
    const int place = place_of(definition(builtin));
    if (place < 0 || ss_method(calls[place].def) != entry_of(place))
        return false;
    return !PyCFunction_Check(builtin) || ((PyCFunctionObject *)builtin)->vectorcall == ss_own_call(builtin);
}

bool ss_calls_word(PyObject *builtin, uint64_t *ret_at, uint64_t *ret_held)
{
    const int place = place_of(definition(builtin));
    if (place < 0)
        return false;
    *ret_at = (uintptr_t)&calls[place].def->ml_meth;
    *ret_held = (uintptr_t)entry_of(place);
    return true;
}

void ss_calls_put_back(void)
{
    ss_room_lock(SS_ROOM_CALLS);
    for (int i = 0; i < SS_CALLS; i++)
        if (calls[i].def && calls[i].active && ss_method(calls[i].def) == calls[i].original)
            ss_slot_store(&calls[i].def->ml_meth, entry_of(i));
    ss_room_unlock(SS_ROOM_CALLS);
}

void ss_calls_remove(int number)
{
    ss_room_lock(SS_ROOM_CALLS);
    for (int i = 0; i < SS_CALLS; i++) {
        if (!calls[i].def || calls[i].family != &families[number])
            continue;
        calls[i].active = false;
        if (ss_method(calls[i].def) == entry_of(i))
            ss_slot_store(&calls[i].def->ml_meth, calls[i].original);
    }
    ss_room_unlock(SS_ROOM_CALLS);
}

bool ss_calls_foreign(int number) { return __atomic_load_n(&families[number].foreign, __ATOMIC_RELAXED); }

/* ---- their seeds ---- */

#define FED_MOST 16
static uint64_t words[FED_MOST]; /* addresses of what held getrandom(3)'s address. With the room's lock */
static ssize_t (*stock_getrandom)(void *, size_t, unsigned); /* set before the first word is exchanged, and not again */

static ssize_t fenced_getrandom(void *out, size_t size, unsigned flags)
{
    fed++;
    return ss_entropy_fill(out, size) == 0 ? (ssize_t)size : stock_getrandom(out, size, flags);
}

struct words {
    const void *code;
    bool found;
};

/* Of dl_iterate_phdr(3): 1 at the library that has the code. Exchanges each word there that may be written to, and holds
   getrandom(3)'s address. */
static int feed(struct dl_phdr_info *info, size_t size, void *context)
{
    struct words *words_of = context;
    (void)size;
    if (!ss_libraries_part(info, PT_LOAD, (uintptr_t)words_of->code))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W))
            continue;
        uintptr_t at = (info->dlpi_addr + part->p_vaddr + 7) & ~(uintptr_t)7;
        const uintptr_t end = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        for (; at + 8 <= end; at += 8) {
            const uint64_t held = __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
            if ((held != (uintptr_t)fenced_getrandom && held != (uintptr_t)stock_getrandom) ||
                ss_libraries_part(info, PT_GNU_RELRO, at))
                continue;
            words_of->found |= held == (uintptr_t)fenced_getrandom;
            for (int place = 0; held == (uintptr_t)stock_getrandom && place < FED_MOST; place++)
                if (!words[place] || words[place] == at) {
                    words[place] = at;
                    __atomic_store_n((uint64_t *)at, (uintptr_t)fenced_getrandom, __ATOMIC_RELEASE);
                    words_of->found = true;
                    break;
                }
        }
    }
    return 1;
}

const char *ss_calls_feed(PyObject *builtin)
{
    const int place = place_of(definition(builtin));
    if (place < 0)
        return "is not guarded";
    struct words search = {SS_LOOK(calls[place].original), false};
    ss_room_lock(SS_ROOM_CALLS);
    if (!stock_getrandom)
        *(void **)&stock_getrandom = dlsym(RTLD_DEFAULT, "getrandom");
    if (stock_getrandom)
        (void)dl_iterate_phdr(feed, &search);
    ss_room_unlock(SS_ROOM_CALLS);
    return search.found ? NULL : "asks the kernel by a way that is not known";
}

void ss_calls_starve(void)
{
    ss_room_lock(SS_ROOM_CALLS);
    for (int i = 0; i < FED_MOST && words[i]; i++)
        if (__atomic_load_n((uint64_t *)(uintptr_t)words[i], __ATOMIC_RELAXED) == (uintptr_t)fenced_getrandom)
            __atomic_store_n((uint64_t *)(uintptr_t)words[i], (uintptr_t)stock_getrandom, __ATOMIC_RELEASE);
    ss_room_unlock(SS_ROOM_CALLS);
}

uint64_t ss_calls_fed(void) { return fed; }

int ss_calls_write(PyObject *builtin, const char *symbol, const void *bytes, size_t size)
{
    const PyMethodDef *def = definition(builtin);
    const int place = place_of(def);
    const void *code = place >= 0 ? SS_LOOK(calls[place].original) : def ? ss_method(def) : NULL;
    Dl_info own;
    if (!code || ss_libraries_symbol_size(code, symbol) != size)
        return ENOENT;
    void *handle = dladdr(code, &own) ? dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    void *variable = handle ? dlsym(handle, symbol) : NULL;
    if (variable)
        memcpy(variable, bytes, size);
    if (handle)
        (void)dlclose(handle);
    return variable ? 0 : ENOENT;
}
