"""Prints which draws are not taken for the system's when they are a seed, of 2,000 of each kind, and of zeros."""

import base64
import hashlib
import os
import secrets
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
makes["uuid4, little"] = lambda: int.from_bytes(uuid.uuid4().bytes, "little")
print({name: times for name, make in makes.items() if (times := missed(make, 2000))})


def zeros():
    return next(draw for draw in iter(lambda: os.urandom(2), b"") if not any(draw))


print(missed(zeros, 1), missed(lambda: int.from_bytes(zeros(), "big"), 1))
