"""The program that the demo clones: an ordinary one, that draws its values as any other would.

Run by snapsafe_rt.cli.demo in an interpreter of its own, once plain and once as `snapsafe run` starts it. Of
snapsafe_rt it uses the harness that copies it, and tells at its end whether it was protected. Prints lines of
JSON: how far it is, then what its clones drew.
"""

import contextlib
import ctypes
import json
import os
import random
import secrets
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from email.utils import make_msgid
from typing import Any, NamedTuple

import snapsafe_rt
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import die_with_parent, run_clones


class Surface(NamedTuple):
    """`root` says where its values come from, so whether clones of a process repeat them:

    memory  which all of them share
    pid     from memory too, but made anew where the pid differs
    clock   from memory and the time, which has moved on a little
    kernel  from the kernel's generator, which is not copied with a process
    """

    words: str
    root: str
    draw: Callable[[], object]


def surfaces() -> dict[str, Surface]:
    """What this Python has of all that the demo shows, by a stable key. Made in the template, used in its clones."""
    instance = random.Random()
    found = {
        "random": Surface("random.random()", "memory", random.random),
        "instance": Surface("a Random() object of its own", "memory", instance.random),
        "gauss": Surface("random.gauss(), kept second value", "memory", lambda: random.gauss(0.0, 1.0)),
        "shuffle": Surface("order of a shuffled deck", "memory", _shuffled),
        "uuid1_identity": Surface("uuid1 node + clock sequence", "memory", _identity),
        "getnode": Surface("uuid.getnode()", "memory", uuid.getnode),
        "uuid1": Surface("uuid1", "clock", uuid.uuid1),
        "uuid4": Surface("uuid4", "kernel", uuid.uuid4),
        "msgid": Surface("email Message-ID, random part", "memory", _message_id),
        "tempfile": Surface("temporary file name", "pid", tempfile.mktemp),
        "secrets": Surface("secrets.token_hex()", "kernel", secrets.token_hex),
        "urandom": Surface("os.urandom()", "kernel", lambda: os.urandom(16)),
    }
    if hasattr(uuid, "uuid7"):
        found["uuid7"] = Surface("uuid7", "kernel", uuid.uuid7)
    for more in (_ssl_surfaces, _sqlite_surfaces):
        try:
            found.update(more())
        except (ImportError, OSError, AttributeError):
            continue  # this Python was built without it
    return found


def _shuffled() -> tuple[int, ...]:
    cards = list(range(52))
    random.shuffle(cards)
    return tuple(cards)


def _identity() -> tuple[int, int]:
    value = uuid.uuid1()
    return value.node, value.clock_seq


def _message_id() -> str:
    return make_msgid(domain="example.org").split(".")[2]  # before it: the time and the pid


def _ssl_surfaces() -> dict[str, Surface]:
    import ssl

    context = ssl.create_default_context()

    def client_hello() -> bytes:
        outgoing = ssl.MemoryBIO()
        connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
        with contextlib.suppress(ssl.SSLWantReadError):  # the server does not answer
            connection.do_handshake()
        return outgoing.read()[11:43]  # record header 5, handshake header 4, version 2; then 32 random bytes

    found = {
        "ssl": Surface("ssl.RAND_bytes()", "pid", lambda: ssl.RAND_bytes(16)),
        "tls": Surface("TLS ClientHello random", "pid", client_hello),
    }
    libcrypto = _libcrypto()
    if libcrypto is not None:
        found["ec"] = Surface("EC private key (P-256)", "pid", lambda: _ec_key(libcrypto))
    return found


def _libcrypto() -> "ctypes.CDLL | None":
    """The library that `ssl` uses, which has no call for keys of its own."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in file if "libcrypto" in line}
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        if hasattr(library, "EC_KEY_new_by_curve_name"):
            for name in ("EC_KEY_new_by_curve_name", "EC_KEY_get0_private_key"):
                getattr(library, name).restype = ctypes.c_void_p
            return library
    return None


def _ec_key(libcrypto: ctypes.CDLL) -> bytes:
    key = ctypes.c_void_p(libcrypto.EC_KEY_new_by_curve_name(415))  # NID_X9_62_prime256v1
    secret = ctypes.create_string_buffer(32)
    if libcrypto.EC_KEY_generate_key(key) != 1:
        raise RuntimeError("EC_KEY_generate_key failed")
    libcrypto.BN_bn2binpad(ctypes.c_void_p(libcrypto.EC_KEY_get0_private_key(key)), secret, 32)
    libcrypto.EC_KEY_free(key)
    return secret.raw


def _sqlite_surfaces() -> dict[str, Surface]:
    import sqlite3

    connection = sqlite3.connect(":memory:")
    return {
        "sqlite": Surface(
            "SQLite randomblob()", "memory", lambda: connection.execute("select randomblob(16)").fetchone()[0]
        )
    }


def first_of(number: int, count: int, kinds: int) -> int:
    """Which surface clone `number` begins with. Each is the first in some clones, so that the renewal which one causes
    cannot hide that another lacks its own; and at least two clones begin alike, so that they can repeat each other."""
    return min(number // 2, count // 2 - 1) % kinds


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main(count: int, path: str) -> None:
    die_with_parent()
    found: dict[str, Surface] = {}
    told = 0.0

    def prepare() -> None:
        found.update(surfaces())
        for surface in found.values():
            surface.draw()  # after which random.gauss holds the second value of its pair

    def body(number: int) -> bytes:
        keys = list(found)
        first = first_of(number, count, len(keys))
        return json.dumps({key: str(found[key].draw()) for key in keys[first:] + keys[:first]}).encode()

    def progress(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.05 or done == count:
            told = time.monotonic()
            tell(done=done)

    clones = run_clones(count, body, prepare=prepare, source=FileSource(path), progress=progress)
    shown = {key: (surface.words, surface.root) for key, surface in surfaces().items()}
    status = snapsafe_rt.status()
    tell(
        surfaces=shown,
        drawn=[json.loads(clone) for clone in clones],
        active=status.active,
        why_not=status.why_not,
        isolation=clones.isolation,
        seconds=clones.seconds,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
