"""Varlink messages, and whom to believe on the socket. Programs, commands and the manager all speak it by this module.

A message is a JSON object and a NUL on a Unix stream socket (https://varlink.org/). cython/connection.c alone looks at
the bytes itself: where a message ends, and whether it has an "error". The first message imports json: a start without
one does not pay for it.
"""

import os
import sys

from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MANAGER = "org.snapsafe.Manager."
SERVICE = "org.varlink.service."
END = b"\0"

_CREDENTIALS_SIZE = 12  # struct ucred: pid, uid, gid, ints


class Malformed(Exception):
    """Not a message: there is no telling where the next one would begin."""


def encode(message: "Mapping[str, Any]") -> bytes:
    import json

    return json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode() + END


def decode(message: bytes) -> "dict[str, Any]":
    """Of a message without its NUL. Raises Malformed."""
    import json

    try:
        found = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if not isinstance(found, dict):
        raise Malformed("not an object")
    if not isinstance(found.setdefault("parameters", {}), dict):
        if found["parameters"] is not None:
            raise Malformed("parameters that are no object")
        found["parameters"] = {}
    return found


def split(received: bytes) -> "tuple[bytes | None, bytes]":
    """The first message, None if it is not whole, and what follows it."""
    message, end, rest = received.partition(END)
    return (message, rest) if end else (None, received)


def call(method: str, parameters: "Mapping[str, Any] | None" = None, *, more: bool = False) -> bytes:
    """To the manager."""
    message: dict[str, Any] = {"method": MANAGER + method, "parameters": parameters or {}}
    return encode({**message, "more": True} if more else message)


def reply(message: bytes) -> "tuple[str, dict[str, Any]]":
    """The error's name without its interface, "" if it is none, and the parameters. Raises Malformed."""
    found = decode(message)
    name = str(found["error"]).rpartition(".")[2] or "unnamed" if "error" in found else ""
    return name, found["parameters"]


def credentials(peer: "Any") -> "tuple[int, int]":
    """pid and uid of the process that connected, or that listens there. Raises OSError."""
    import _socket  # socket imports enum and selectors

    found = peer.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS_SIZE)
    return int.from_bytes(found[:4], sys.byteorder), int.from_bytes(found[4:8], sys.byteorder)


def trusted(uid: int, *, outside: bool = False) -> bool:
    """Is it root's, or our own? Anybody may bind a socket somewhere, and who holds a counter still hides restores.

    `outside`: a manager outside the user namespace that we are in counts as well: the core's rule (cython/process.h).
    The manager itself does not go by that: in a user namespace each user who is not mapped has the same number.
    """
    return native.trusts(uid) if outside else uid in (0, os.geteuid())
