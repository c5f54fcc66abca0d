/* The sqlite room: resets SQLite's own generator before statements run. */
#ifndef SNAPSAFE_SQLITE_H
#define SNAPSAFE_SQLITE_H

void ss_sqlite_scan(void);
void ss_sqlite_release(void);

#endif
