#include "words.h"

#include <inttypes.h>
#include <stdio.h>

PyObject *ss_words_displaced(ss_word_at word_at)
{
    uint64_t at, held;
    const char *name;
    for (int i = 0; word_at(i, &at, &held, &name); i++)
        if (at && __atomic_load_n((uint64_t *)(uintptr_t)at, __ATOMIC_ACQUIRE) != held)
            return PyUnicode_FromString(name);
    return PyUnicode_FromString("");
}

PyObject *ss_words_text(ss_word_at word_at)
{
    PyObject *found = PyList_New(0), *text = NULL, *separator = PyUnicode_FromString(" "), *joined = NULL;
    uint64_t at, held;
    const char *name;
    for (int i = 0; found && word_at(i, &at, &held, &name); i++) {
        char word[128];
        if (!at)
            continue;
        const char *last = strrchr(name, '.');
        (void)snprintf(word, sizeof word, "%" PRIx64 "=%" PRIx64 ":%.64s", at, held, last ? last + 1 : name);
        if (!(text = PyUnicode_FromString(word)) || PyList_Append(found, text) != 0)
            Py_CLEAR(found);
        Py_XDECREF(text);
    }
    if (found && separator)
        joined = PyUnicode_Join(separator, found);
    Py_XDECREF(found);
    Py_XDECREF(separator);
    return joined;
}

PyObject *ss_words_judged(const uint64_t *global_kept, const uint64_t *foreign, const uint64_t *problems)
{
    char text[200];
    (void)snprintf(text, sizeof text, "%" PRIxPTR "=%" PRIx64 " %" PRIxPTR "=%" PRIx64 " %" PRIxPTR "=%" PRIx64,
                   (uintptr_t)global_kept, __atomic_load_n(global_kept, __ATOMIC_ACQUIRE), (uintptr_t)foreign,
                   __atomic_load_n(foreign, __ATOMIC_ACQUIRE), (uintptr_t)problems, __atomic_load_n(problems, __ATOMIC_ACQUIRE));
    return PyUnicode_FromString(text);
}
