"""PATH LIBRARY ACTIVATED: an OpenSSL 1.1.1, loaded by ctypes beside that of _ssl, in each place and by each surface."""

import ctypes
import ssl  # noqa: F401
import sys

import libcrypto
from drawing import CLONES, PLACES, distinct
from openssl_stage import row

path, activated = sys.argv[2], sys.argv[3] == "True"
old = libcrypto.library(path)
before = libcrypto.method(path)
draws = {
    "RAND_bytes": lambda: libcrypto.random_bytes(16, path),
    "RAND_priv_bytes": lambda: libcrypto.private_bytes(16, path),
    "EC key": lambda: libcrypto.old_ec_key(path),
}
counts = {}
freeze = getattr(ctypes.CDLL(None), "replay_freeze_tsc", None)


def never():
    assert not freeze or freeze() == 0


def warm():
    never()
    for draw in draws.values():
        draw()


for prepare in (warm, never):
    for place in PLACES:
        for name, draw in draws.items():
            counts[name, place, prepare is warm] = distinct(draw, prepare, place=place)
if activated:
    assert set(counts.values()) == {CLONES}, counts
    assert row().protection == "guarded" and "1.1.1" in row().note and path in row().note, row().note
    snapsafe_rt = sys.modules["snapsafe_rt"]
    snapsafe_rt.deactivate()
    assert libcrypto.method(path) == old.RAND_OpenSSL() != before
elif freeze:  # elsewhere each draw mixes the CPU's clock in: no duplicates, but no more entropy either
    assert max(counts.values()) <= CLONES // 5, counts
