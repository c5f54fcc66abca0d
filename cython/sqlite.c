#define _GNU_SOURCE 1
#include "sqlite.h"

#include "entropy.h"
#include "libraries.h"
#include "process.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

/* sqlite3.h, stable since 3.0: the beginning of struct sqlite3_vfs. No header of SQLite is included. */
typedef struct sqlite3_vfs sqlite3_vfs;
typedef int (*randomness_function)(sqlite3_vfs *, int size, char *out);
struct sqlite3_vfs {
    int iVersion, szOsFile, mxPathname;
    sqlite3_vfs *pNext;
    const char *zName;
    void *pAppData;
    void (*files[4])(void);      /* xOpen, xDelete, xAccess, xFullPathname */
    void (*libraries[4])(void);  /* xDlOpen, xDlError, xDlSym, xDlClose */
    randomness_function xRandomness;
};
typedef struct sqlite3_mutex sqlite3_mutex;
enum { SQLITE_OK = 0, SQLITE_MISUSE = 21, SQLITE_MUTEX_STATIC_PRNG = 5 };

/* One library. All but the atomics is written with the table lock. */
typedef struct {
    int state;                  /* atomic, enum ss_sqlite_state */
    uint64_t tag;               /* atomic; the epoch it was reset for */
    uint64_t resets, delays;    /* atomic */
    void *handle;               /* from SEEN on: the library must not go away under us */
    sqlite3_vfs *vfs;           /* atomic; the one whose xRandomness was exchanged */
    randomness_function stock;  /* atomic; never cleared */

    void (*randomness)(int, void *);
    sqlite3_vfs *(*find_vfs)(const char *);
    int (*config)(int, ...);
    const char *(*version)(void);
    /* Not in builds without threads. */
    sqlite3_mutex *(*mutex)(int);
    int (*try_mutex)(sqlite3_mutex *);
    void (*leave_mutex)(sqlite3_mutex *);

    char path[PATH_MAX];
} library;

#define NEVER UINT64_MAX

uint64_t ss_sqlite_epoch = NEVER;
uint64_t ss_sqlite_seeds;

/* The last one stands for every library that found no place. */
static library libraries[SS_SQLITE_MAX + 1];

/* VFSs of copies whose functions are not found, which somebody gave us the address of. Written with the lock below; an entry is
   never cleared. */
static struct {
    sqlite3_vfs *vfs;
    randomness_function stock;
} given[SS_SQLITE_MAX];
static uint64_t given_lock; /* of ss_process_lock() */

/* Of ss_process_trylock(): one thread at a time changes the table, and nobody waits long. */
static uint64_t table_lock;

/* The room writes them, and SQLite reads them, in any thread. */
static randomness_function seeded_by(const sqlite3_vfs *vfs) { return __atomic_load_n(&vfs->xRandomness, __ATOMIC_ACQUIRE); }

/* Replaces the VFS's xRandomness; returns how many bytes it wrote. SQLite calls it with its generator's mutex held. So it does
   not look at the epoch: a restore that it noticed would reset the generator, and wait for that mutex for ever. */
static int fenced_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    __atomic_add_fetch(&ss_sqlite_seeds, 1, __ATOMIC_RELAXED);
    if (size > 0 && ss_entropy_fill(out, (size_t)size) == 0)
        return size;
    for (int i = 0; i < SS_SQLITE_MAX; i++) {
        randomness_function stock = __atomic_load_n(&libraries[i].stock, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&libraries[i].vfs, __ATOMIC_RELAXED) == vfs && stock)
            return stock(vfs, size, out);
    }
    for (int i = 0; i < SS_SQLITE_MAX; i++)
        if (__atomic_load_n(&given[i].vfs, __ATOMIC_ACQUIRE) == vfs)
            return given[i].stock(vfs, size, out);
    return 0;
}

bool ss_sqlite_fence_given(uint64_t address, uint64_t *ret_at, uint64_t *ret_held)
{
    sqlite3_vfs *vfs = (sqlite3_vfs *)(uintptr_t)address;
    if (!vfs->zName || strncmp(vfs->zName, "unix", 4) != 0 || !seeded_by(vfs))
        return false;
    ss_process_lock(&given_lock); /* else a second thread takes ours for the stock one */
    for (int i = 0; i < SS_SQLITE_MAX && seeded_by(vfs) != fenced_randomness; i++)
        if (!given[i].vfs || given[i].vfs == vfs) {
            given[i].stock = seeded_by(vfs);
            __atomic_store_n(&given[i].vfs, vfs, __ATOMIC_RELEASE);
            __atomic_store_n(&vfs->xRandomness, fenced_randomness, __ATOMIC_RELEASE);
        }
    ss_process_unlock(&given_lock);
    *ret_at = (uintptr_t)&vfs->xRandomness;
    *ret_held = (uintptr_t)fenced_randomness;
    return seeded_by(vfs) == fenced_randomness;
}

/* With the table lock. Exchanges xRandomness of the library's own VFS: the default one, or the one below a program's shim. A
   program's own is left alone. True if it is done, or was before. */
static bool fence(library *lib)
{
    sqlite3_vfs *vfs = lib->find_vfs(NULL);
    if (vfs && strncmp(vfs->zName, "unix", 4) != 0)
        vfs = lib->find_vfs("unix");
    if (!vfs || !seeded_by(vfs))
        return false;
    if (seeded_by(vfs) != fenced_randomness) {
        __atomic_store_n(&lib->vfs, vfs, __ATOMIC_RELAXED);
        __atomic_store_n(&lib->stock, seeded_by(vfs), __ATOMIC_RELEASE);
        __atomic_store_n(&vfs->xRandomness, fenced_randomness, __ATOMIC_RELEASE);
    }
    return true;
}

/* Is the library in use? Then sqlite3_config() answers SQLITE_MISUSE, else another error, for there is no option -1. Functions
   that would answer more directly would initialise the library. */
static bool in_use(const library *lib) { return lib->config(-1) == SQLITE_MISUSE; }

/* Has another thread, or this one further up, had the generator's mutex at each of so many tries, with a yield in between? */
static bool is_busy(const library *lib, int tries)
{
    sqlite3_mutex *mutex = lib->mutex && lib->try_mutex && lib->leave_mutex ? lib->mutex(SQLITE_MUTEX_STATIC_PRNG) : NULL;
    for (int i = 0; mutex && i < tries; i++) {
        if (lib->try_mutex(mutex) == SQLITE_OK) {
            lib->leave_mutex(mutex);
            return false;
        }
        (void)sched_yield();
    }
    return mutex != NULL;
}

/* Resets the generator. False if that has to be done later. It waits for the generator's mutex, which is short while the seed
   comes from fenced_randomness(). But the program's own default VFS may be written in Python, and SQLite calls it with the
   mutex held. It may wait for the GIL, so only a caller that has released the GIL (`patient`) may wait here; or it may be
   further up on this very thread, so a mutex that is not free soon is not waited for. */
static bool reset(library *lib, bool patient)
{
    sqlite3_vfs *vfs = lib->find_vfs(NULL);
    if (vfs && seeded_by(vfs) != fenced_randomness && (!patient || is_busy(lib, 1000))) {
        __atomic_add_fetch(&lib->delays, 1, __ATOMIC_RELAXED);
        return false;
    }
    lib->randomness(0, NULL);
    __atomic_add_fetch(&lib->resets, 1, __ATOMIC_RELAXED);
    return true;
}

/* A generator's mutex that is not free now belongs to a thread that is only in the parent: it is never released here. A reset
   would wait for ever, and so would a draw of any subsystem that notices a restore. */
static void after_fork_in_child(void)
{
    for (int i = 0; i < SS_SQLITE_MAX; i++)
        if (libraries[i].state == SS_SQLITE_READY && is_busy(&libraries[i], 1))
            __atomic_store_n(&libraries[i].state, SS_SQLITE_HELD, __ATOMIC_RELEASE);
}

/* One that was only seen, and that somebody has begun to use since, is to be reset from now on. Returns its state. */
static int begin(library *lib)
{
    if (in_use(lib) && ss_process_trylock(&table_lock)) {
        if (lib->state == SS_SQLITE_SEEN) {
            (void)fence(lib);
            __atomic_store_n(&lib->state, SS_SQLITE_READY, __ATOMIC_RELEASE);
            __atomic_store_n(&ss_sqlite_epoch, NEVER, __ATOMIC_RELEASE);
        }
        ss_process_unlock(&table_lock);
    }
    return __atomic_load_n(&lib->state, __ATOMIC_ACQUIRE);
}

void ss_sqlite_look(void)
{
    for (int i = 0; i < SS_SQLITE_MAX; i++)
        if (__atomic_load_n(&libraries[i].state, __ATOMIC_ACQUIRE) == SS_SQLITE_SEEN)
            (void)begin(&libraries[i]);
}

static void settle(uint64_t epoch, bool patient)
{
    bool all = true;
    for (int i = 0; i < SS_SQLITE_MAX; i++) {
        library *lib = &libraries[i];
        int state = __atomic_load_n(&lib->state, __ATOMIC_ACQUIRE);
        if (state == SS_SQLITE_SEEN)
            state = begin(lib);
        if (state != SS_SQLITE_READY || __atomic_load_n(&lib->tag, __ATOMIC_ACQUIRE) == epoch)
            continue;
        if (reset(lib, patient))
            __atomic_store_n(&lib->tag, epoch, __ATOMIC_RELEASE);
        else
            all = false;
    }
    if (all)
        __atomic_store_n(&ss_sqlite_epoch, epoch, __ATOMIC_RELEASE);
}

void ss_sqlite_settle(uint64_t epoch) { settle(epoch, true); }

void ss_sqlite_forget(void)
{
    for (int i = 0; i < SS_SQLITE_MAX; i++)
        __atomic_store_n(&libraries[i].tag, NEVER, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_sqlite_epoch, NEVER, __ATOMIC_RELEASE);
}

static void heard(uint64_t epoch) { settle(epoch, false); }

/* With the table lock. */
static void follow_epoch(void)
{
    static bool done;
    if (!done)
        (void)pthread_atfork(NULL, NULL, after_fork_in_child);
    done = true;
    ss_epoch_observe(SS_OBSERVER_RENEWS, heard);
}

static bool resolve(library *lib, void *handle)
{
    const struct {
        const char *name;
        size_t offset;
    } symbols[] = {
        {"sqlite3_randomness", offsetof(library, randomness)}, {"sqlite3_vfs_find", offsetof(library, find_vfs)},
        {"sqlite3_config", offsetof(library, config)},         {"sqlite3_libversion", offsetof(library, version)},
        {"sqlite3_mutex_alloc", offsetof(library, mutex)},     {"sqlite3_mutex_try", offsetof(library, try_mutex)},
        {"sqlite3_mutex_leave", offsetof(library, leave_mutex)},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        *(void **)((char *)lib + symbols[i].offset) = dlsym(handle, symbols[i].name);
    return lib->randomness && lib->find_vfs && lib->config && lib->version;
}

/* With the table lock. The slot of this path, or a free one; NULL if there is none. */
static library *slot_of(const char *path)
{
    for (int i = 0; i < SS_SQLITE_MAX; i++)
        if (libraries[i].state == SS_SQLITE_NONE || strcmp(libraries[i].path, path) == 0)
            return &libraries[i];
    return NULL;
}

/* With the table lock. A path is written once: who inspects the library reads it without the lock. */
static void name(library *lib, const char *path)
{
    if (lib->state == SS_SQLITE_NONE)
        strcpy(lib->path, path);
}

/* With the table lock. `handle` is given away. `used`: somebody initialised it. Returns whether it is or will be reset. */
static bool take(const char *path, void *handle, bool used)
{
    library *lib = slot_of(path);
    if (!lib) {
        lib = &libraries[SS_SQLITE_MAX];
        name(lib, path);
        __atomic_store_n(&lib->state, SS_SQLITE_FULL, __ATOMIC_RELEASE);
    } else if (!lib->handle) {
        name(lib, path);
        if (resolve(lib, handle)) {
            lib->handle = handle;
            __atomic_store_n(&lib->vfs, NULL, __ATOMIC_RELAXED);
            handle = NULL;
            /* The first statement resets it: its generator may be older than a restore. */
            __atomic_store_n(&lib->tag, NEVER, __ATOMIC_RELEASE);
            __atomic_store_n(&lib->state, SS_SQLITE_SEEN, __ATOMIC_RELEASE);
            follow_epoch();
        } else {
            __atomic_store_n(&lib->state, SS_SQLITE_SYMBOLS, __ATOMIC_RELEASE);
        }
    }
    if (used && lib->state == SS_SQLITE_SEEN) {
        (void)fence(lib);
        __atomic_store_n(&lib->state, SS_SQLITE_READY, __ATOMIC_RELEASE);
        __atomic_store_n(&ss_sqlite_epoch, NEVER, __ATOMIC_RELEASE);
    }
    if (handle)
        (void)dlclose(handle);
    return lib->handle != NULL;
}

static void visit(const char *path, void *handle) { (void)take(path, handle, false); }

/* With the table lock. */
static ss_libraries_mark looked_at;

bool ss_sqlite_scan(void)
{
    if (!ss_process_trylock(&table_lock))
        return false;
    ss_libraries_visit("sqlite3_randomness", &looked_at, visit);
    ss_process_unlock(&table_lock);
    return true;
}

bool ss_sqlite_consider(const char *path)
{
    char library_path[PATH_MAX];
    bool done = false;
    void *handle = ss_libraries_open(path, "sqlite3_randomness", library_path);
    if (handle && ss_process_trylock(&table_lock)) {
        done = take(library_path, handle, true);
        ss_process_unlock(&table_lock);
    } else if (handle) {
        (void)dlclose(handle);
    }
    return done;
}

void ss_sqlite_release(void)
{
    if (!ss_process_trylock(&table_lock))
        return;
    for (int i = 0; i <= SS_SQLITE_MAX; i++) {
        library *lib = &libraries[i];
        if (lib->handle && lib->vfs && seeded_by(lib->vfs) == fenced_randomness)
            __atomic_store_n(&lib->vfs->xRandomness, lib->stock, __ATOMIC_RELEASE);
        if (lib->state != SS_SQLITE_NONE)
            __atomic_store_n(&lib->state, SS_SQLITE_RELEASED, __ATOMIC_RELEASE);
        if (lib->handle)
            (void)dlclose(lib->handle);
        lib->handle = NULL;
    }
    ss_process_lock(&given_lock);
    for (int i = 0; i < SS_SQLITE_MAX && given[i].vfs; i++)
        if (seeded_by(given[i].vfs) == fenced_randomness)
            __atomic_store_n(&given[i].vfs->xRandomness, given[i].stock, __ATOMIC_RELEASE);
    ss_process_unlock(&given_lock);
    looked_at = (ss_libraries_mark){0};
    ss_process_unlock(&table_lock);
}

ss_library_table ss_sqlite_table(void)
{
    return (ss_library_table){
        .address = (uintptr_t)libraries,
        .entry = sizeof(library),
        .count = SS_SQLITE_MAX + 1,
        .state = offsetof(library, state),
        .failing = UINT32_MAX,
        .path = offsetof(library, path),
        .seam = UINT32_MAX,
    };
}

bool ss_sqlite_inspect(int index, ss_sqlite_info *ret_info)
{
    if (index < 0 || index > SS_SQLITE_MAX)
        return false;
    library *lib = &libraries[index];
    int state = __atomic_load_n(&lib->state, __ATOMIC_ACQUIRE);
    if (state == SS_SQLITE_NONE || state == SS_SQLITE_RELEASED)
        return false;
    if (state == SS_SQLITE_SEEN)
        state = begin(lib);
    strcpy(ret_info->path, lib->path);
    ret_info->version = lib->version ? lib->version() : "";
    ret_info->state = state;
    sqlite3_vfs *vfs = state == SS_SQLITE_READY ? lib->find_vfs(NULL) : NULL;
    ret_info->fenced = vfs && seeded_by(vfs) == fenced_randomness;
    ret_info->resets = __atomic_load_n(&lib->resets, __ATOMIC_RELAXED);
    ret_info->delays = __atomic_load_n(&lib->delays, __ATOMIC_RELAXED);
    return true;
}
