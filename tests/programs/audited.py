"""Draws in each way that an audit records, each at a line with the mark `#: WHAT`, and prints what it drew:
tests/process/test_audit.py finds the marks in the report, and none of the values."""

import os
import random
import secrets
import ssl
import tempfile
import uuid

import snapsafe_rt

CHOSEN = 0x5EED5EED5EED
VARIABLE = "AUDITED_SECRET"


def draws():
    yield random.random()  #: random.random
    yield random.randrange(1 << 60)  #: random.randrange
    yield random.Random().getrandbits(64)  #: random.getrandbits
    yield random.SystemRandom().getrandbits(64)  #: random.SystemRandom.getrandbits
    yield os.urandom(16)  #: os.urandom
    yield os.getrandom(16)  #: os.getrandom
    yield secrets.token_hex(16)  #: secrets.token_hex
    yield ssl.RAND_bytes(16)  #: ssl.RAND_bytes
    yield uuid.uuid4().hex  #: uuid.uuid4
    yield uuid.uuid1().hex  #: uuid.uuid1
    folder = tempfile.mkdtemp()  #: tempfile.mkdtemp
    yield os.path.basename(folder)[-8:]
    os.rmdir(folder)
    random.seed(CHOSEN)  #: random.seed
    yield random.Random(CHOSEN).random()  #: random.Random
    os.environ[VARIABLE] = "the value"
    yield os.environ[VARIABLE]  #: AUDITED_SECRET


@snapsafe_rt.per_generation
def node():
    return uuid.uuid4().hex  #: renewed


values = [*draws(), node(), CHOSEN]
for one in values:
    print(one.hex() if isinstance(one, bytes | float) else one)
    if isinstance(one, int | float):
        print(repr(one))
