/* Moves the generation while a guarded C method draws, and tells whether a stale value got out.

   Loaded with ctypes.PyDLL before activation: exchange() puts an instrumented function under the method, which the guard
   then takes for the original. It notes the generation at the draw's begin, lets other threads run, and notes the time at
   the draw's end. Sound, without a window: a value is stale if a change was complete before its draw ended (so before the
   guard's check) and the draw began under an older generation. The time stamp counter is one clock for all cores. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
static uint64_t now(void) { unsigned core; _mm_lfence(); uint64_t t = __rdtscp(&core); _mm_lfence(); return t; }
#else
static uint64_t now(void) { uint64_t t; __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(t)); return t; }
#endif

#define LOG 65536
static _Atomic uint64_t log_time[LOG], log_generation[LOG], log_count;

static unsigned char *page;
static _Atomic int running;
static pthread_t bumper;
static long pause_ns;

static uint64_t generation(void) { return __atomic_load_n((uint64_t *)(page + 0x68), __ATOMIC_ACQUIRE); }

static void bump(void)
{
    uint32_t *seq = (uint32_t *)(page + 0x0c);
    uint64_t next = generation() + 1;
    __atomic_store_n(seq, *seq | 1, __ATOMIC_SEQ_CST);
    __atomic_store_n((uint64_t *)(page + 0x68), next, __ATOMIC_SEQ_CST);
    __atomic_store_n(seq, *seq + 1, __ATOMIC_SEQ_CST);
    uint64_t place = atomic_load(&log_count);
    atomic_store(&log_generation[place % LOG], next);
    atomic_store(&log_time[place % LOG], now());
    atomic_store(&log_count, place + 1);
}

static void *bumping(void *unused)
{
    (void)unused;
    while (atomic_load(&running)) {
        struct timespec pause = {0, pause_ns};
        bump();
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static __thread uint64_t drawn_generation, drawn_time;
static PyCFunction original;

/* The draw: begin, a gap in which others run and the generation may move, end. The GIL is held at both ends. */
static PyObject *instrumented(PyObject *self, PyObject *argument)
{
    uint64_t began = generation();
    PyObject *value = original(self, argument);
    Py_BEGIN_ALLOW_THREADS
    for (volatile int i = 0; i < 50; i++) {}
    Py_END_ALLOW_THREADS
    drawn_generation = began;
    drawn_time = now();
    return value;
}

/* Exchanges the C function of a method descriptor or a builtin of one or no argument. */
PyObject *race_exchange(PyObject *callable)
{
    PyMethodDef *def = PyCFunction_Check(callable) ? ((PyCFunctionObject *)callable)->m_ml
                                                   : ((PyMethodDescrObject *)callable)->d_method;
    if (def->ml_flags != METH_NOARGS && def->ml_flags != METH_O)
        return PyErr_Format(PyExc_TypeError, "unexpected calling convention %d", def->ml_flags);
    original = def->ml_meth;
    def->ml_meth = instrumented;
    Py_RETURN_NONE;
}

PyObject *race_start(PyObject *address, PyObject *pause)
{
    page = (unsigned char *)PyLong_AsVoidPtr(address);
    pause_ns = PyLong_AsLong(pause);
    atomic_store(&running, 1);
    if (pthread_create(&bumper, NULL, bumping, NULL) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyObject *race_stop(void)
{
    atomic_store(&running, 0);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(bumper, NULL);
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLongLong(atomic_load(&log_count));
}

/* The newest change that was complete at `time`; 0 if the log does not reach back. */
static uint64_t complete_at(uint64_t time)
{
    uint64_t count = atomic_load(&log_count);
    for (uint64_t i = count; i > 0 && i + LOG > count + 1; i--)
        if (atomic_load(&log_time[(i - 1) % LOG]) < time)
            return atomic_load(&log_generation[(i - 1) % LOG]);
    return 0;
}

/* Calls callable(*arguments) `count` times; returns how many values were stale. */
PyObject *race_hammer(PyObject *callable, PyObject *arguments, PyObject *count)
{
    long stale = 0, rounds = PyLong_AsLong(count);
    for (long i = 0; i < rounds; i++) {
        PyObject *value = PyObject_Call(callable, arguments, NULL);
        if (!value)
            return NULL;
        Py_DECREF(value);
        stale += drawn_generation < complete_at(drawn_time);
    }
    return PyLong_FromLong(stale);
}
