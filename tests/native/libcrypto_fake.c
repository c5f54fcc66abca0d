/* A libcrypto that is nothing but RAND_METHOD, with OpenSSL 1.1.1's names. Its draws are not random. Each copy of the file is
   a library of its own. -DINERT: RAND_set_rand_method() answers 1 and does nothing, as AWS-LC's. */
#include <stddef.h>
#include <string.h>

typedef struct {
    int (*seed)(const void *, int);
    int (*bytes)(unsigned char *, int);
    void (*cleanup)(void);
    int (*add)(const void *, int, double);
    int (*pseudorand)(unsigned char *, int);
    int (*status)(void);
} RAND_METHOD;

int fake_add_fails, fake_bytes_fails;

static int fake_add(const void *bytes, int size, double entropy)
{
    return bytes && size && entropy > 0 && !fake_add_fails;
}

static int fake_bytes(unsigned char *out, int size)
{
    memset(out, 1, (size_t)size);
    return !fake_bytes_fails;
}

static int fake_seed(const void *bytes, int size) { return fake_add(bytes, size, size); }
static int fake_status(void) { return 1; }

static const RAND_METHOD own = {fake_seed, fake_bytes, NULL, fake_add, fake_bytes, fake_status};
static const RAND_METHOD *method = &own;

const RAND_METHOD *RAND_OpenSSL(void) { return &own; }
const RAND_METHOD *RAND_get_rand_method(void) { return method; }

int RAND_set_rand_method(const RAND_METHOD *given)
{
#ifdef INERT
    (void)given;
#else
    method = given ? given : &own;
#endif
    return 1;
}

int RAND_bytes(unsigned char *out, int size) { return method->bytes(out, size); }
int ERR_set_mark(void) { return 1; }
int ERR_pop_to_mark(void) { return 1; }
unsigned long OpenSSL_version_num(void) { return 0x1010117fUL; }
