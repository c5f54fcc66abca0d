"""PATH WAY [inside]: a program puts something of its own in the place of a guard; prints the row and what is said.

`inside`: status() is asked before, as a program may that looks once at its start.
"""

import ctypes
import importlib.machinery
import importlib.util
import json
import os
import random
import secrets
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import types
import uuid
from unittest import mock

import snapsafe_rt

mine = random.Random(5)


def of_file(module, name):
    """The module of that file again, under another name, and not in sys.modules."""
    spec = importlib.util.spec_from_file_location(name, module.__file__)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


class Method(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("call", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def definition(builtin):
    """The PyMethodDef of a builtin or a method descriptor, after the head of the object or of the descriptor."""
    common = 0 if type(builtin) is type(len) else 3 * ctypes.sizeof(ctypes.c_void_p)
    head = object.__basicsize__ + common
    return Method.from_address(ctypes.c_void_p.from_address(id(builtin) + head).value)


def exchanged(builtin, other):
    """As time-machine does it: the object stays, what it calls does not."""
    definition(builtin).call = definition(other).call


def called(builtin):
    """Where CPython looks for how to call this builtin function: the last word of it."""
    return ctypes.c_void_p.from_address(id(builtin) + type(builtin).__basicsize__ - ctypes.sizeof(ctypes.c_void_p))


@ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
def same_bytes(function, arguments, count, names):
    return bytes(8)


def called_as_mine(builtin):
    called(builtin).value = ctypes.cast(same_bytes, ctypes.c_void_p).value


def copy_of(name):
    """The extension once more, from a file of its own, as a package that ships it does."""
    module = sys.modules[name]
    if not hasattr(module, "__file__"):
        print(f"{name} is built into this Python")
        sys.exit(77)
    path = shutil.copy(module.__file__, tempfile.mkdtemp())
    spec = importlib.util.spec_from_file_location(
        f"vendored.{name}", path, loader=importlib.machinery.ExtensionFileLoader(f"vendored.{name}", path)
    )
    made = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)


def own_method():
    import own_method

    own_method.take()


def code():
    uuid.uuid4.__code__ = (lambda: uuid.UUID(int=4)).__code__


def constant(*_):
    return 5


def taken(owner, **names):
    """The program puts something of its own there."""

    def take():
        try:
            for name, value in names.items():
                setattr(owner, name, value)
        except TypeError as immutable:
            print(immutable)
            sys.exit(77)

    return take


def recoded(function):
    """The object stays, its code does not."""
    code = function.__code__.replace(co_name="another") if function.__closure__ else (lambda *_: 5).__code__
    return lambda: setattr(function, "__code__", code)


def fake(name, **names):
    made = types.ModuleType(name)
    vars(made).update(names)
    return lambda: sys.modules.update({name: made})


def undone_mocks():
    for owner, name in (
        (random, "random"),
        (random.Random, "random"),
        (random.SystemRandom, "getrandbits"),
        (secrets, "token_hex"),
        (secrets, "_sysrand"),
        (uuid, "UUID"),
        (uuid, "os"),
        (uuid.UUID, "__init__"),
    ):
        with mock.patch.object(owner, name, constant):
            said = snapsafe_rt.status()
        assert not said.protected, (owner, name)
    with mock.patch.dict(sys.modules, random=types.ModuleType("random")):
        assert not snapsafe_rt.status().protected


WAYS = {
    "nothing": (lambda: None, ""),
    "os.urandom": (lambda: setattr(os, "urandom", mine.randbytes), "os"),
    "os.getrandom": (lambda: setattr(os, "getrandom", mine.randbytes), "os"),
    "posix.urandom, what it calls": (lambda: exchanged(sys.modules["posix"].urandom, os.strerror), "os"),
    "os.urandom, how it is called": (lambda: called_as_mine(os.urandom), "os"),
    "random.random, how it is called": (lambda: called_as_mine(random.random), "random"),
    "a copy of _random": (lambda: copy_of("_random"), "random"),
    "a copy of _sqlite3": (lambda: copy_of("_sqlite3"), "sqlite3"),
    "secrets.token_bytes": (lambda: setattr(secrets, "token_bytes", mine.randbytes), "os"),
    "uuid.uuid1": (lambda: setattr(uuid, "uuid1", lambda: uuid.UUID(int=1)), "uuid"),
    "uuid.uuid4": (lambda: setattr(uuid, "uuid4", lambda: uuid.UUID(int=1)), "uuid"),
    "uuid.uuid4, its code": (code, "uuid"),
    "uuid.getnode": (lambda: setattr(uuid, "getnode", lambda: 1), "uuid"),
    "random.random": (lambda: setattr(random, "random", mine.random), "random"),
    "random.gauss": (lambda: setattr(random, "gauss", mine.gauss), "random"),
    "random.Random.gauss": (lambda: setattr(random.Random, "gauss", lambda *_: 0.5), "random"),
    "random.Random.shuffle": (lambda: setattr(random.Random, "shuffle", lambda *_: None), "random"),
    "random._urandom": (lambda: setattr(random, "_urandom", mine.randbytes), "random"),
    "_random.Random.random, what it calls": (
        lambda: exchanged(sys.modules["_random"].Random.random, dict.keys),
        "random",
    ),
    "ssl.RAND_bytes": (lambda: setattr(ssl, "RAND_bytes", mine.randbytes), "openssl"),
    "libcrypto's method": (own_method, "openssl"),
    "sqlite3.Cursor.execute, what it calls": (lambda: exchanged(sqlite3.Cursor.fetchone, dict.keys), "sqlite3"),
}

base = random.Random.__base__
# Seen by the process itself; from outside as soon as it has looked.
INSIDE = {
    "_random.Random.getrandbits": (taken(base, getrandbits=constant), "random"),
    "random.Random.getrandbits": (taken(random.Random, getrandbits=constant), "random"),
    "random.Random.__init__": (taken(random.Random, __init__=constant), "random"),
    "random.Random.__getattribute__": (taken(random.Random, __getattribute__=constant), "random"),
    "random.Random._randbelow": (taken(random.Random, _randbelow=constant), "random"),
    **{
        f"random.SystemRandom.{name}": (taken(random.SystemRandom, **{name: constant}), "random")
        for name in ("random", "getrandbits", "randbytes", "choice", "_randbelow")
    },
    "random.SystemRandom": (taken(random, SystemRandom=random.Random), "random"),
    **{
        f"random.Random.{name}, its code": (recoded(getattr(random.Random, name)), "random")
        for name in ("_randbelow", "__init__", "randbytes", "seed", "choice")
    },
    "random.SystemRandom.getrandbits, its code": (recoded(random.SystemRandom.getrandbits), "random"),
    "the module random": (fake("random", random=mine.random), "random"),
    "secrets._sysrand": (taken(secrets, _sysrand=mine), "os"),
    "secrets.SystemRandom": (taken(secrets, SystemRandom=random.Random), "os"),
    "secrets.choice": (taken(secrets, choice=mine.choice), "os"),
    "secrets.randbits": (taken(secrets, randbits=mine.getrandbits), "os"),
    "secrets.randbelow": (taken(secrets, randbelow=constant), "os"),
    "secrets._sysrand.getrandbits": (taken(secrets._sysrand, getrandbits=constant), "os"),
    "secrets.token_hex, its code": (recoded(secrets.token_hex), "os"),
    "the module secrets": (fake("secrets", token_hex=constant), "os"),
    "tempfile, by its class": (taken(tempfile._RandomNameSequence, __next__=constant), "random"),
    "the module _random": (fake("_random", Random=type("Random", (), {"random": constant})), "random"),
    "the class of the module random": (taken(random, __class__=type("Own", (types.ModuleType,), {})), "random"),
    "the class of the module uuid": (taken(uuid, __class__=type("Own", (types.ModuleType,), {})), "uuid"),
    "the class of the module ssl": (taken(ssl, __class__=type("Own", (types.ModuleType,), {})), "openssl"),
    "the class of the module secrets": (taken(secrets, __class__=type("Own", (types.ModuleType,), {})), "os"),
    "tempfile, by its function": (taken(tempfile, _get_candidate_names=constant), "random"),
    "tempfile, by its function's code": (recoded(tempfile._get_candidate_names), "random"),
    "tempfile, by its class's code": (recoded(tempfile._RandomNameSequence.__next__), "random"),
    "tempfile, by its generator": (taken(tempfile, _Random=types.SimpleNamespace), "random"),
    "ssl.RAND_bytes, a builtin": (taken(ssl, RAND_bytes=len), "openssl"),
    "tempfile, another class": (taken(tempfile, _RandomNameSequence=type("Own", (), {})), "random"),
    "the module tempfile": (fake("tempfile", mkdtemp=constant), "random"),
    "the module ssl": (fake("ssl", RAND_bytes=constant), "openssl"),
    "another module ssl": (fake("ssl", __getattr__=constant), "openssl"),
    "the module _ssl": (fake("_ssl", RAND_bytes=constant), "openssl"),
    "tempfile, by its sequence": (taken(tempfile, _name_sequence=iter("abc")), "random"),
    "uuid.os": (taken(uuid, os=types.SimpleNamespace(urandom=bytes)), "uuid"),
    "uuid.UUID": (taken(uuid, UUID=constant), "uuid"),
    "uuid.UUID.__init__": (taken(uuid.UUID, __init__=constant), "uuid"),
    "the module uuid": (fake("uuid", **{**vars(uuid), "uuid4": constant}), "uuid"),
    "another module uuid": (fake("uuid", __getattr__=constant), "uuid"),
}
# What ordinary programs do, and undo.
HARMLESS = {
    "a method of the program's own": taken(random.Random, coin=constant),
    "a subclass": lambda: type("Own", (random.Random,), {"random": constant, "getrandbits": constant})(),
    "mocks, undone": undone_mocks,
    "a clock": taken(__import__("time"), time_ns=constant),
    "uuid.UUID's attributes": taken(uuid.UUID, __json__=constant),
}

if __name__ == "__main__":
    path, way, *asked = sys.argv[1:]
    take, row = {**WAYS, **INSIDE, **{name: (done, "") for name, done in HARMLESS.items()}}[way]
    if "inside" in asked:
        snapsafe_rt.status()
    take()
    told = subprocess.run(
        [sys.executable, "-I", "-m", "snapsafe_rt", "status", "--json", "--pid", str(os.getpid())],
        env={name: value for name, value in os.environ.items() if not name.startswith("SNAPSAFE")},
        capture_output=True,
        text=True,
        check=False,
    )
    outside = json.loads(told.stdout)
    inside = snapsafe_rt.status().as_dict()
    for said in (outside, inside):
        bad = {one["name"]: one["note"] for one in said["subsystems"] if one["protection"] == "unprotected"}
        print(json.dumps({"row": row, "protected": said["protected"], "unprotected": bad}), flush=True)
    os._exit(0)  # what was exchanged is not fit for an orderly end
