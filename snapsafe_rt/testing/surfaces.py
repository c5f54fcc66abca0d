"""The table of surfaces: all that the demo, the tests' clones, the guests of the VM tests and the copies of CRIU draw.

A surface is one value that a program may draw at random. `prepare` runs in the template, before the snapshot, and
returns `draw`, which is called in each clone. This file imports only the standard library, so that a guest can have a
copy of it alone. To add a surface, add a line to TABLE; whoever reads the table draws it from then on.
"""

import contextlib
import os
import random
import secrets
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable
from email.utils import make_msgid
from functools import partial
from importlib import import_module
from os import urandom as bound_urandom
from queue import SimpleQueue
from random import random as bound_random
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ctypes
    import ssl

Draw = Callable[[], object]


class Surface(NamedTuple):
    """`kind` says where the values come from, so whether clones that nothing protects repeat them:

    memory   which all clones share
    pid      from memory too, but made anew where the pid differs
    clock    from memory and the time, which has moved on a little
    kernel   from the kernel's generator, which is copied with a machine, but not with a process
    machine  from memory, and only clones of a machine have it: a thread that lives through the restore, a server

    One that is not `shown` is another way to a generator that has a line already: left out where users read a table.
    `library` is the module that it takes, if that is not of the standard library.
    """

    name: str
    words: str
    kind: str
    prepare: Callable[[], Draw]
    shown: bool = True
    library: str = ""


def repeats(kind: str, *, same_pid: bool = True, machine: bool = False) -> bool:
    """Is it sure that clones, of a process or of a machine, repeat what is of that kind and protected by nothing?"""
    return kind == "memory" or (kind == "pid" and same_pid) or (kind == "machine" and machine)


def select(*names: str) -> list[Surface]:
    """Those of the table with these names, in this order; all of them without any."""
    table = {surface.name: surface for surface in TABLE}
    return [table[name] for name in names or table]


def prepare(surfaces: Iterable[Surface]) -> dict[str, Draw]:
    """Of each that this Python has, by its name: its draw, which was called once. Runs in the template."""
    found = {}
    for surface in surfaces:
        with contextlib.suppress(ImportError, OSError, AttributeError):  # this Python was built without it
            draw = surface.prepare()
            draw()  # after which random.gauss holds the second value of its pair
            found[surface.name] = draw
    return found


# Of the PEM file that a server takes, with its key. Where it stays "", no whole handshake can be drawn.
certificate = ""


def _of_uuid(name: str) -> Draw:
    """A function that came with a later Python."""
    made: Draw = getattr(uuid, name)
    return made


def _gauss(rng: "random.Random | ModuleType") -> Draw:
    return partial(rng.gauss, 0.0, 1.0)


def _shuffled() -> tuple[int, ...]:
    cards = list(range(52))
    random.shuffle(cards)
    return tuple(cards)


def _identity() -> tuple[int, int]:
    made = uuid.uuid1()
    return made.node, made.clock_seq


def _message_id() -> str:
    return make_msgid(domain="example.org").split(".")[2]  # before it: the time and the pid


def _instances() -> Draw:
    made = [random.Random() for _ in range(1000)]
    return lambda: tuple(instance.random() for instance in made)


def _bare() -> Draw:
    import _random

    bare: Draw = _random.Random().random
    return bare


def _subclass() -> Draw:
    return type("Subclass", (random.Random,), {})().random  # type: ignore[no-any-return]


def _sqlite() -> Draw:
    import sqlite3

    connection = sqlite3.connect(":memory:", check_same_thread=False)
    return lambda: connection.execute("select randomblob(16)").fetchone()[0]


def _in_a_thread(draw: Draw) -> Draw:
    """draw() in a thread that lives through the snapshot."""
    asked: SimpleQueue[bool] = SimpleQueue()
    answers: SimpleQueue[object] = SimpleQueue()

    def serve() -> None:
        draw()
        while asked.get():
            answers.put(draw())

    threading.Thread(target=serve, daemon=True).start()

    def ask() -> object:
        asked.put(True)
        return answers.get()

    return ask


# ---- OpenSSL ----


def _rand_bytes() -> Draw:
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
        return hello(outgoing.read())[0]

    return draw


def hello(flight: bytes) -> tuple[bytes, bytes, bytes]:
    """Random, session id and key share of a ClientHello or ServerHello (RFC 8446 4.1) at the start of a flight."""
    at = 5 + 4 + 2  # record header, handshake header, version
    drawn, at = flight[at : at + 32], at + 32
    session, at = flight[at + 1 : at + 1 + flight[at]], at + 1 + flight[at]
    if flight[5] == 1:  # a client's: cipher suites, compression methods; a server's has one of each
        at += 2 + int.from_bytes(flight[at : at + 2], "big")
        at += 1 + flight[at]
    else:
        at += 3
    end, share = at + 2 + int.from_bytes(flight[at : at + 2], "big"), b""
    at += 2
    while at < end:
        extension, size = int.from_bytes(flight[at : at + 2], "big"), int.from_bytes(flight[at + 2 : at + 4], "big")
        if extension == 51:
            share = flight[at + 4 : at + 4 + size]
        at += 4 + size
    return drawn, session, share


def _handshake() -> Draw:
    """A client and a server, both here."""
    import ssl

    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    return lambda: _both_sides(client_context, server_context)


def _both_sides(client_context: "ssl.SSLContext", server_context: "ssl.SSLContext") -> dict[str, bytes]:
    """What both draw, and a session ticket."""
    import ssl

    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname="example.org")
    server = server_context.wrap_bio(up, down, server_side=True)
    flights = []
    for side, outgoing in ((client, up), (server, down)):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
        flights.append(outgoing.read())
        outgoing.write(flights[-1])
    client.do_handshake()
    server.do_handshake()
    drawn = {"session tickets": down.read()}
    for name, flight in zip(("client", "server"), flights, strict=True):
        drawn[f"{name} random"], drawn[f"{name} session id"], drawn[f"{name} key share"] = hello(flight)
    del drawn["server session id"]  # the client's
    return drawn


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


# ---- libraries, which need not be there ----


def _ed25519_key() -> Draw:
    module = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    return lambda: module.Ed25519PrivateKey.generate().private_bytes_raw()


def _p256_key() -> Draw:
    ec = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    return lambda: ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")


def _ecdsa() -> Draw:
    ec = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    hashes = import_module("cryptography.hazmat.primitives.hashes")
    key = ec.derive_private_key(12345, ec.SECP256R1())
    return lambda: key.sign(b"one", ec.ECDSA(hashes.SHA256()))


def _rsa_key() -> Draw:
    rsa = import_module("cryptography.hazmat.primitives.asymmetric.rsa")
    return lambda: rsa.generate_private_key(65537, 1024).private_numbers().p.to_bytes(64, "big")


def _object_id() -> Draw:
    bson = import_module("bson")
    return lambda: bson.ObjectId().binary[4:]


def _numpy() -> Draw:
    return partial(import_module("numpy.random").bytes, 8)


def _uuid_utils() -> Draw:
    library = import_module("uuid_utils")
    return lambda: library.uuid4().bytes


def _apsw() -> Draw:
    connection = import_module("apsw").Connection(":memory:")
    return lambda: next(connection.execute("select randomblob(8)"))[0]


TABLE = (
    Surface("random", "random.random()", "memory", lambda: random.random),
    Surface("instance", "a Random() object of its own", "memory", lambda: random.Random().random),
    Surface("gauss", "random.gauss(), kept second value", "memory", lambda: _gauss(random)),
    Surface("shuffle", "order of a shuffled deck", "memory", lambda: _shuffled),
    Surface("uuid1_identity", "uuid1 node + clock sequence", "memory", lambda: _identity),
    Surface("getnode", "uuid.getnode()", "memory", lambda: uuid.getnode),
    Surface("uuid1", "uuid1", "clock", lambda: uuid.uuid1),
    Surface("uuid4", "uuid4", "kernel", lambda: uuid.uuid4),
    Surface("msgid", "email Message-ID, random part", "memory", lambda: _message_id),
    Surface("tempfile", "temporary file name", "pid", lambda: tempfile.mktemp),
    Surface("secrets", "secrets.token_hex()", "kernel", lambda: secrets.token_hex),
    Surface("urandom", "os.urandom()", "kernel", lambda: partial(os.urandom, 16)),
    Surface("uuid7", "uuid7", "kernel", lambda: _of_uuid("uuid7")),
    Surface("ssl", "ssl.RAND_bytes()", "pid", _rand_bytes),
    Surface("tls", "TLS ClientHello random", "pid", _client_hello),
    Surface("ec", "EC private key (P-256)", "pid", _ec_key),
    Surface("sqlite", "SQLite randomblob()", "memory", _sqlite),
    # Only in clones of a machine.
    Surface("random_thread", "random in an old thread", "machine", lambda: _in_a_thread(random.Random().random)),
    Surface("ssl_thread", "ssl in an old thread", "machine", lambda: _in_a_thread(_rand_bytes())),
    Surface("handshake", "TLS", "machine", _handshake),
    # Other ways to what stands above.
    Surface("bound_random", "random(), imported by name", "memory", lambda: bound_random, False),
    Surface("getrandbits", "random.getrandbits()", "memory", lambda: partial(random.getrandbits, 64), False),
    Surface("randint", "random.randint()", "memory", lambda: partial(random.randint, 0, 1 << 62), False),
    Surface("randbytes", "random.randbytes()", "memory", lambda: partial(random.randbytes, 8), False),
    Surface("sample", "random.sample()", "memory", lambda: lambda: tuple(random.sample(range(1 << 40), 2)), False),
    Surface("getstate", "random.getstate()", "memory", lambda: lambda: hash(random.getstate()), False),
    Surface("instance_gauss", "gauss() of an object", "memory", lambda: _gauss(random.Random()), False),
    Surface("system_gauss", "SystemRandom.gauss()", "memory", lambda: _gauss(random.SystemRandom()), False),
    Surface("system", "SystemRandom.random()", "kernel", lambda: random.SystemRandom().random, False),
    Surface("subclass", "a subclass of Random", "memory", _subclass, False),
    Surface("bare", "_random.Random", "memory", _bare, False),
    Surface("instances", "1,000 Random() objects", "memory", _instances, False),
    Surface("bound_urandom", "urandom(), imported by name", "kernel", lambda: partial(bound_urandom, 8), False),
    Surface("getrandom", "os.getrandom()", "kernel", lambda: partial(os.getrandom, 8), False),
    Surface("token_bytes", "secrets.token_bytes()", "kernel", lambda: partial(secrets.token_bytes, 8), False),
    Surface("token_urlsafe", "secrets.token_urlsafe()", "kernel", lambda: partial(secrets.token_urlsafe, 8), False),
    Surface("clock_seq", "uuid1().clock_seq", "memory", lambda: lambda: uuid.uuid1().clock_seq, False),
    Surface("node", "uuid1().node", "memory", lambda: lambda: uuid.uuid1().node, False),
    Surface("uuid6", "uuid6", "clock", lambda: _of_uuid("uuid6"), False),
    Surface("uuid8", "uuid8", "memory", lambda: _of_uuid("uuid8"), False),
    # One name has 41 bits: too few where a million are compared.
    Surface("tempfiles", "temporary file names", "pid", lambda: lambda: tempfile.mktemp() + tempfile.mktemp(), False),
    # Of libraries: whether they repeat depends on the libcrypto that they bring.
    Surface("ed25519_key", "Ed25519 key", "pid", _ed25519_key, library="cryptography"),
    Surface("ec_key", "EC key", "pid", _p256_key, library="cryptography"),
    Surface("ecdsa", "ECDSA signature", "pid", _ecdsa, library="cryptography"),
    Surface("rsa_key", "RSA key", "pid", _rsa_key, library="cryptography"),
    Surface("object_id", "ObjectId", "memory", _object_id, library="bson"),
    Surface("numpy", "numpy.random.bytes()", "memory", _numpy, library="numpy"),
    Surface("uuid_utils", "uuid_utils.uuid4()", "memory", _uuid_utils, library="uuid_utils"),
    Surface("apsw", "APSW randomblob()", "memory", _apsw, library="apsw"),
)
