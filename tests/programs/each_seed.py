"""Prints which draws are not taken for the system's as seeds, of 2,000 of each kind, of zeros, and of many at once."""

import base64
import datetime
import hashlib
import os
import random
import secrets
import time
import uuid

from snapsafe_rt.core import native


def number(seed):
    """What Random.seed() makes of it."""
    if isinstance(seed, str):
        seed = seed.encode()
    return seed if isinstance(seed, int) else int.from_bytes(seed + hashlib.sha512(seed).digest(), "big")


def missed(make, times):
    return sum(not native.is_of_system(number(make())) for _ in range(times))


makes = {}
for n in range(2, 20):
    makes |= {
        f"bytes {n}": lambda n=n: os.urandom(n),
        f"big {n}": lambda n=n: int.from_bytes(os.urandom(n), "big"),
        f"little {n}": lambda n=n: int.from_bytes(os.urandom(n), "little"),
        f"hex {n}": lambda n=n: secrets.token_hex(n),
        f"urlsafe {n}": lambda n=n: secrets.token_urlsafe(n),
        f"base64 {n}": lambda n=n: base64.b64encode(os.urandom(n)),
    }
for bits in (*range(9, 72), 100, 127, 250):
    makes |= {
        f"randbits {bits}": lambda bits=bits: secrets.randbits(bits),
        f"str of {bits}": lambda bits=bits: str(secrets.randbits(bits)),
        f"hex of {bits}": lambda bits=bits: hex(secrets.randbits(bits)),
    }
for end in (300, 10**4, 2**16, 10**6, 2**32, 10**18):
    makes[f"randbelow {end}"] = lambda end=end: secrets.randbelow(end)
for size in (2, 4, 8, 16):
    makes[f"signed {size}"] = lambda size=size: int.from_bytes(os.urandom(size), "little", signed=True)
for end in (10**4, 10**6, 10**9, 2**31):
    makes[f"randint(1, {end})"] = lambda end=end: random.SystemRandom().randint(1, end)
makes |= {
    "uuid4, little": lambda: int.from_bytes(uuid.uuid4().bytes, "little"),
    "uuid4 % (2**32 - 1)": lambda: uuid.uuid4().int % (2**32 - 1),
    "uuid4 % 2**31": lambda: uuid.uuid4().int % 2**31,
    "4 bytes % 2**31": lambda: int.from_bytes(os.urandom(4), "little") % 2**31,
    "8 bytes % (2**32 - 1)": lambda: int.from_bytes(os.urandom(8), "big") % (2**32 - 1),
    "the first 16 of 32": lambda: int.from_bytes(os.urandom(32)[:16], "big"),
    "the first digits of 32": lambda: secrets.token_hex(32)[:32],
    "a file's name": lambda: (f"{uuid.uuid4()}.json", uuid.uuid4())[0],
    "a job's name": lambda: (f"job-{uuid.uuid4()}", uuid.uuid4())[0],
    "a token with a suffix": lambda: f"{secrets.token_hex(16)}.txt",
    "a token in a sentence": lambda: f"the seed is <{secrets.token_hex(16)}>.",
    "base64 with its newline": lambda: base64.encodebytes(os.urandom(16)),
    "process and time": lambda: f"{os.getpid()}.{time.time_ns()}",
    "a name and a date": lambda: f"run-{datetime.datetime.now().isoformat()}",
    "a date without separators": lambda: int(datetime.datetime.now().strftime("%Y%m%d%H%M%S")),
}
print({name: times for name, make in makes.items() if (times := missed(make, 2000))})


def zeros():
    return next(draw for draw in iter(lambda: os.urandom(2), b"") if not any(draw))


print(missed(zeros, 1), missed(lambda: int.from_bytes(zeros(), "big"), 1))


def of_many(make, count=60):
    made = [make() for _ in range(count)]
    return sum(not native.is_of_system(number(seed)) for seed in made)


print(sum(of_many(lambda: secrets.randbits(64)) + of_many(lambda: uuid.uuid4().int) for _ in range(20)))
