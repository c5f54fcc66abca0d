"""For scripts, by *: the surfaces of OpenSSL, called by ctypes or by `ssl`, which a script imports when it wants to.

Nothing here loads a libcrypto, as hashlib, and so `secrets` or `uuid`, would.
"""

# ruff: noqa: F401 - what scripts take from here by *
import ctypes
import json
import os
import sys
import threading

import libcrypto
from drawing import PLACES, distinct, restored_twice, source

SURFACES = {
    "ssl.RAND_bytes": lambda: sys.modules["ssl"].RAND_bytes(16),
    "RAND_bytes": libcrypto.random_bytes,
    "RAND_priv_bytes": libcrypto.private_bytes,
    "ClientHello random": lambda: libcrypto.client_hello()[0],
    "key share": lambda: libcrypto.client_hello()[1],
    "EC key": libcrypto.ec_key,
    "RSA key": libcrypto.rsa_key,
    "Ed25519 key": libcrypto.ed25519_key,
}


def warm():
    libcrypto.random_bytes()
    libcrypto.private_bytes()


def row():
    import snapsafe_rt

    return next(row for row in snapsafe_rt.status().rows if row.name == "openssl")
