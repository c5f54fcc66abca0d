#define _GNU_SOURCE 1
#include "openssl.h"

#include "entropy.h"
#include "epoch.h"
#include "libraries.h"
#include "process.h"
#include "provenance.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

/* openssl/rand.h and openssl/evp.h, the same in 1.1.0 to 3.6. No header of OpenSSL is included: one build serves all. */
typedef struct {
    int (*seed)(const void *bytes, int size);
    int (*bytes)(unsigned char *out, int size);
    void (*cleanup)(void);
    int (*add)(const void *bytes, int size, double entropy);
    int (*pseudorand)(unsigned char *out, int size);
    int (*status)(void);
} rand_method;
typedef struct evp_rand_ctx_st EVP_RAND_CTX;
typedef struct ossl_lib_ctx_st OSSL_LIB_CTX;
typedef struct engine_st ENGINE;

/* One library. Everything but the atomics is written before `state` is published, and never while the library is hooked:
   a thread may be inside the hook, also for a while after it was taken out. */
typedef struct {
    int state;                          /* atomic, enum ss_openssl_state */
    int engine_asked;                   /* atomic; the first draw looked for an ENGINE */
    uint64_t tag;                       /* atomic; the epoch whose entropy the primary DRBG has */
    uint64_t calls, reseeds, failures;  /* atomic */
    int failing;                        /* atomic; the last reseed failed */
    void *handle;                       /* while hooked: the library must not go away under the hook */
    unsigned long version;              /* atomic */
    rand_method method;                 /* ours */
    uint64_t seam[2];                   /* where the library keeps which method is in, and `method`'s address */
    const rand_method *stock;

    const rand_method *(*stock_method)(void);
    const rand_method *(*get_method)(void);
    int (*set_method)(const rand_method *);
    int (*rand_bytes)(unsigned char *, int);
    int (*set_mark)(void);
    int (*pop_to_mark)(void);
    /* From 1.1.0 on. */
    unsigned long (*version_number)(void);
    /* In builds with engines. */
    ENGINE *(*default_engine)(void);
    const rand_method *(*engine_method)(const ENGINE *);
    int (*finish_engine)(ENGINE *);
    /* From 3.0 on; all or none. */
    OSSL_LIB_CTX *(*global_context)(void);
    OSSL_LIB_CTX *context; /* atomic; the global one, which stays as long as the library does; since the first draw */
    EVP_RAND_CTX *(*primary)(OSSL_LIB_CTX *);
    EVP_RAND_CTX *(*public)(OSSL_LIB_CTX *);
    int (*reseed)(EVP_RAND_CTX *, int, const unsigned char *, size_t, const unsigned char *, size_t);
    int (*generate)(EVP_RAND_CTX *, unsigned char *, size_t, unsigned, int, const unsigned char *, size_t);
    int (*provider_available)(OSSL_LIB_CTX *, const char *);

    char path[PATH_MAX];
} library;

#define NEVER UINT64_MAX

/* The last one stands for every library that found no place. */
static library libraries[SS_OPENSSL_MAX + 1];

static inline int state_of(const library *lib) { return __atomic_load_n(&lib->state, __ATOMIC_ACQUIRE); }

/* ---- the hook ---- */

/* Only draws of no bytes touch it: the first use of a thread-local of a loaded module may allocate. */
static __thread struct {
    bool asked, seen;
} probe;

void ss_openssl_probe_begin(void)
{
    probe.seen = false;
    probe.asked = true;
}

bool ss_openssl_probe_end(void)
{
    probe.asked = false;
    return probe.seen;
}

/* Reseeds the DRBG that all others are children of: those of every thread, public and private, compare its counter at their
   next draw and reseed from it. False if it could not be.
   From 3.0 on fenced entropy goes in as additional input: on top of what OpenSSL gathers itself, and the only door that the
   FIPS provider leaves open. In 1.1.1 additional input would not move the counter, so `add` is given entropy, of the length
   that makes it reseed (rand_drbg_seedlen). */
static bool reseed_primary(library *lib)
{
    unsigned char fresh[48]; /* the seed length of CTR_DRBG with AES-256 */
    bool done = false;
    if (ss_entropy_fill(fresh, sizeof fresh) != 0)
        return false;
    /* If this fails the draw may still succeed, and an error left in the queue would make SSL_get_error() report a failure. */
    (void)lib->set_mark();
    if (lib->reseed) {
        EVP_RAND_CTX *primary = lib->primary(lib->context);
        done = primary && lib->reseed(primary, 0, NULL, 0, fresh, sizeof fresh) == 1;
    } else {
        done = lib->stock->add(fresh, sizeof fresh, sizeof fresh) == 1;
    }
    (void)lib->pop_to_mark();
    explicit_bzero(fresh, sizeof fresh);
    return done;
}

/* Draws from the public DRBG of the global context, by name: the calling thread may have another default context, whose
   primary is not the one that was reseeded. */
static inline int draw_stock(library *lib, unsigned char *out, int size)
{
    if (!lib->generate || size < 0)
        return lib->stock->bytes(out, size);
    EVP_RAND_CTX *public = lib->public(__atomic_load_n(&lib->context, __ATOMIC_RELAXED));
    return public ? lib->generate(public, out, (size_t)size, 0, 0, NULL, 0) : 0;
}

/* Makes way for a default ENGINE: true if there is one and it draws from now on. OpenSSL looks for one when it chooses a method
   at its first draw; with ours installed it chooses none. So our first draw looks in its place, by when the configuration
   file that may name one was read. */
static bool step_aside(library *lib)
{
    bool found = false;
    if (__atomic_load_n(&lib->engine_asked, __ATOMIC_ACQUIRE) || !lib->default_engine)
        return false;
    ENGINE *engine = lib->default_engine();
    if (engine) {
        found = lib->engine_method(engine) && lib->get_method() == &lib->method;
        if (found) {
            __atomic_store_n(&lib->state, SS_OPENSSL_DISPLACED, __ATOMIC_RELEASE);
            (void)lib->set_method(NULL); /* chooses anew at the next draw */
        }
        (void)lib->finish_engine(engine);
    }
    __atomic_store_n(&lib->engine_asked, 1, __ATOMIC_RELEASE);
    return found;
}

/* Draws where the primary DRBG may have to be reseeded first, or while the generation moves. */
static __attribute__((noinline)) int draw_checked(library *lib, unsigned char *out, int size)
{
    for (int tries = 1;; tries++) {
        uint64_t epoch = ss_epoch_begin();
        if (SS_UNLIKELY(__atomic_load_n(&lib->tag, __ATOMIC_ACQUIRE) != epoch)) {
            if (step_aside(lib)) /* asked at the first draw, which is one of these */
                return lib->rand_bytes(out, size);
            if (lib->global_context)
                __atomic_store_n(&lib->context, lib->global_context(), __ATOMIC_RELAXED);
            /* Several threads may come here at once: one more reseed does no harm. On failure the tag stays stale. */
            if (reseed_primary(lib)) {
                __atomic_store_n(&lib->tag, epoch, __ATOMIC_RELEASE);
                __atomic_add_fetch(&lib->reseeds, 1, __ATOMIC_RELAXED);
                __atomic_store_n(&lib->failing, 0, __ATOMIC_RELAXED);
            } else {
                __atomic_store_n(&lib->failing, 1, __ATOMIC_RELAXED);
                __atomic_add_fetch(&lib->failures, 1, __ATOMIC_RELAXED);
            }
        }
        const int outcome = draw_stock(lib, out, size);
        if (outcome != 1)
            return outcome;
        if (ss_epoch_unchanged(epoch) || tries == SS_DRAW_TRIES) {
            if (size > 0)
                ss_provenance_note_draw(out, (size_t)size, epoch);
            return outcome;
        }
    }
}

/* Every draw of a hooked library. Any thread, with or without the GIL, with whatever locks the caller of OpenSSL holds. Takes
   no lock but the leaf locks of ss_epoch_begin() and ss_entropy_fill(), and none of them while OpenSSL runs. Returns as
   RAND_bytes(3): 1, or 0 or -1 with OpenSSL's error queued.

   RAND_priv_bytes() ends here as well, as with every RAND_METHOD and ENGINE: while ours is in, secrets and nonces are drawn
   from one DRBG a thread, the public one. The second exists in case a weakness let an observer of nonces compute the
   state; CTR_DRBG has none known, and a state that is the same in every clone is one. What draws from an EVP_RAND_CTX
   directly does not pass here; it follows once somebody else's draw has reseeded the primary. */
static int draw(library *lib, unsigned char *out, int size)
{
    if (SS_UNLIKELY(size <= 0)) {
        if (!probe.asked)
            return draw_checked(lib, out, size);
        probe.seen = true;
        return 1;
    }
    __atomic_add_fetch(&lib->calls, 1, __ATOMIC_RELAXED);
    const uint64_t epoch = ss_epoch_begin();
    if (SS_UNLIKELY(__atomic_load_n(&lib->tag, __ATOMIC_ACQUIRE) != epoch))
        return draw_checked(lib, out, size);
    const int outcome = draw_stock(lib, out, size);
    if (SS_UNLIKELY(outcome != 1))
        return outcome;
    if (SS_UNLIKELY(!ss_epoch_unchanged(epoch)))
        return draw_checked(lib, out, size);
    ss_provenance_note_draw(out, (unsigned)size, epoch);
    return 1;
}

#define TRAMPOLINES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define DEFINE(i) static int bytes_##i(unsigned char *out, int size) { return draw(&libraries[i], out, size); }
#define NAME(i) bytes_##i,
TRAMPOLINES(DEFINE)
static int (*const trampolines[])(unsigned char *, int) = {TRAMPOLINES(NAME)};
_Static_assert(sizeof trampolines / sizeof *trampolines == SS_OPENSSL_MAX, "a trampoline for each slot");

/* ---- installing ---- */

/* Of ss_process_trylock(): one thread at a time changes the table, and no hook waits for it. */
static uint64_t table_lock;

/* Resolves what is used of a library. False where the indispensable is missing. */
static bool resolve(library *lib, void *handle)
{
    const struct {
        const char *name;
        size_t offset;
    } symbols[] = {
#define SYMBOL(name, field) {name, offsetof(library, field)}
        SYMBOL("RAND_OpenSSL", stock_method),
        SYMBOL("RAND_get_rand_method", get_method),
        SYMBOL("RAND_set_rand_method", set_method),
        SYMBOL("RAND_bytes", rand_bytes),
        SYMBOL("ERR_set_mark", set_mark),
        SYMBOL("ERR_pop_to_mark", pop_to_mark),
        SYMBOL("OpenSSL_version_num", version_number),
        SYMBOL("ENGINE_get_default_RAND", default_engine),
        SYMBOL("ENGINE_get_RAND", engine_method),
        SYMBOL("ENGINE_finish", finish_engine),
        SYMBOL("OSSL_LIB_CTX_get0_global_default", global_context),
        SYMBOL("RAND_get0_primary", primary),
        SYMBOL("RAND_get0_public", public),
        SYMBOL("EVP_RAND_reseed", reseed),
        SYMBOL("EVP_RAND_generate", generate),
        SYMBOL("OSSL_PROVIDER_available", provider_available),
#undef SYMBOL
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        *(void **)((char *)lib + symbols[i].offset) = dlsym(handle, symbols[i].name);
    __atomic_store_n(&lib->version, lib->version_number ? lib->version_number() : 0, __ATOMIC_RELAXED);
    if (!lib->engine_method || !lib->finish_engine)
        lib->default_engine = NULL;
    bool old = !lib->global_context && !lib->reseed;
    bool new = lib->global_context && lib->primary && lib->public && lib->reseed && lib->generate && lib->provider_available;
    return lib->stock_method && lib->get_method && lib->set_method && lib->rand_bytes && lib->set_mark &&
           lib->pop_to_mark && (old || new);
}

static bool reaches_hook(const library *lib)
{
    unsigned char none;
    ss_openssl_probe_begin();
    (void)lib->rand_bytes(&none, 0);
    return ss_openssl_probe_end();
}

/* With the table lock. Installs the hook of a slot whose library is open at `handle`; returns its new state. */
static enum ss_openssl_state hook(library *lib, void *handle, int (*trampoline)(unsigned char *, int))
{
    if (!resolve(lib, handle))
        return SS_OPENSSL_SYMBOLS;
    lib->stock = lib->stock_method();
    const rand_method *before = lib->get_method();
    if (!lib->stock || !lib->stock->bytes || !lib->stock->add || before != lib->stock)
        return before != lib->stock ? SS_OPENSSL_DISPLACED : SS_OPENSSL_SYMBOLS;
    lib->method = *lib->stock;
    lib->method.bytes = lib->method.pseudorand = trampoline;
    /* The first draw reseeds: the DRBGs may be older than activation, or seeded by a kernel that had not noticed a restore. */
    __atomic_store_n(&lib->tag, NEVER, __ATOMIC_RELEASE);
    __atomic_store_n(&lib->engine_asked, 0, __ATOMIC_RELEASE);
    if (lib->set_method(&lib->method) == 1 && reaches_hook(lib)) {
        lib->seam[1] = (uintptr_t)&lib->method;
        lib->seam[0] = ss_libraries_find_word((void *)lib->set_method, lib->seam[1]);
        return SS_OPENSSL_GUARDED;
    }
    (void)lib->set_method(before);
    return SS_OPENSSL_INEFFECTIVE;
}

/* With the table lock. The slot of this path, or a free one; NULL if there is none. */
static library *slot_of(const char *path)
{
    for (int i = 0; i < SS_OPENSSL_MAX; i++)
        if (state_of(&libraries[i]) == SS_OPENSSL_NONE || strcmp(libraries[i].path, path) == 0)
            return &libraries[i];
    return NULL;
}

/* Its path is written once: who inspects it reads that without the lock. */
static void name(library *lib, const char *path)
{
    if (state_of(lib) == SS_OPENSSL_NONE)
        strcpy(lib->path, path);
}

/* With the table lock. `handle` is given away. */
static void take(const char *path, void *handle)
{
    library *lib = slot_of(path);
    if (!lib) {
        library *overflow = &libraries[SS_OPENSSL_MAX];
        name(overflow, path);
        __atomic_store_n(&overflow->state, SS_OPENSSL_FULL, __ATOMIC_RELEASE);
    } else if (!lib->handle && state_of(lib) != SS_OPENSSL_INEFFECTIVE) {
        name(lib, path);
        enum ss_openssl_state state = hook(lib, handle, trampolines[lib - libraries]);
        if (state == SS_OPENSSL_GUARDED) {
            lib->handle = handle;
            handle = NULL;
        }
        __atomic_store_n(&lib->state, state, __ATOMIC_RELEASE);
    }
    if (handle)
        (void)dlclose(handle);
}

/* With the table lock. */
static ss_libraries_mark looked_at;

bool ss_openssl_scan(void)
{
    if (!ss_process_trylock(&table_lock))
        return false;
    /* Where the program has put OpenSSL's own method back, ours replaces it again, for it gives no less. A thread may be in the
       hook: nothing is resolved anew. */
    for (int i = 0; i < SS_OPENSSL_MAX; i++) {
        library *lib = &libraries[i];
        if (lib->handle && lib->get_method() == lib->stock && lib->set_method(&lib->method) == 1)
            __atomic_store_n(&lib->state, SS_OPENSSL_GUARDED, __ATOMIC_RELEASE);
        if (!lib->handle && state_of(lib) == SS_OPENSSL_DISPLACED)
            looked_at = (ss_libraries_mark){0}; /* perhaps it can be hooked by now */
    }
    ss_libraries_visit("RAND_bytes", &looked_at, take);
    ss_process_unlock(&table_lock);
    return true;
}

void ss_openssl_release(void)
{
    if (!ss_process_trylock(&table_lock))
        return;
    for (int i = 0; i <= SS_OPENSSL_MAX; i++) {
        library *lib = &libraries[i];
        if (lib->handle) {
            if (lib->get_method() == &lib->method)
                (void)lib->set_method(lib->stock);
            (void)dlclose(lib->handle);
            lib->handle = NULL;
        }
        if (state_of(lib) != SS_OPENSSL_NONE)
            __atomic_store_n(&lib->state, SS_OPENSSL_RELEASED, __ATOMIC_RELEASE);
    }
    looked_at = (ss_libraries_mark){0};
    ss_process_unlock(&table_lock);
}

ss_library_table ss_openssl_table(void)
{
    return (ss_library_table){
        .address = (uintptr_t)libraries,
        .entry = sizeof(library),
        .count = SS_OPENSSL_MAX + 1,
        .state = offsetof(library, state),
        .failing = offsetof(library, failing),
        .path = offsetof(library, path),
        .seam = offsetof(library, seam),
    };
}

bool ss_openssl_inspect(int index, ss_openssl_info *ret_info)
{
    if (index < 0 || index > SS_OPENSSL_MAX)
        return false;
    library *lib = &libraries[index];
    int state = state_of(lib);
    if (state == SS_OPENSSL_NONE || state == SS_OPENSSL_RELEASED)
        return false;
    if (state == SS_OPENSSL_GUARDED) {
        /* This comes first, for it reads the configuration, which may name an ENGINE. It does not see a provider in a
           context that the program made for itself. */
        (void)lib->set_mark();
        bool fips = lib->provider_available && lib->provider_available(lib->global_context(), "fips") == 1;
        (void)lib->pop_to_mark();
        (void)step_aside(lib);
        if (lib->get_method() != &lib->method)
            state = SS_OPENSSL_DISPLACED;
        else if (!reaches_hook(lib))
            state = SS_OPENSSL_INEFFECTIVE;
        else if (fips)
            state = SS_OPENSSL_FIPS;
    }
    strcpy(ret_info->path, lib->path);
    ret_info->version = __atomic_load_n(&lib->version, __ATOMIC_RELAXED);
    ret_info->state = state;
    ret_info->calls = __atomic_load_n(&lib->calls, __ATOMIC_RELAXED);
    ret_info->reseeds = __atomic_load_n(&lib->reseeds, __ATOMIC_RELAXED);
    ret_info->failures = __atomic_load_n(&lib->failures, __ATOMIC_RELAXED);
    ret_info->failing = __atomic_load_n(&lib->failing, __ATOMIC_RELAXED);
    return true;
}
