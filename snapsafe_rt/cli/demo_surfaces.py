"""What the demo draws: the surfaces that can repeat in clones of a process, by the standard library alone.

A surface is one value that a program may draw at random. `prepare` runs in the template, before the snapshot, and
returns `draw`, which is called in each clone. The tests draw more (tests/helpers/surfaces.py), also in guests that have
nothing but copies of the two files: so this one imports only the standard library.
"""

import contextlib
import os
import random
import secrets
import tempfile
import uuid
from collections.abc import Callable, Iterable
from email.utils import make_msgid
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ctypes

Draw = Callable[[], object]


class Surface(NamedTuple):
    """`kind` says where the values come from, so whether clones that nothing protects repeat them:

    memory   which all clones share
    pid      from memory too, but made anew where the pid differs
    clock    from memory and the time, which has moved on a little
    kernel   from the kernel's generator, which is copied with a machine, but not with a process
    """

    name: str
    words: str
    kind: str
    prepare: Callable[[], Draw]


def prepare(surfaces: Iterable[Surface]) -> dict[str, Draw]:
    """Of each that this Python has, by its name: its draw, which was called once. Runs in the template."""
    found = {}
    for surface in surfaces:
        with contextlib.suppress(ImportError, OSError, AttributeError):  # this Python was built without it
            draw = surface.prepare()
            draw()  # after which random.gauss holds the second value of its pair
            found[surface.name] = draw
    return found


def _shuffled() -> tuple[int, ...]:
    cards = list(range(52))
    random.shuffle(cards)
    return tuple(cards)


def _identity() -> tuple[int, int]:
    made = uuid.uuid1()
    return made.node, made.clock_seq


def _message_id() -> str:
    return make_msgid(domain="example.org").split(".")[2]  # before it: the time and the pid


def _sqlite() -> Draw:
    import sqlite3

    connection = sqlite3.connect(":memory:", check_same_thread=False)
    return lambda: connection.execute("select randomblob(16)").fetchone()[0]


def rand_bytes() -> Draw:
    import ssl

    return partial(ssl.RAND_bytes, 16)


def _client_hello() -> Draw:
    import ssl

    context = ssl.create_default_context()

    def draw() -> bytes:
        outgoing = ssl.MemoryBIO()
        connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
        with contextlib.suppress(ssl.SSLWantReadError):  # the server does not answer
            connection.do_handshake()
        return outgoing.read()[11:43]  # after record header, handshake header and version (RFC 8446 4.1.2)

    return draw


def _ec_key() -> Draw:
    """By the library that `ssl` uses, which has no call for keys of its own."""
    import ctypes
    import ssl  # noqa: F401 - loads it

    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in file if "libcrypto" in line}
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        if hasattr(library, "EC_KEY_new_by_curve_name"):
            for name in ("EC_KEY_new_by_curve_name", "EC_KEY_get0_private_key"):
                getattr(library, name).restype = ctypes.c_void_p
            return partial(_ec_secret, library)
    raise ImportError("no libcrypto that can be called")


def _ec_secret(libcrypto: "ctypes.CDLL") -> bytes:
    import ctypes

    key = ctypes.c_void_p(libcrypto.EC_KEY_new_by_curve_name(415))  # NID_X9_62_prime256v1
    secret = ctypes.create_string_buffer(32)
    if libcrypto.EC_KEY_generate_key(key) != 1:
        raise RuntimeError("EC_KEY_generate_key failed")
    libcrypto.BN_bn2binpad(ctypes.c_void_p(libcrypto.EC_KEY_get0_private_key(key)), secret, 32)
    libcrypto.EC_KEY_free(key)
    return secret.raw


TABLE = (
    Surface("random", "random.random()", "memory", lambda: random.random),
    Surface("instance", "a Random() object of its own", "memory", lambda: random.Random().random),
    Surface("gauss", "random.gauss(), kept second value", "memory", lambda: partial(random.gauss, 0.0, 1.0)),
    Surface("shuffle", "order of a shuffled deck", "memory", lambda: _shuffled),
    Surface("uuid1_identity", "uuid1 node + clock sequence", "memory", lambda: _identity),
    Surface("getnode", "uuid.getnode()", "memory", lambda: uuid.getnode),
    Surface("uuid1", "uuid1", "clock", lambda: uuid.uuid1),
    Surface("uuid4", "uuid4", "kernel", lambda: uuid.uuid4),
    Surface("msgid", "email Message-ID, random part", "memory", lambda: _message_id),
    Surface("tempfile", "temporary file name", "pid", lambda: tempfile.mktemp),
    Surface("secrets", "secrets.token_hex()", "kernel", lambda: secrets.token_hex),
    Surface("urandom", "os.urandom()", "kernel", lambda: partial(os.urandom, 16)),
    Surface("uuid7", "uuid7", "kernel", lambda: uuid.uuid7),  # type: ignore[attr-defined] # from 3.14 on
    Surface("ssl", "ssl.RAND_bytes()", "pid", rand_bytes),
    Surface("tls", "TLS ClientHello random", "pid", _client_hello),
    Surface("ec", "EC private key (P-256)", "pid", _ec_key),
    Surface("sqlite", "SQLite randomblob()", "memory", _sqlite),
)
