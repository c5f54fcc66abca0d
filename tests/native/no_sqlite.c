/* For LD_PRELOAD: no function of SQLite can be looked up, as where it is linked into _sqlite3 and hidden. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

void *dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.17", "GLIBC_2.2.5"};
    for (int i = 0; !real && i < 3; i++)
        *(void **)&real = dlvsym(RTLD_NEXT, "dlsym", versions[i]);
    return strncmp(name, "sqlite3_", 8) == 0 ? NULL : real(handle, name);
}
