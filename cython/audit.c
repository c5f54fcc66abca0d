#define _GNU_SOURCE 1
#include "audit.h"

#include "audit_text.h"
#include "guard.h"
#include "object_lock.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PLACES 1024
#define SLOTS (2 * PLACES) /* a power of 2 */
#define FRAMES 24          /* how far a place is looked for */
#define SESSIONS 1024
#define NAMES 256 /* of files whose kind is known; a power of 2 */
#define NOTE 0x100
#define NOTE_MOST (65536 - NOTE)
#define TEXT_MOST 472

struct place {
    uint64_t times;
    int64_t first, last, open;
    uint32_t kind, renewed;
    char text[TEXT_MOST];
};

struct table {
    char magic[8];
    uint32_t version, begin, size, capacity, used, sequence;
    uint64_t lost, pid, parent;
    int64_t began;
    uint64_t note_length, sessions_lost;
    char program[128], gap[NOTE - 208];
    char note[NOTE_MOST];
    struct place places[PLACES];
};

_Static_assert(offsetof(struct table, note) == NOTE && offsetof(struct table, places) == 65536 &&
                   sizeof(struct place) == 512 && offsetof(struct table, sessions_lost) == 0x48,
               "audit.h says so");

/* By what a place is known: code objects that the process keeps, and where in them. No padding. */
struct key {
    PyCodeObject *via, *place, *caller;
    uint64_t what;
    int32_t place_at, caller_at;
    uint32_t kind, renewed;
};

enum file_kind { UNKNOWN, DRAWS, LIBRARY, PROGRAM, OURS };

bool ss_audit_on;

static struct table *table;
static bool settled; /* the program is over: what ends now was open */
static uint64_t token; /* of the process that the table is of */
static char *prefix, *library_folder, *own_folder;
static char program[128];
static ss_audit_origins origin;
static struct key *keys;       /* PLACES of them */
static uint16_t slots[SLOTS];  /* number of a key + 1; 0: free */
static __thread int inside; /* calls that run: what is drawn here is counted already, or counts for nobody. Greenlets may end
                               theirs in another order than they began */
static struct {
    PyObject *name; /* owned, so that no other can come to lie there */
    enum file_kind kind;
} names[NAMES];

/* Factories of per_generation() that run. Not on the stack, which greenlets move. */
struct maker {
    PyFrameObject *frame; /* owned: of who called it */
    struct maker *next;
};
static struct maker *makers; /* atomic: whether there is one is asked without the lock */

static struct {
    PyObject *session; /* borrowed, for comparison alone */
    int place;
} sessions[SESSIONS];
static int session_count;
static PyTypeObject *session_type;
static destructor session_dealloc;

/* ---- the table ---- */

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A descriptor, or -1 with errno set. */
static int make_file(void)
{
    char path[4096];
    if (!prefix)
        return memfd_create("snapsafe-audit", MFD_CLOEXEC);
    for (int number = 0; number < 100; number++) { /* one process may be several programs, one after the other */
        const int length = number ? snprintf(path, sizeof path, "%s.%d.%d", prefix, (int)getpid(), number)
                                  : snprintf(path, sizeof path, "%s.%d", prefix, (int)getpid());
        if (length >= (int)sizeof path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* Written and not only made long: a store to a page for which a full disk has no room would end the program. */
static int fill(int fd)
{
    static const char zeros[65536];
    struct rlimit most;
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < sizeof(struct table))
        return EFBIG; /* a write would send SIGXFSZ, which a program may not ignore */
    for (size_t done = 0; done < sizeof(struct table);) {
        const size_t left = sizeof(struct table) - done;
        const ssize_t written = write(fd, zeros, left < sizeof zeros ? left : sizeof zeros);
        if (written <= 0)
            return written < 0 ? errno : ENOSPC;
        done += (size_t)written;
    }
    return 0;
}

static int map_table(void)
{
    const int fd = make_file();
    if (fd < 0)
        return errno;
    int error = prefix ? fill(fd) : ftruncate(fd, sizeof *table) ? errno : 0;
    struct table *made = MAP_FAILED;
    if (!error) {
        made = mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, prefix ? MAP_SHARED : MAP_PRIVATE, fd, 0);
        error = made == MAP_FAILED ? errno : 0;
    }
    (void)close(fd);
    if (error)
        return error;
    made->version = 1;
    made->begin = offsetof(struct table, places);
    made->size = sizeof(struct place);
    made->capacity = PLACES;
    made->pid = (uint64_t)getpid();
    made->parent = (uint64_t)getppid();
    made->began = now_ns();
    memcpy(made->program, program, sizeof program);
    memcpy(made->magic, "SNAPAUDT", sizeof made->magic);
    table = made;
    return 0;
}

static int make_table(void)
{
    struct table *const parents = table;
    table = NULL;
    session_count = 0;
    settled = false;
    token = ss_process_token();
    memset(slots, 0, sizeof slots); /* and what the keys hold is left alone: what it ends could run code */
    const int error = map_table();
    if (parents && error && prefix) /* a worker of another user, a full disk: the parent's file tells that not all is known */
        (void)__atomic_add_fetch(&parents->lost, 1, __ATOMIC_RELAXED);
    if (parents)
        (void)munmap(parents, sizeof *parents);
    return error;
}

void ss_audit_note(const char *text, size_t size, bool last)
{
    ss_room_lock(SS_ROOM_AUDIT);
    if (SS_LOOK(ss_audit_on) && token != ss_process_token())
        (void)make_table();
    settled = last;
    if (table && token == ss_process_token() && size <= NOTE_MOST) {
        __atomic_store_n(&table->sequence, table->sequence | 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        memcpy(table->note, text, size);
        table->note_length = size;
        __atomic_store_n(&table->sequence, table->sequence + 1, __ATOMIC_RELEASE);
    }
    ss_room_unlock(SS_ROOM_AUDIT);
}

/* ---- who called ---- */

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static enum file_kind classify(const char *path)
{
    /* What stands between a program and the generator: the program's own place is beyond. */
    static const char *const draw[] = {"random.py",         "uuid.py",  "secrets.py", "tempfile.py", "ssl.py", "os.py",
                                       "email/utils.py", "email/generator.py", "_collections_abc.py"};
    if (strstr(path, "/site-packages/snapsafe_rt/") || (begins(path, own_folder) && path[strlen(own_folder)] == '/'))
        return OURS;
    if (strstr(path, "/site-packages/") || strstr(path, "/dist-packages/") || begins(path, "<frozen "))
        return begins(path, "<frozen os>") || begins(path, "<frozen _collections_abc>") ? DRAWS : LIBRARY;
    if (!begins(path, library_folder) || path[strlen(library_folder)] != '/')
        return PROGRAM;
    for (size_t i = 0; i < sizeof draw / sizeof *draw; i++)
        if (strcmp(path + strlen(library_folder) + 1, draw[i]) == 0)
            return DRAWS;
    return LIBRARY;
}

static enum file_kind kind_of(PyObject *name)
{
    const size_t slot = ((uintptr_t)name >> 4) & (NAMES - 1);
    PyObject *old = NULL;
    ss_room_lock(SS_ROOM_AUDIT);
    if (names[slot].name != name) {
        const char *path = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
        PyErr_Clear();
        old = names[slot].name;
        names[slot].kind = path ? classify(path) : PROGRAM;
        names[slot].name = Py_NewRef(name);
    }
    const enum file_kind kind = names[slot].kind;
    ss_room_unlock(SS_ROOM_AUDIT);
    Py_XDECREF(old); /* a str: runs no code */
    return kind;
}

static bool is_making(const PyFrameObject *frame)
{
    ss_room_lock(SS_ROOM_AUDIT);
    const struct maker *one = makers;
    while (one && one->frame != frame)
        one = one->next;
    ss_room_unlock(SS_ROOM_AUDIT);
    return one;
}

/* The frames are those that wait for us: what is borrowed of them lives until we return. False: we drew ourselves. */
static bool look(PyThreadState *thread, struct key *ret_key)
{
    PyFrameObject *frame = PyThreadState_GetFrame(thread);
    for (int depth = 0; frame && depth < FRAMES; depth++) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        const enum file_kind kind = kind_of(code->co_filename);
        Py_DECREF(code);
        if (!ret_key->place && kind == OURS) {
            Py_DECREF(frame);
            return false;
        }
        if (!ret_key->place && kind == DRAWS) {
            ret_key->via = code;
        } else if (!ret_key->place) {
            ret_key->place = code;
            ret_key->place_at = ss_frame_at(frame);
        } else if (!ret_key->caller && kind == PROGRAM) {
            ret_key->caller = code;
            ret_key->caller_at = ss_frame_at(frame);
        }
        ret_key->renewed |= SS_LOOK(makers) && is_making(frame);
        const bool enough = ret_key->place && (kind == PROGRAM || ret_key->caller) && !SS_LOOK(makers);
        PyFrameObject *back = enough ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    if (!ret_key->place) { /* `python -m uuid` */
        ret_key->place = ret_key->via;
        ret_key->via = NULL;
    }
    return true;
}

/* ---- text ---- */

static void describe(const struct key *key, const char *what, PyObject *name, char *ret_text)
{
    ss_audit_text text = {ret_text, TEXT_MOST - 1};
    const bool own = key->kind == SS_AUDIT_ENVIRONMENT || key->kind == SS_AUDIT_UUID || key->kind == SS_AUDIT_TLS;
    if (name) {
        ss_audit_put_str(&text, name, 64);
    } else if (key->via && !own) {
        ss_audit_put_module(&text, key->via->co_filename);
        ss_audit_put_text(&text, ".");
        ss_audit_put_str(&text, ss_code_name(key->via), 40);
    } else {
        ss_audit_put_text(&text, what);
    }
    ss_audit_put_place(&text, key->place, key->place_at);
    ss_audit_put_place(&text, key->caller, key->caller_at);
    *text.at = 0;
}

/* ---- counting ---- */

/* With the room's lock. */
static size_t slot_of(const struct key *key)
{
    const uint64_t words[] = {(uintptr_t)key->place >> 4, (uint64_t)key->place_at, (uintptr_t)key->via >> 4,
                              (uintptr_t)key->caller >> 4, (uint64_t)key->caller_at, key->what, key->kind, key->renewed};
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
    size_t slot = hash & (SLOTS - 1);
    while (slots[slot] && memcmp(&keys[slots[slot] - 1], key, sizeof *key) != 0)
        slot = (slot + 1) & (SLOTS - 1);
    return slot;
}

/* The number of the place that called, or -1. `name`: what was read, of the environment. Sets no exception; with none set. */
static int count(enum ss_audit_kind kind, const char *what, PyObject *name)
{
    PyThreadState *thread = PyThreadState_Get();
    if (inside || !SS_LOOK(ss_audit_on) || PyThreadState_GetInterpreter(thread) != PyInterpreterState_Main())
        return -1;
    inside++; /* memory for a frame may run the collector, and that anything */
    int number = -1;
    struct key key = {.kind = kind, .what = (uintptr_t)what};
    if (name) {
        key.what = (uint64_t)PyObject_Hash(name);
        PyErr_Clear();
    }
    if (look(thread, &key)) {
        ss_room_lock(SS_ROOM_AUDIT);
        if (token != ss_process_token())
            (void)make_table(); /* a child has one from its first draw on: many only execute another program */
        size_t slot = slot_of(&key);
        if (table && !slots[slot] && table->used < PLACES) {
            char text[TEXT_MOST] = ""; /* all of it is written: nothing of the stack's */
            ss_room_unlock(SS_ROOM_AUDIT);
            describe(&key, what, name, text);
            ss_room_lock(SS_ROOM_AUDIT);
            slot = slot_of(&key); /* another thread may have run meanwhile */
            if (!slots[slot] && table->used < PLACES) {
                struct place *place = &table->places[table->used];
                keys[table->used] = key;
                Py_XINCREF(key.via);
                Py_XINCREF(key.place);
                Py_XINCREF(key.caller);
                memcpy(place->text, text, sizeof text);
                place->kind = kind;
                place->renewed = key.renewed;
                place->first = now_ns();
                __atomic_store_n(&table->used, table->used + 1, __ATOMIC_RELEASE);
                slots[slot] = (uint16_t)table->used;
            }
        }
        number = table ? (int)slots[slot] - 1 : -1;
        if (number >= 0) {
            table->places[number].times++;
            table->places[number].last = now_ns();
        } else if (table) {
            (void)__atomic_add_fetch(&table->lost, 1, __ATOMIC_RELAXED);
        }
        ss_room_unlock(SS_ROOM_AUDIT);
    }
    inside--;
    return number;
}

static inline PyObject *counted(PyObject *value, enum ss_audit_kind kind, const char *what)
{
    if (value)
        (void)count(kind, what, NULL);
    return value;
}

/* ---- observers ---- */

#define STOCK(id) (&ss_guard_stock[SS_GUARD_##id])

static PyObject *urandom(PyObject *module, PyObject *size)
{
    return counted(ss_call(STOCK(URANDOM), module, size), SS_AUDIT_URANDOM, "os.urandom");
}

static PyObject *get_random(PyObject *module, PyObject **arguments, Py_ssize_t given, PyObject *keywords)
{
    return counted(ss_call_keywords(STOCK(GETRANDOM), module, arguments, given, keywords), SS_AUDIT_URANDOM,
                   "os.getrandom");
}

static PyObject *random_random(PyObject *self, PyObject *argument)
{
    return counted(ss_call(STOCK(RANDOM), self, argument), SS_AUDIT_RANDOM, "random.random");
}

static PyObject *getrandbits(PyObject *self, PyObject *argument)
{
    return counted(ss_call(STOCK(GETRANDBITS), self, argument), SS_AUDIT_RANDOM, "random.getrandbits");
}

static PyObject *set_seed(PyObject *self, PyObject **arguments, Py_ssize_t given)
{
    PyObject *value = ss_call_fast(STOCK(SEED), self, arguments, given);
    if (value && given == 1 && arguments[0] != Py_None && !origin.seed_is_systems(arguments[0]))
        (void)count(SS_AUDIT_SEED, "random.seed", NULL);
    return value;
}

static PyObject *set_state(PyObject *self, PyObject *state)
{
    PyObject *value = ss_call(STOCK(SETSTATE), self, state);
    if (value && !origin.state_is_known(self))
        (void)count(SS_AUDIT_SEED, "random.setstate", NULL);
    return value;
}

static PyObject *rand_bytes(PyObject *module, PyObject *size)
{
    return counted(ss_call(STOCK(SSL_RAND_BYTES), module, size), SS_AUDIT_SSL, "ssl.RAND_bytes");
}

static PyObject *rand_pseudo_bytes(PyObject *module, PyObject *size)
{
    return counted(ss_call(STOCK(SSL_RAND_PSEUDO_BYTES), module, size), SS_AUDIT_SSL, "ssl.RAND_pseudo_bytes");
}

/* With the room's lock: its number, or the count. */
static int session_of(const PyObject *self)
{
    int i = 0;
    while (i < session_count && sessions[i].session != self)
        i++;
    return i;
}

static void dealloc(PyObject *self)
{
    ss_room_lock(SS_ROOM_AUDIT);
    const int i = session_of(self);
    if (i < session_count) {
        if (table && !settled && token == ss_process_token())
            table->places[sessions[i].place].open--;
        sessions[i] = sessions[--session_count];
    }
    ss_room_unlock(SS_ROOM_AUDIT);
    session_dealloc(self);
}

/* `value`: what a call returned that leaves a handshake behind, if it is no error. `begun`: the call was not asked for it. */
static PyObject *shaken(PyObject *value, PyObject *self, bool begun)
{
    ss_room_lock(SS_ROOM_AUDIT);
    const bool known = session_of(self) < session_count || (begun && session_count == SESSIONS); /* it was over before */
    ss_room_unlock(SS_ROOM_AUDIT);
    const int place = value && !known ? count(SS_AUDIT_TLS, "TLS handshake", NULL) : -1;
    if (place < 0)
        return value;
    ss_room_lock(SS_ROOM_AUDIT);
    PyTypeObject *type = Py_TYPE(self);
    if (!session_type && type->tp_dealloc != dealloc) {
        session_type = (PyTypeObject *)Py_NewRef(type);
        session_dealloc = type->tp_dealloc;
        ss_slot_store(&type->tp_dealloc, dealloc);
    }
    const bool unknown = session_of(self) == session_count; /* another thread may have been in a call of it as well */
    if (unknown && type->tp_dealloc == dealloc && session_count < SESSIONS) {
        sessions[session_count].session = self;
        sessions[session_count++].place = place;
        table->places[place].open++;
    } else if (unknown) {
        table->sessions_lost++;
    }
    ss_room_unlock(SS_ROOM_AUDIT);
    return value;
}

static PyObject *do_handshake(PyObject *self, PyObject *argument)
{
    return shaken(ss_call(STOCK(SSL_DO_HANDSHAKE), self, argument), self, false);
}

/* OpenSSL does the handshake in the first of these, where a program does not ask for it. With no room to know a session by,
   it cannot be told whether this one is counted; then enough are. */
static PyObject *ssl_read(PyObject *self, PyObject *arguments)
{
    return shaken(ss_call(STOCK(SSL_READ), self, arguments), self, true);
}

static PyObject *ssl_write(PyObject *self, PyObject *data)
{
    return shaken(ss_call(STOCK(SSL_WRITE), self, data), self, true);
}

/* POSIX lets a void pointer hold a function. */
static void *const observers[SS_GUARD_COUNT] = {
    [SS_GUARD_URANDOM] = (void *)urandom,
    [SS_GUARD_GETRANDOM] = (void *)get_random,
    [SS_GUARD_RANDOM] = (void *)random_random,
    [SS_GUARD_GETRANDBITS] = (void *)getrandbits,
    [SS_GUARD_SEED] = (void *)set_seed,
    [SS_GUARD_SETSTATE] = (void *)set_state,
    [SS_GUARD_SSL_RAND_BYTES] = (void *)rand_bytes,
    [SS_GUARD_SSL_RAND_PSEUDO_BYTES] = (void *)rand_pseudo_bytes,
    [SS_GUARD_SSL_DO_HANDSHAKE] = (void *)do_handshake,
    [SS_GUARD_SSL_READ] = (void *)ssl_read,
    [SS_GUARD_SSL_WRITE] = (void *)ssl_write,
};

int ss_audit_begin(const char *file, const char *library, const char *own, const char *name,
                   const ss_audit_origins *origins)
{
    if (SS_LOOK(ss_audit_on))
        return 0;
    (void)snprintf(program, sizeof program, "%s", name);
    keys = keys ? keys : calloc(PLACES, sizeof *keys);
    free(prefix);
    free(library_folder);
    free(own_folder);
    prefix = file ? strdup(file) : NULL;
    library_folder = strdup(library);
    own_folder = strdup(own);
    if (!keys || !library_folder || !own_folder || (file && !prefix))
        return ENOMEM;
    origin = *origins;
    ss_room_lock(SS_ROOM_AUDIT);
    const int error = table && token == ss_process_token() ? 0 : make_table();
    ss_room_unlock(SS_ROOM_AUDIT);
    if (error)
        return error;
    __atomic_store_n(&ss_audit_on, true, __ATOMIC_RELEASE);
    ss_guard_observe(observers);
    return 0;
}

void ss_audit_end(void)
{
    if (!SS_LOOK(ss_audit_on))
        return;
    __atomic_store_n(&ss_audit_on, false, __ATOMIC_RELEASE);
    ss_guard_observe(NULL);
    /* The type keeps our dealloc while it lives: a subtype may have copied it. It does nothing more than look. */
}

/* ---- functions of Python ---- */

/* `self`: a tuple of the target, and of what is counted: kind and address. */
static PyObject *call_wrapped(PyObject *self, PyObject *const *arguments, Py_ssize_t given)
{
    const long kind = PyLong_AsLong(PyTuple_GET_ITEM(self, 1));
    inside++; /* what the target draws is counted as the target */
    PyObject *value = PyObject_Vectorcall(PyTuple_GET_ITEM(self, 0), arguments, (size_t)given, NULL);
    inside--;
    PyObject *name = NULL;
    if (value && kind == SS_AUDIT_ENVIRONMENT && given == 2) {
        name = arguments[1];
        if (PyBytes_Check(name)) { /* of os.environb */
            name = PyUnicode_DecodeFSDefaultAndSize(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name));
            PyErr_Clear();
        } else {
            name = PyUnicode_Check(name) ? Py_NewRef(name) : NULL;
        }
    }
    if (value)
        (void)count((enum ss_audit_kind)kind, PyLong_AsVoidPtr(PyTuple_GET_ITEM(self, 2)), name);
    Py_XDECREF(name);
    return value;
}

PyObject *ss_audit_wrap(enum ss_audit_kind kind, const char *what, PyObject *target)
{
    static PyMethodDef definition = {"audited", (PyCFunction)(void *)call_wrapped, METH_FASTCALL, NULL};
    PyObject *self = Py_BuildValue("(OiN)", target, (int)kind, PyLong_FromVoidPtr((void *)what));
    PyObject *made = self ? PyCFunction_New(&definition, self) : NULL;
    Py_XDECREF(self);
    return made;
}

PyObject *ss_audit_make(PyObject *factory)
{
    struct maker *made = malloc(sizeof *made);
    PyFrameObject *frame = made ? PyThreadState_GetFrame(PyThreadState_Get()) : NULL;
    if (!frame) {
        free(made);
        return PyObject_CallNoArgs(factory);
    }
    ss_room_lock(SS_ROOM_AUDIT);
    *made = (struct maker){frame, makers};
    __atomic_store_n(&makers, made, __ATOMIC_RELEASE);
    ss_room_unlock(SS_ROOM_AUDIT);
    PyObject *value = PyObject_CallNoArgs(factory);
    ss_room_lock(SS_ROOM_AUDIT);
    struct maker **one = &makers;
    while (*one != made)
        one = &(*one)->next;
    __atomic_store_n(one, made->next, __ATOMIC_RELEASE);
    ss_room_unlock(SS_ROOM_AUDIT);
    Py_DECREF(frame);
    free(made);
    return value;
}
