/* Which shared objects are loaded, for the rooms that guard libraries (openssl, sqlite). */
#ifndef SNAPSAFE_LIBRARIES_H
#define SNAPSAFE_LIBRARIES_H

#include <stdbool.h>
#include <stdint.h>

/* True where shared objects were loaded since the last call, and at the first one. Takes the loader's lock. */
bool ss_libraries_changed(void);

/* Calls visit(path, handle) for every loaded shared object whose file name begins with `prefix` ("libcrypto"). `handle` is
   dlopen(3)'s, given away. */
void ss_libraries_visit(const char *prefix, void (*visit)(const char *path, void *handle));

/* Where a room keeps what it knows of each library, for the status page. `state`, `failing`, `path`: offsets in an entry. */
typedef struct {
    uint64_t address;
    uint32_t entry, count;       /* bytes of an entry; how many there are */
    uint32_t state, failing;     /* ints; UINT32_MAX where the room has no such thing */
    uint32_t path;               /* char[PATH_MAX] */
    uint32_t seam;               /* uint64_t[2]: a word in the library, or 0, and what it holds while the guard is in place;
                                    UINT32_MAX where the room has no such thing */
} ss_library_table;

/* The address of the one word, in what the library of `symbol` may write to, that holds `value`; 0 where there is none, or
   more than one. Any thread, without the loader's lock. */
uint64_t ss_libraries_find_word(const void *symbol, uint64_t value);

/* Writes to `out`, of PATH_MAX bytes, the path of the library whose `symbol` a loaded shared object calls: its own, or one that
   it is linked with. `object` is its path; NULL: the program itself. Returns a handle of `object` (dlopen(3)) by which the
   library's symbols are found; NULL where neither has the symbol. Any thread, without the loader's lock. */
void *ss_libraries_open(const char *object, const char *symbol, char *out);

/* The same for the path alone. */
bool ss_libraries_provider(const char *object, const char *symbol, char *out);

#endif
