#include "numpy_seeds.h"

#include "provenance.h"

int (*ss_numpy_is_systems)(PyObject *seed, uint64_t *ret_epoch);

#define MANY 64 /* numbers of a seed that are looked at */

bool ss_numpy_seeds_in(PyObject *seeds, uint64_t *ret_epoch)
{
    PyObject *own = PySequence_Tuple(seeds); /* another thread may change a list */
    unsigned char words[4 * MANY], bytes[MANY];
    const Py_ssize_t size = own ? PyTuple_GET_SIZE(own) : 0;
    size_t as_words = 0, as_bytes = 0;
    bool found = false;
    for (Py_ssize_t i = 0; i < size && i < MANY && !found; i++) {
        PyObject *item = PyTuple_GET_ITEM(own, i);
        /* Python's and numpy's; no code of the program's runs. */
        const bool is_number = PyIndex_Check(item) && !(PyType_GetFlags(Py_TYPE(item)) & Py_TPFLAGS_HEAPTYPE);
        PyObject *number = is_number ? PyNumber_Index(item) : NULL;
        int overflow = 0;
        const long long value = number ? PyLong_AsLongLongAndOverflow(number, &overflow) : -1;
        /* Those below 2^24 do not count: many a worker's number equals a short draw. */
        found = number && (overflow > 0 || value >> 24 > 0) && ss_numpy_is_systems(number, ret_epoch);
        for (unsigned j = 0; j < 4 && !overflow && value >= 0 && value <= UINT32_MAX; j++)
            words[as_words++] = (unsigned char)(value >> 8 * j);
        if (!overflow && value >= 0 && value <= UINT8_MAX)
            bytes[as_bytes++] = (unsigned char)value;
        PyErr_Clear();
        Py_XDECREF(number);
    }
    Py_XDECREF(own);
    return found || (as_words > 8 && as_words == 4 * (size_t)size && ss_provenance_of_bytes(words, as_words, ret_epoch)) ||
           (as_bytes > 8 && as_bytes == (size_t)size && ss_provenance_of_bytes(bytes, as_bytes, ret_epoch));
}

bool ss_numpy_seeds_in_array(const Py_buffer *view, uint64_t *ret_epoch)
{
    bool found = false;
    const Py_ssize_t each = view->itemsize, size = each == 4 || each == 8 ? view->len / each : 0;
    for (Py_ssize_t i = 0; i < size && i < MANY && !found; i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)view->buf + i * each, (size_t)each); /* little-endian, as all that we run on */
        found = value >> 24 && ss_provenance_of_number(value, ret_epoch);
    }
    return found;
}
