/* Which shared objects are loaded, for the rooms that guard libraries (openssl, sqlite). */
#ifndef SNAPSAFE_LIBRARIES_H
#define SNAPSAFE_LIBRARIES_H

#include <stdbool.h>
#include <stdint.h>

/* True where shared objects were loaded since the last call, and at the first one. Takes the loader's lock. */
bool ss_libraries_changed(void);

/* Calls visit(path, data) for every loaded shared object whose file name begins with `prefix` ("libcrypto"). */
void ss_libraries_visit(const char *prefix, void (*visit)(const char *path, void *data), void *data);

/* Where a room keeps what it knows of each library: for reading it from outside (record.h). Offsets into an entry. */
typedef struct {
    uint64_t address;
    uint32_t entry, count;       /* bytes of an entry, entries */
    uint32_t state, failing;     /* ints; UINT32_MAX where the room has no such thing */
    uint32_t path, reserved;     /* char[PATH_MAX] */
} ss_library_table;

/* Path of the library whose `symbol` the shared object at `object`, which is loaded, would call: its own, or one it is linked
   with. False where neither has it. `out` has PATH_MAX bytes. Without the loader's lock held; any thread. */
bool ss_libraries_provider(const char *object, const char *symbol, char *out);

#endif
