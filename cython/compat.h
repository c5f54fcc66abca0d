/* Everything that depends on CPython's version or build, and nothing else. Both branches of a difference are always
   written; the call sites show no version number. */
#ifndef SNAPSAFE_COMPAT_H
#define SNAPSAFE_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

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

/* Both: new reference, or NULL with an exception set. */
#if PY_VERSION_HEX >= 0x030d0000
static inline PyObject *ss_long_from_little(const unsigned char *bytes, size_t size)
{
    return PyLong_FromUnsignedNativeBytes(bytes, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
}
static inline PyObject *ss_long_from_big(const unsigned char *bytes, size_t size)
{
    return PyLong_FromUnsignedNativeBytes(bytes, size, Py_ASNATIVEBYTES_BIG_ENDIAN);
}
#else
static inline PyObject *ss_long_from_little(const unsigned char *bytes, size_t size)
{
    return _PyLong_FromByteArray(bytes, size, 1, 0);
}
static inline PyObject *ss_long_from_big(const unsigned char *bytes, size_t size)
{
    return _PyLong_FromByteArray(bytes, size, 0, 0);
}
#endif

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

#endif
