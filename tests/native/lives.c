/* lives CODE...: initialises the interpreter, runs the code and finalises it, once for each. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

int main(int count, char **codes)
{
    int failed = 0;
    for (int life = 1; life < count && !failed; life++) {
        Py_InitializeEx(1);
        failed = PyRun_SimpleString(codes[life]);
        failed |= Py_FinalizeEx();
    }
    return failed ? 1 : 0;
}
