/* Seed provenance, of what is not only a number: a text, and what a clock shows. With the GIL, or attached. */
#ifndef SNAPSAFE_PROVENANCE_TEXT_H
#define SNAPSAFE_PROVENANCE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* As ss_provenance_of_int(), also of what Random.seed() makes of bytes or a text: one that is a draw, also in base64, or in which
   a draw or a clock's reading stands. The first 256 bytes of a text count. */
bool ss_provenance_of_seed(const unsigned char *big, size_t size, uint64_t *ret_epoch);

/* Is it what a clock has shown in the last seconds (s, ms, us, ns or YYYYMMDDHHMMSS), or the process's id? May ask clocks, and
   getpid(2) once in a process. A process id below 100 may as well be a chosen seed: in a container that is the rule. */
bool ss_provenance_of_moment(uint64_t number);
bool ss_provenance_of_moment_float(double number);

#pragma GCC visibility pop

#endif
