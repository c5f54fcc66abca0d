#include "audit_text.h"

#include <stdio.h>
#include <string.h>

void ss_audit_put_str(ss_audit_text *text, PyObject *str, size_t most)
{
    PyObject *bytes = PyUnicode_AsEncodedString(str, "utf-8", "backslashreplace");
    if (!bytes) {
        PyErr_Clear();
        return;
    }
    const char *from = PyBytes_AS_STRING(bytes);
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    most = most < text->left ? most : text->left;
    if (size > most) {
        from += size - most;
        size = most;
        while (size && (*from & 0xc0) == 0x80) /* not within a character */
            from++, size--;
    }
    for (; size; size--, text->left--, from++)
        *text->at++ = (unsigned char)*from < ' ' || *from == 127 ? '?' : *from;
    Py_DECREF(bytes);
}

void ss_audit_put_text(ss_audit_text *text, const char *words)
{
    for (; *words && text->left; text->left--)
        *text->at++ = *words++;
}

void ss_audit_put_place(ss_audit_text *text, PyCodeObject *code, int at)
{
    char line[16] = "";
    ss_audit_put_text(text, "\t");
    if (code) {
        ss_audit_put_str(text, code->co_filename, 120);
        (void)snprintf(line, sizeof line, "%d", PyCode_Addr2Line(code, at));
    }
    ss_audit_put_text(text, "\t");
    ss_audit_put_text(text, line);
    ss_audit_put_text(text, "\t");
    if (code)
        ss_audit_put_str(text, ss_code_name(code), 48);
}

void ss_audit_put_module(ss_audit_text *text, PyObject *file)
{
    const char *path = PyUnicode_AsUTF8(file);
    if (!path) {
        PyErr_Clear();
        return;
    }
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (strncmp(name, "<frozen ", strlen("<frozen ")) == 0)
        name += strlen("<frozen ");
    for (; *name && *name != '.' && *name != '>' && text->left; text->left--)
        *text->at++ = *name++;
}
