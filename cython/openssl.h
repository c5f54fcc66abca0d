/* The openssl room: guards every draw of every loaded libcrypto, those inside TLS too. */
#ifndef SNAPSAFE_OPENSSL_H
#define SNAPSAFE_OPENSSL_H

/* Hooks each loaded libcrypto that is not hooked yet. Any thread; the GIL is not needed. */
void ss_openssl_scan(void);

/* Puts each library's own method back. */
void ss_openssl_release(void);

#endif
