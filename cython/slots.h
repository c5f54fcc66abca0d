/* The slots room: has every loaded object that calls a C function by its name call another one, and undoes that exactly.

   The words are exchanged by which the objects reach it (PLT and GOT), those that the loader write-protects too: their page is
   made writable for the moment. What a word held is put back as it was; one that was not bound yet is bound by its next call.
   A call that an object makes past these words (-Bsymbolic, a static copy) is not reached. All of it runs in any thread, with
   or without the GIL, and takes the loader's lock. */
#ifndef SNAPSAFE_SLOTS_H
#define SNAPSAFE_SLOTS_H

#include "libraries.h"

#define SS_SLOTS_MOST 64

typedef struct {
    const char *symbol;
    void *from, *to; /* what is exchanged: who reaches another function of this name is left alone, and counted as refused */
    ss_libraries_mark mark;
    struct {
        void **at, *was;
        bool read_only;
        void *handle; /* of its object, which stays loaded by it; NULL: a former one has that */
    } places[SS_SLOTS_MOST];
    int count;   /* atomic */
    int refused; /* that could not be exchanged: written to by nobody, no place left, or another function's */
} ss_slots;

/* Exchanges the words of all objects that came since the last call. False where another thread is at it. */
bool ss_slots_exchange(ss_slots *slots);

/* Puts back what there was. As above. */
bool ss_slots_restore(ss_slots *slots);

#endif
