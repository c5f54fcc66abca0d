"""For scripts and guests, by `import surfaces`: all that is drawn, by the demo, in the tests' clones, in guests of the
VM tests, in copies of CRIU and in images.

The demo's surfaces come first, from the product; then other ways to the same generators, and libraries. A guest has
copies of the two files alone. To add a surface, add a line to TABLE; whoever reads the table draws it from then on.
"""

import contextlib
import os
import random
import secrets
import tempfile
import threading
import uuid
from functools import partial
from importlib import import_module
from os import urandom as bound_urandom
from queue import SimpleQueue
from random import random as bound_random
from typing import NamedTuple

try:
    import demo_surfaces
except ImportError:
    from snapsafe_rt.cli import demo_surfaces

prepare = demo_surfaces.prepare


class Surface(NamedTuple):
    """demo_surfaces.Surface, and a kind that only clones of a machine have, from memory too, by a thread or
    a server that lives through the restore.

    One that is not `shown` is another way to a generator that has a line already: left out where users read a table.
    `library` is the module that it takes, if that is not of the standard library.
    """

    name: str
    words: str
    kind: str
    prepare: object
    shown: bool = True
    library: str = ""


def repeats(kind, *, machine=False):
    """Is it sure that clones with one pid, of a process or of a machine, repeat it where nothing protects it?"""
    return kind in ("memory", "pid") or (kind == "machine" and machine)


def select(*names):
    """Those of the table with these names, in this order; all of them without any."""
    table = {surface.name: surface for surface in TABLE}
    return [table[name] for name in names or table]


# Of the PEM file that a server takes, with its key. Where it stays "", no whole handshake can be drawn.
certificate = ""


def _of_uuid(name):
    """A function that came with a later Python."""
    return getattr(uuid, name)


def _gauss(rng):
    return partial(rng.gauss, 0.0, 1.0)


def _instances():
    made = [random.Random() for _ in range(1000)]
    return lambda: tuple(instance.random() for instance in made)


def _bare():
    import _random

    return _random.Random().random


def _subclass():
    return type("Subclass", (random.Random,), {})().random


def _in_a_thread(draw):
    """draw() in a thread that lives through the snapshot."""
    asked = SimpleQueue()
    answers = SimpleQueue()

    def serve():
        draw()
        while asked.get():
            answers.put(draw())

    threading.Thread(target=serve, daemon=True).start()

    def ask():
        asked.put(True)
        return answers.get()

    return ask


# ---- OpenSSL ----


def hello(flight):
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


def _handshake():
    """A client and a server, both here."""
    import ssl

    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    return lambda: _both_sides(client_context, server_context)


def _both_sides(client_context, server_context):
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


# ---- libraries, which need not be there ----


def _ed25519_key():
    module = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    return lambda: module.Ed25519PrivateKey.generate().private_bytes_raw()


def _p256_key():
    ec = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    return lambda: ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")


def _ecdsa():
    ec = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    hashes = import_module("cryptography.hazmat.primitives.hashes")
    key = ec.derive_private_key(12345, ec.SECP256R1())
    return lambda: key.sign(b"one", ec.ECDSA(hashes.SHA256()))


def _rsa_key():
    rsa = import_module("cryptography.hazmat.primitives.asymmetric.rsa")
    return lambda: rsa.generate_private_key(65537, 1024).private_numbers().p.to_bytes(64, "big")


def _object_id():
    bson = import_module("bson")
    return lambda: bson.ObjectId().binary[4:]


def _tokenizers():
    library = import_module("tokenizers")
    vocabulary = {letters: number for number, letters in enumerate(["a", "b", "c", "d", "ab", "cd"])}
    model = library.models.BPE(vocab=vocabulary, merges=[("a", "b"), ("c", "d")], dropout=0.9)
    made = library.Tokenizer(model)
    return lambda: repr(made.encode("abcd" * 80).ids).encode()


def _numpy(draw):
    """draw(numpy.random), which makes what is called each time."""
    return lambda: draw(import_module("numpy.random"))


def _torch(draw):
    """draw(torch), a tensor of which the bytes are what was drawn."""

    def prepare():
        torch = import_module("torch")
        return lambda: draw(torch).numpy().tobytes()

    return prepare


def _dropout(torch):
    """Which of 64 values it left."""
    left = torch.nn.functional.dropout(torch.ones(64), 0.5) > 0
    return (left * 2 ** torch.arange(64)).sum().reshape(1)


def _uuid_utils():
    library = import_module("uuid_utils")
    return lambda: library.uuid4().bytes


def _apsw():
    connection = import_module("apsw").Connection(":memory:")
    return lambda: next(connection.execute("select randomblob(8)"))[0]


TABLE = (
    *(Surface(*one) for one in demo_surfaces.TABLE),
    # Only in clones of a machine.
    Surface("random_thread", "random in an old thread", "machine", lambda: _in_a_thread(random.Random().random)),
    Surface("ssl_thread", "ssl in an old thread", "machine", lambda: _in_a_thread(demo_surfaces.rand_bytes())),
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
    Surface("numpy", "numpy.random.bytes()", "memory", _numpy(lambda np: partial(np.bytes, 8)), library="numpy"),
    Surface("pcg64", "PCG64.random_raw()", "memory", _numpy(lambda np: np.PCG64().random_raw), library="numpy"),
    Surface(
        *("generator", "Generator.bytes()", "memory"),
        _numpy(lambda np: partial(np.default_rng().bytes, 8)),
        library="numpy",
    ),
    Surface("torch", "torch.rand()", "memory", _torch(lambda it: it.rand(1, dtype=it.float64)), library="torch"),
    Surface(
        *("random_", "torch.Tensor.random_()", "memory"),
        _torch(lambda it: it.empty(1, dtype=it.int64).random_()),
        library="torch",
    ),
    Surface(
        *("dropout", "dropout of torch", "memory"),
        _torch(_dropout),
        library="torch",
    ),
    Surface("tokenizers", "dropout of tokenizers", "memory", _tokenizers, library="tokenizers"),
    Surface("uuid_utils", "uuid_utils.uuid4()", "memory", _uuid_utils, library="uuid_utils"),
    Surface("apsw", "APSW randomblob()", "memory", _apsw, library="apsw"),
)
