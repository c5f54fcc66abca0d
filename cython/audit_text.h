/* The text of the audit's places: fields that tabs part. All need the GIL, leave no exception set, and append what fits. */
#ifndef SNAPSAFE_AUDIT_TEXT_H
#define SNAPSAFE_AUDIT_TEXT_H

#include "compat.h"

#include <stddef.h>

typedef struct {
    char *at;    /* where the next byte goes */
    size_t left; /* how many fit */
} ss_audit_text;

/* A str; what may not stand in a field becomes "?"; of more than `most` bytes the end is kept. */
void ss_audit_put_str(ss_audit_text *text, PyObject *str, size_t most);

void ss_audit_put_text(ss_audit_text *text, const char *words);

/* File, line and function of a code object, of which a frame is `at` bytes in; NULL: three empty fields. */
void ss_audit_put_place(ss_audit_text *text, PyCodeObject *code, int at);

/* The name of a module by its file, without folder and ".py". */
void ss_audit_put_module(ss_audit_text *text, PyObject *file);

#endif
