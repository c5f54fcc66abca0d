/* A table of descriptors of a thread's own: no number of it is the program's, and none of the program's is its. Nothing here
   needs the GIL. */
#ifndef SNAPSAFE_TABLE_H
#define SNAPSAFE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

/* Zeros: none was taken. The mark is a memfd by whose inode the table is known. */
typedef struct {
    bool own;
    int mark;
    uint64_t mark_dev, mark_ino;
} ss_table;

/* The calling thread leaves the program's table for an empty one. False, with errno set, where the kernel (before 5.9, or a
   filter) does not let it. */
bool ss_table_take(ss_table *table);

/* Is it the calling thread's still? After a restore by CRIU the threads share one table, and our numbers are somebody else's
   files. */
bool ss_table_is_ours(const ss_table *table);

#endif
