"""os.urandom and secrets: inside the fence they are mixed with the CPU's stream, outside only checked."""

from benchmarks.case import Case

URANDOM = "from os import urandom"
TOKEN = "from secrets import token_bytes"
DEVICE = """
device = open("/dev/urandom", "rb", buffering=0)
urandom = device.read
"""
DOWN, UP = "fence() is False", "fence() is True"

CASES = [
    Case(
        "os.urandom(16), fence down",
        "urandom(16)",
        URANDOM,
        source="reseeded",
        stays=DOWN,
        ratio=1.02,
        more=3,
        counted=True,
    ),
    Case(
        "os.getrandom(16), fence down",
        "getrandom(16)",
        "from os import getrandom",
        source="reseeded",
        stays=DOWN,
        counted=True,
    ),
    Case(
        "secrets.token_bytes(16), fence down",
        "token_bytes(16)",
        TOKEN,
        source="reseeded",
        stays=DOWN,
        ratio=1.02,
        more=3,
    ),
    Case("os.urandom(16), fence up", "urandom(16)", URANDOM, stays=UP, more=150, counted=True),
    Case("secrets.token_bytes(16), fence up", "token_bytes(16)", TOKEN, stays=UP, more=150),
    Case("os.urandom(16), fence up, against reading /dev/urandom", "urandom(16)", URANDOM, rival=DEVICE),
]
