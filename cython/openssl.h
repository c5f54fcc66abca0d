/* The openssl room: guards every draw of every loaded libcrypto, those inside TLS too.

   A libcrypto's RAND_METHOD is exchanged for a copy of its own whose `bytes` looks at the epoch first, reseeds the primary
   DRBG from fenced entropy where that is of an older one, and draws again if a restore fell into the draw. What reads
   random bytes through RAND_bytes or RAND_priv_bytes passes there, whichever thread or library it is. Nothing here touches
   a Python object or needs the GIL; no lock of ours is held while OpenSSL runs. */
#ifndef SNAPSAFE_OPENSSL_H
#define SNAPSAFE_OPENSSL_H

#include "libraries.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* As many as there are trampolines: a RAND_METHOD has no argument that would say which library calls. */
#define SS_OPENSSL_MAX 8

/* snapsafe_rt/guards/openssl.py holds the sentence for each. */
enum ss_openssl_state {
    SS_OPENSSL_NONE = 0,
    SS_OPENSSL_GUARDED,      /* ours is installed, and was seen to run */
    SS_OPENSSL_DISPLACED,    /* the program's own RAND_METHOD, or an ENGINE, is installed: left alone */
    SS_OPENSSL_INEFFECTIVE,  /* RAND_set_rand_method() is there and does nothing: AWS-LC, BoringSSL */
    SS_OPENSSL_FIPS,         /* hooked, but the FIPS provider draws past every hook */
    SS_OPENSSL_SYMBOLS,      /* not 1.1.0 or later, or built without RAND_METHOD */
    SS_OPENSSL_FULL,         /* more than SS_OPENSSL_MAX are loaded */
    SS_OPENSSL_RELEASED      /* deactivated */
};

/* Hooks each loaded libcrypto that is not hooked yet: whatever defines RAND_bytes, under whatever name, the program
   itself too. False where another thread was at it, which may not see what this one was called for. Any thread; best without
   the GIL, for it waits for the loader. */
bool ss_openssl_scan(void);

/* Puts each library's own method back and lets go of the library. */
void ss_openssl_release(void);

/* Begins, and ends, a question: does a draw of no bytes on this thread reach a hook? `end` returns the answer. The library does
   nothing for such a draw, so it may be made before the library was initialised. */
void ss_openssl_probe_begin(void);
bool ss_openssl_probe_end(void);

typedef struct {
    char path[PATH_MAX];
    unsigned long version;   /* OpenSSL_version_num(), 0 if unknown */
    enum ss_openssl_state state;
    uint64_t calls, reseeds, failures;
    bool failing;            /* the last reseed failed: what is drawn may repeat */
} ss_openssl_info;

/* Where the slots lie, for the status page. Their states are those of the last draw or scan: nothing asks OpenSSL. */
ss_library_table ss_openssl_table(void);

/* Looks at slot `index`, 0 to SS_OPENSSL_MAX; the last stands for libraries that found no place. False where it is empty. For
   reports, not for hooks: it calls OpenSSL, which loads its configuration if it had not. */
bool ss_openssl_inspect(int index, ss_openssl_info *ret_info);

#endif
