"""For scripts, by *: openssl_stage, `ssl`, and the library below it, by ctypes."""

# ruff: noqa: F401, F403
import ctypes
import ssl

import libcrypto
from openssl_stage import *

crypto = libcrypto.library()


def pointer(name, *arguments):
    function = getattr(crypto, name)
    function.restype = ctypes.c_void_p
    return ctypes.c_void_p(function(*arguments))
