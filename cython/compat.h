/* Everything that depends on CPython's version or build, and nothing else. Both branches of a difference are always
   written; the call sites show no version number. */
#ifndef SNAPSAFE_COMPAT_H
#define SNAPSAFE_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030a0000 || PY_VERSION_HEX >= 0x03100000
#error "snapsafe_rt knows CPython 3.10 to 3.15"
#endif

/* Modules/_randommodule.c, RandomObject: PyObject_HEAD, int index, uint32_t state[624], and 4 bytes of padding up to
   the alignment of the object, zeroed at allocation. The padding holds our tag. */
#define SS_RANDOM_STATE_OFFSET (sizeof(PyObject) + sizeof(int))
#define SS_RANDOM_STATE_WORDS 624
#define SS_RANDOM_TAG_OFFSET (SS_RANDOM_STATE_OFFSET + SS_RANDOM_STATE_WORDS * sizeof(uint32_t))
#define SS_RANDOM_BASICSIZE (SS_RANDOM_TAG_OFFSET + sizeof(uint32_t))
_Static_assert(SS_RANDOM_BASICSIZE % sizeof(void *) == 0, "RandomObject has no padding to keep a tag in");

#ifdef Py_GIL_DISABLED
#define SS_FREE_THREADED 1
#else
#define SS_FREE_THREADED 0
#endif

/* A word that is written while a GIL keeps the readers out; without one it is written atomically, and read so. */
#if SS_FREE_THREADED
#define SS_LOOK(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#else
#define SS_LOOK(word) (word)
#endif

/* Exchanges what stands in a slot of CPython's own, which other threads read meanwhile; CPython reads it as a plain word. A function
   by itself only where tests/tsan.supp has to name it. */
#if SS_FREE_THREADED
static inline void ss_slot_store(void *slot, void *value)
{
    typedef void *__attribute__((may_alias)) word;
    __atomic_store_n((word *)slot, value, __ATOMIC_RELEASE);
}
#else
#define ss_slot_store(slot, value) __atomic_store_n((slot), (value), __ATOMIC_RELEASE)
#endif

/* A thread state for another thread, or NULL where there is no memory. With the GIL: what allocates without it may meet
   tracemalloc.stop(), which ends the process (CPython gh-128679, mended in 3.12.9 and 3.13.2). PyThreadState_New() of 3.11 goes on
   without memory, so there its first half alone is called. Until it is taken it is nobody's: PyThreadState_SetAsyncExc() raises in
   the first state that has the number of a thread. */
#if PY_VERSION_HEX < 0x030c0000
PyAPI_FUNC(void) _PyThreadState_Init(PyThreadState *state);
PyAPI_FUNC(void) _PyThreadState_SetCurrent(PyThreadState *state);
#define SS_THREAD_STATE_NEW _PyThreadState_Prealloc
#else
#define SS_THREAD_STATE_NEW PyThreadState_New
#endif
static inline PyThreadState *ss_thread_state_make(PyInterpreterState *interpreter)
{
    PyThreadState *made = SS_THREAD_STATE_NEW(interpreter);
    if (made) {
        made->thread_id = 0;
#if PY_VERSION_HEX >= 0x030b0000
        made->native_thread_id = 0;
#endif
    }
    return made;
}

/* May a thread take a state that another one has made? Not without a GIL: its heap, and the queue by which other threads give
   references back, are of the thread that made it. */
#define SS_THREAD_STATE_FOR_OTHERS (!SS_FREE_THREADED)

/* The calling thread, which has none, takes it, and with it the GIL. */
static inline void ss_thread_state_take(PyThreadState *state)
{
    state->thread_id = PyThread_get_thread_ident();
#if PY_VERSION_HEX < 0x030b0000
    _PyThreadState_Init(state);
#else
    state->native_thread_id = PyThread_get_thread_native_id();
#if PY_VERSION_HEX < 0x030c0000
    _PyThreadState_SetCurrent(state);
#endif
#endif
    PyEval_RestoreThread(state);
}

/* Does the calling thread hold the GIL, or is it attached where there is none? No before the interpreter is there. Before 3.12 the
   state is the GIL's, whoever holds it; one of another interpreter than that in which the thread began is not recognised. */
static inline bool ss_attached(void)
{
    if (!Py_IsInitialized())
        return false;
#if PY_VERSION_HEX >= 0x030d0000
    return PyThreadState_GetUnchecked() != NULL;
#elif PY_VERSION_HEX >= 0x030c0000
    return _PyThreadState_UncheckedGet() != NULL;
#else
    PyThreadState *state = PyGILState_GetThisThreadState();
    return state && state == _PyThreadState_UncheckedGet();
#endif
}

/* How dict_watch.c learns that a dict was changed: by its version, which 3.12 gave up; by PyDict_Watch, which tells before the
   change is made, so only where a GIL keeps others out until it is; else not at all. */
#if PY_VERSION_HEX < 0x030c0000
#define SS_FOLLOWS_BY_VERSION 1
#define SS_FOLLOWS_BY_WATCHER 0
#else
#define SS_FOLLOWS_BY_VERSION 0
#define SS_FOLLOWS_BY_WATCHER (!SS_FREE_THREADED)
#endif

/* Whether a call from Python code looks past a function's vectorcall pointer and runs its code (exchange.c): 3.11 alone. */
#define SS_FUNCTIONS_RUN_CODE (PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030c0000)

static inline void ss_function_set_call(PyFunctionObject *function, vectorcallfunc call)
{
#if SS_FREE_THREADED
    ss_slot_store(&function->vectorcall, call);
#if PY_VERSION_HEX >= 0x030e0000 /* before, no call is specialised there, so that none has looked at the function's version */
    PyFunction_SetVectorcall(function, call); /* takes the version away; a function with this pointer is given no other */
#endif
#elif PY_VERSION_HEX >= 0x030c0000
    PyFunction_SetVectorcall(function, call);
#else
    function->vectorcall = call;
#endif
}

/* Nothing that the calling thread runs is seen by settrace, setprofile or sys.monitoring, until it is ended. They nest. */
static inline void ss_unobserved_begin(void)
{
    PyThreadState *thread = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030b0000
    PyThreadState_EnterTracing(thread);
#else
    thread->tracing++;
    thread->cframe->use_tracing = 0;
#endif
}

static inline void ss_unobserved_end(void)
{
    PyThreadState *thread = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030b0000
    PyThreadState_LeaveTracing(thread);
#else
    thread->tracing--;
    thread->cframe->use_tracing = !thread->tracing && (thread->c_tracefunc || thread->c_profilefunc);
#endif
}

/* New reference, or NULL with an exception set. */
#if PY_VERSION_HEX >= 0x030d0000
static inline PyObject *ss_long_from_little(const unsigned char *bytes, size_t size)
{
    return PyLong_FromUnsignedNativeBytes(bytes, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
}
#else
static inline PyObject *ss_long_from_little(const unsigned char *bytes, size_t size)
{
    return _PyLong_FromByteArray(bytes, size, 1, 0);
}
#endif

/* The int of 128 bits, of which the upper 64 are not all 0. New reference, or NULL with an exception set. The digits are
   written straight into it: this is a third faster than from bytes. */
#if PYLONG_BITS_IN_DIGIT == 30
static inline PyObject *ss_long_from_words(uint64_t high, uint64_t low)
{
    const uint32_t mask = (1u << 30) - 1;
    const int count = high >> 56 ? 5 : high >> 26 & mask ? 4 : 3;
    digit *digits;
#if PY_VERSION_HEX >= 0x030e0000
    void *place;
    PyLongWriter *writer = PyLongWriter_Create(0, count, &place);
    if (!writer)
        return NULL;
    digits = place;
#else
    PyLongObject *made = _PyLong_New(count);
    if (!made)
        return NULL;
#if PY_VERSION_HEX >= 0x030c0000
    digits = made->long_value.ob_digit;
#else
    digits = made->ob_digit;
#endif
#endif
    digits[0] = (uint32_t)low & mask;
    digits[1] = (uint32_t)(low >> 30) & mask;
    digits[2] = (uint32_t)(low >> 60 | high << 4) & mask;
    if (count > 3)
        digits[3] = (uint32_t)(high >> 26) & mask;
    if (count > 4)
        digits[4] = (uint32_t)(high >> 56);
#if PY_VERSION_HEX >= 0x030e0000
    return PyLongWriter_Finish(writer);
#else
    return (PyObject *)made;
#endif
}
#else
static inline PyObject *ss_long_from_words(uint64_t high, uint64_t low)
{
    const uint64_t words[2] = {low, high};
    return ss_long_from_little((const unsigned char *)words, sizeof words);
}
#endif

/* Is |number|, of an int, below 2 ** 63? Leaves no exception set. */
static inline int ss_long_small(PyObject *number, uint64_t *ret_magnitude)
{
    int overflow;
    const long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    *ret_magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    return !overflow;
}

/* Sets no exception. */
static inline int ss_long_negative(PyObject *number)
{
    int overflow;
    return PyLong_AsLongLongAndOverflow(number, &overflow) < 0 && overflow <= 0;
}

/* Writes |number| big-endian to malloc'ed *ret_bytes, sets *ret_size, and returns 0; or -1, nothing allocated. Leaves no
   exception set. The caller frees. */
static inline int ss_long_to_big(PyObject *number, unsigned char **ret_bytes, size_t *ret_size)
{
    PyObject *magnitude = PyNumber_Absolute(number);
    unsigned char *bytes = NULL;
    int outcome = -1;
    if (magnitude) {
#if PY_VERSION_HEX >= 0x030d0000
        const int flags = Py_ASNATIVEBYTES_BIG_ENDIAN | Py_ASNATIVEBYTES_UNSIGNED_BUFFER;
        Py_ssize_t size = PyLong_AsNativeBytes(magnitude, NULL, 0, flags);
        if (size >= 0 && (bytes = malloc((size_t)size + 1)))
            outcome = PyLong_AsNativeBytes(magnitude, bytes, size, flags) == size ? 0 : -1;
#else
        size_t size = _PyLong_NumBits(magnitude);
        size = size == (size_t)-1 ? 0 : size / 8 + 1;
        if ((bytes = malloc(size + 1)))
            outcome = _PyLong_AsByteArray((PyLongObject *)magnitude, bytes, size, 0, 0);
#endif
        *ret_size = (size_t)size;
        Py_DECREF(magnitude);
    }
    if (outcome != 0) {
        PyErr_Clear();
        free(bytes);
    } else {
        *ret_bytes = bytes;
    }
    return outcome;
}

/* A number that changes when the type does (an attribute is set, a base is exchanged), or 0 where it has none just now.
   Looking an attribute up on the type gives it one. */
static inline unsigned int ss_type_version(PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x030d0000
    if (!PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG))
        return 0;
#endif
    return __atomic_load_n(&type->tp_version_tag, __ATOMIC_RELAXED);
}

/* The offset of the slot that a member descriptor of `type` itself reads, or -1. Leaves no exception set. */
static inline Py_ssize_t ss_slot_offset(PyTypeObject *type, PyObject *descriptor)
{
    if (!PyObject_TypeCheck(descriptor, &PyMemberDescr_Type) || PyDescr_TYPE(descriptor) != type)
        return -1;
    PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
    return member->type == T_OBJECT_EX ? member->offset : -1;
}

/* Around what reads or writes an object's own fields, which CPython itself does under the object's lock where there is no GIL. */
#if PY_VERSION_HEX < 0x030d0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* An item of a list; the value of a dict that has this key. New references; NULL where there is none, with no
   exception set. */
static inline PyObject *ss_list_item(PyObject *list, Py_ssize_t at)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *found = PyList_GetItemRef(list, at);
#else
    PyObject *found = Py_XNewRef(PyList_GetItem(list, at));
#endif
    PyErr_Clear();
    return found;
}

static inline PyObject *ss_dict_string(PyObject *dict, const char *key)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *found;
    if (PyDict_GetItemStringRef(dict, key, &found) < 0)
        PyErr_Clear();
    return found;
#else
    return Py_XNewRef(PyDict_GetItemString(dict, key));
#endif
}

/* What a key stands for in a dict. A new reference; or NULL: with an exception set, or without where it has none. */
static inline PyObject *ss_dict_get(PyObject *dict, PyObject *key)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *value;
    (void)PyDict_GetItemRef(dict, key, &value);
    return value;
#else
    return Py_XNewRef(PyDict_GetItemWithError(dict, key));
#endif
}

/* As dict.get(): a new reference, or NULL with an exception set. What Cython 3 makes of dict.get() may, without a GIL, take a reference
   to what another thread has just put out of the dict and freed. */
static inline PyObject *ss_dict_or(PyObject *dict, PyObject *key, PyObject *otherwise)
{
    PyObject *found = ss_dict_get(dict, key);
    return found || PyErr_Occurred() ? found : Py_NewRef(otherwise);
}

/* A reference to an object of which only the address is known, and that its memory is still its own: false where another thread
   has dropped the last one. An object has to be prepared for it by who has a reference. */
#if SS_FREE_THREADED && PY_VERSION_HEX < 0x030e0000
static inline void ss_try_reference_prepare(PyObject *object)
{
    Py_ssize_t shared = __atomic_load_n(&object->ob_ref_shared, __ATOMIC_ACQUIRE);
    while ((shared & _Py_REF_SHARED_FLAG_MASK) == 0 && /* as _PyObject_SetMaybeWeakref() of CPython's pycore_object.h */
           !__atomic_compare_exchange_n(&object->ob_ref_shared, &shared, shared | _Py_REF_MAYBE_WEAKREF, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {}
}

static inline bool ss_try_reference(PyObject *object)
{
    if (_Py_IsOwnedByCurrentThread(object) && __atomic_load_n(&object->ob_ref_local, __ATOMIC_RELAXED)) {
        Py_INCREF(object);
        return true;
    }
    Py_ssize_t shared = __atomic_load_n(&object->ob_ref_shared, __ATOMIC_ACQUIRE);
    do
        if (shared == 0 || shared == _Py_REF_MERGED) /* as _Py_TryIncRefShared() */
            return false;
    while (!__atomic_compare_exchange_n(&object->ob_ref_shared, &shared, shared + (1 << _Py_REF_SHARED_SHIFT), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    return true;
}
#elif SS_FREE_THREADED
static inline void ss_try_reference_prepare(PyObject *object) { PyUnstable_EnableTryIncRef(object); }
static inline bool ss_try_reference(PyObject *object) { return PyUnstable_TryIncRef(object); }
#else
static inline void ss_try_reference_prepare(PyObject *object) { (void)object; }
static inline bool ss_try_reference(PyObject *object) { return Py_INCREF(object), true; }
#endif

/* How far a frame is in its code, in bytes, as PyCode_Addr2Line() takes it. */
static inline int ss_frame_at(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030b0000
    return PyFrame_GetLasti(frame);
#else
    return frame->f_lasti * (int)sizeof(_Py_CODEUNIT);
#endif
}

/* By which a code object is known: with its class, where it tells that. Borrowed. */
static inline PyObject *ss_code_name(PyCodeObject *code)
{
#if PY_VERSION_HEX >= 0x030b0000
    return code->co_qualname;
#else
    return code->co_name;
#endif
}

#endif
