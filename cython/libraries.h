/* Which shared objects are loaded, for the rooms that guard libraries (openssl, sqlite). */
#ifndef SNAPSAFE_LIBRARIES_H
#define SNAPSAFE_LIBRARIES_H

#include <stdbool.h>

/* True where shared objects were loaded since the last call, and at the first one. Takes the loader's lock. */
bool ss_libraries_changed(void);

/* Calls visit(path, data) for every loaded shared object whose file name begins with `prefix` ("libcrypto"). */
void ss_libraries_visit(const char *prefix, void (*visit)(const char *path, void *data), void *data);

#endif
