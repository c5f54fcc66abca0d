"""For scripts, by *: a RAND_METHOD of the program's own, which gives sevens."""

# ruff: noqa: F401
import ctypes
import ssl

import libcrypto

TAKES = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_ubyte), ctypes.c_int)


@TAKES
def sevens(out, size):
    ctypes.memset(out, 7, size)
    return 1


STATUS = ctypes.CFUNCTYPE(ctypes.c_int)
ready = STATUS(lambda: 1)
own = (ctypes.c_void_p * 6)(
    None,
    ctypes.cast(sevens, ctypes.c_void_p),
    None,
    None,
    ctypes.cast(sevens, ctypes.c_void_p),
    ctypes.cast(ready, ctypes.c_void_p),
)
address = ctypes.addressof(own)


def take():
    return libcrypto.library().RAND_set_rand_method(own)


def give_back():
    return libcrypto.library().RAND_set_rand_method(None)
