/* The words room: the text of what another process compares (sites.pxi), of rooms that number their words. Attached. */
#ifndef SNAPSAFE_WORDS_H
#define SNAPSAFE_WORDS_H

#include "compat.h"

#include <stdbool.h>

/* The word of memory by which the `i`th is seen to be in place, what it holds then, and its name, static; an address of 0: it is
   not to be compared; false: there are no more. */
typedef bool (*ss_word_at)(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name);

/* The name of something that is not in place, or ""; the words as sites.pxi has them. New reference, or NULL with an exception
   set. */
PyObject *ss_words_displaced(ss_word_at word_at);
PyObject *ss_words_text(ss_word_at word_at);

/* The same text of what a level depends on: whether the program seeded the default generator, how many states are nobody's, and
   how often something went wrong. As above. */
PyObject *ss_words_judged(const uint64_t *global_kept, const uint64_t *foreign, const uint64_t *problems);

#endif
