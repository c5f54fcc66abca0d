"""The first things a program does after a restore: keys, a TLS handshake, identifiers, names. One draw of each."""

import contextlib
import email.utils
import os
import queue
import random
import secrets
import sqlite3
import ssl
import tempfile
import threading
import time
import uuid

import channel

server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.load_cert_chain("/etc/ssl/guest.pem")
client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE


def hello(flight):
    """Random, session id and key share of a ClientHello or ServerHello (RFC 8446 4.1) at the start of a flight."""
    at = 5 + 4 + 2  # record header, handshake header, version
    drawn, at = flight[at : at + 32], at + 32
    session, at = flight[at + 1 : at + 1 + flight[at]], at + 1 + flight[at]
    client = flight[5] == 1
    if client:
        at += 2 + int.from_bytes(flight[at : at + 2], "big")
        at += 1 + flight[at]
    else:
        at += 3
    end, share = at + 2 + int.from_bytes(flight[at : at + 2], "big"), b""
    at += 2
    while at < end:
        kind, size = int.from_bytes(flight[at : at + 2], "big"), int.from_bytes(flight[at + 2 : at + 4], "big")
        if kind == 51:
            share = flight[at + 4 : at + 4 + size]
        at += 4 + size
    return drawn, session, share


def handshake():
    """A client and a server, both here. What both draw, and a session ticket."""
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
    tickets = down.read()
    drawn = {"TLS session tickets": tickets}
    for side, flight in zip(("client", "server"), flights, strict=True):
        for name, value in zip(("random", "session id", "key share"), hello(flight), strict=True):
            drawn[f"TLS {side} {name}"] = value
    del drawn["TLS server session id"]  # the client's
    return drawn


def keys():
    """Of cryptography, where Debian has it for this Python: it shares ssl's libcrypto there."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    except ImportError:
        return {}
    return {
        "Ed25519 key": lambda: ed25519.Ed25519PrivateKey.generate().private_bytes_raw(),
        "EC key": lambda: ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value,
        "RSA key": lambda: rsa.generate_private_key(65537, 1024).private_numbers().p,
    }


def identity():
    value = uuid.uuid1()
    return value.node, value.clock_seq


def lived_through(draw):
    """draw() in a thread that lived through the snapshot."""
    asked, answers = queue.SimpleQueue(), queue.SimpleQueue()

    def serve():
        draw()
        while asked.get():
            answers.put(draw())

    threading.Thread(target=serve, daemon=True).start()
    return lambda: (asked.put(True), answers.get())[1]


database = sqlite3.connect(":memory:", check_same_thread=False)
own = random.Random()
surfaces = {
    "random.random": random.random,
    "Random() of its own": own.random,
    "random.gauss": lambda: random.gauss(0.0, 1.0),
    "random.shuffle": lambda: random.sample(range(52), 52),
    "random in an old thread": lived_through(random.Random().random),
    "os.urandom": lambda: os.urandom(16),
    "secrets.token_hex": secrets.token_hex,
    "uuid1 node + clock sequence": identity,
    "uuid1": uuid.uuid1,
    "uuid4": uuid.uuid4,
    "tempfile.mktemp": tempfile.mktemp,
    "email Message-ID": lambda: email.utils.make_msgid(domain="example.org").split(".")[2],  # before it: time, pid
    "SQLite randomblob": lambda: database.execute("select randomblob(16)").fetchone()[0],
    "ssl.RAND_bytes": lambda: ssl.RAND_bytes(16),
    "ssl in an old thread": lived_through(lambda: ssl.RAND_bytes(16)),
    "TLS": handshake,
    **keys(),
}
if hasattr(uuid, "uuid7"):
    surfaces["uuid7"] = uuid.uuid7

marker = channel.watch_marker()
for draw in surfaces.values():
    draw()
channel.send(ready=True, node=uuid.getnode(), status=channel.status())
before, order = marker[0], list(surfaces)
while marker[0] == before:  # each surface is the first in some snapshots; the clones of one begin alike
    following, until = random.SystemRandom().sample(order, len(order)), time.monotonic() + 0.02
    while marker[0] == before:
        if time.monotonic() > until:
            order = following
            break
drawn = {}
for name in order:
    value = surfaces[name]()
    drawn.update(value if isinstance(value, dict) else {name: value})
channel.send(drawn={name: str(value) for name, value in sorted(drawn.items())}, first=order[0], status=channel.status())
channel.wait_for_host()
