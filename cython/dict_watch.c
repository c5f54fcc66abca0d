#include "dict_watch.h"

#if SS_FOLLOWS_BY_WATCHER

/* The dicts that are followed, all of the main interpreter: a dict watcher belongs to one interpreter, which has eight. One
   number serves all of these dicts. So while a dict found no place here, the number is 0, for it would not tell of it. */
#define FOLLOWED 16

uint64_t ss_dict_watch_changes;

static struct {
    PyObject *dict; /* strong */
    int count;
} followed[FOLLOWED];
static int watcher = -1;
static int not_followed;
static uint64_t changes = 1; /* never 0 */

static void show(void)
{
    ss_dict_watch_changes = not_followed ? 0 : changes;
}

/* Called before the change, with the GIL and perhaps an exception set. Never fails. */
static int on_change(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value)
{
    if (key && PyUnicode_Check(key) && PyUnicode_GET_LENGTH(key) > 0 && PyUnicode_READ_CHAR(key, 0) == '_')
        return 0;
    changes++;
    show();
    return 0;
}

static int slot_of(PyObject *dict)
{
    for (int i = 0; i < FOLLOWED; i++)
        if (followed[i].dict == dict)
            return i;
    return -1;
}

static int begin(PyObject *dict)
{
    int slot = slot_of(NULL);
    if (slot < 0 || PyInterpreterState_Get() != PyInterpreterState_Main())
        return -1;
    if (watcher < 0)
        watcher = PyDict_AddWatcher(on_change);
    if (watcher < 0 || PyDict_Watch(watcher, dict) != 0) {
        PyErr_Clear();
        return -1;
    }
    followed[slot].dict = Py_NewRef(dict);
    return slot;
}

void ss_dict_watch_begin(PyObject *dict)
{
    int slot = slot_of(dict);
    if (slot < 0)
        slot = begin(dict);
    if (slot < 0)
        not_followed++;
    else
        followed[slot].count++;
    show();
}

void ss_dict_watch_end(PyObject *dict)
{
    int slot = slot_of(dict);
    if (slot < 0) {
        not_followed--;
    } else if (--followed[slot].count == 0) {
        if (PyDict_Unwatch(watcher, dict) != 0)
            PyErr_Clear();
        followed[slot].dict = NULL;
        Py_DECREF(dict);
    }
    for (slot = 0; slot < FOLLOWED && !followed[slot].dict; slot++)
        ;
    if (slot == FOLLOWED && watcher >= 0) { /* nobody is followed: give the watcher back */
        if (PyDict_ClearWatcher(watcher) != 0)
            PyErr_Clear();
        watcher = -1;
    }
    show();
}

void ss_dict_watch_forget(void)
{
    memset(followed, 0, sizeof followed);
    watcher = -1;
    not_followed = 0;
    changes++;
    show();
}

#else

void ss_dict_watch_begin(PyObject *dict) {}
void ss_dict_watch_end(PyObject *dict) {}
void ss_dict_watch_forget(void) {}

#endif
