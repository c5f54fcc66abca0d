"""PATH ACTIVATED: the generator of every thread is reseeded by the first draw after a restore, or of none."""

import ctypes
import sys
import threading

from openssl_library import crypto, libcrypto, pointer, source

activated = sys.argv[2] == "True"


class Param(ctypes.Structure):
    _fields_ = (
        ("key", ctypes.c_char_p),
        ("type", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("returned", ctypes.c_size_t),
    )


def counter():
    value, unsigned_integer = ctypes.c_uint(), 2
    params = (Param * 2)(Param(b"reseed_counter", unsigned_integer, ctypes.addressof(value), 4, 0))
    assert crypto.EVP_RAND_CTX_get_params(pointer("RAND_get0_public", None), params) == 1
    return value.value


if not hasattr(crypto, "EVP_RAND_CTX_get_params"):
    sys.exit()
ask, answer = [threading.Semaphore(0) for _ in range(3)], threading.Semaphore(0)
counters = [0] * 3


def thread(number):
    while ask[number].acquire():
        libcrypto.random_bytes()
        counters[number] = counter()
        answer.release()


def look():
    for semaphore in ask:
        semaphore.release()
        answer.acquire()
    return counters[:]


for number in range(3):
    threading.Thread(target=thread, args=[number], daemon=True).start()
look()
before = look()
assert look() == before, "without a restore nothing is reseeded"
for _ in range(3):
    source.bump()
    after = look()
    assert all((new > old) is activated for new, old in zip(after, before, strict=True)), (before, after)
    before = after
