#include "sqlite.h"

void ss_sqlite_scan(void) {}
void ss_sqlite_release(void) {}
