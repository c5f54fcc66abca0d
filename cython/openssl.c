#include "openssl.h"

void ss_openssl_scan(void) {}
void ss_openssl_release(void) {}
