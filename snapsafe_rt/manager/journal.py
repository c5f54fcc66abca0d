"""The manager's log: on stderr, or with fields of its own where that is systemd's journal (systemd.journal-fields(7)).

The journal's own protocol: a datagram of NAME=value lines on its socket (systemd's JOURNAL_NATIVE_PROTOCOL).
"""

import contextlib
import os
import socket
import struct
import sys

SOCKET = "/run/systemd/journal/socket"
INFO, WARNING = 6, 4  # of syslog(3)


def say(text: str) -> None:
    """A problem. What cannot be written is dropped: nobody reads it any more, and the machine may be in the middle of a
    snapshot."""
    if not note(text, WARNING):
        with contextlib.suppress(OSError):
            print(f"snapsafe manager: {text}", file=sys.stderr, flush=True)


def note(text: str, priority: int = INFO, **fields: "int | str") -> bool:
    """For the journal alone. False where there is none."""
    told: dict[str, int | str] = {"MESSAGE": text, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "snapsafe"}
    return _is_journal() and _send({**told, **fields})


def _is_journal() -> bool:
    """Does systemd read our stderr? It says so by JOURNAL_STREAM, which a child that is redirected inherits as well."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _send(fields: "dict[str, int | str]") -> bool:
    message = b""
    for name, value in fields.items():
        data = str(value).encode("utf-8", "backslashreplace")
        length = b"\n" + struct.pack("<Q", len(data)) if b"\n" in data else b"="
        message += name.encode() + length + data + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
            peer.sendto(message, socket.MSG_DONTWAIT, SOCKET)
    except OSError:  # also without a descriptor that is free
        return False
    return True
