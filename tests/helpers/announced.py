"""For programs under test: callbacks that note what was called, and waiting for a lock or for a phase."""

import os

from restored import until

import snapsafe_rt
from snapsafe_rt import settings

settings.MANAGER = os.environ.get("TEST_MANAGER", settings.MANAGER)
calls = []


def note(name, error=None):
    def callback():
        calls.append(name)
        if error is not None:
            raise error

    callback.__qualname__ = name
    return callback


def pair(name, error=None):
    """before, after_in_original and after_in_clone that note "before NAME", ..."""
    snapsafe_rt.register_at_snapshot(
        before=note(f"before {name}", error),
        after_in_original=note(f"original {name}"),
        after_in_clone=note(f"clone {name}"),
    )


def lifecycle():
    return snapsafe_rt.status().lifecycle


def locked():
    assert until(lambda: lifecycle()["lock"]), lifecycle()
    return True


def phase(name):
    assert until(lambda: lifecycle()["phase"] == name), lifecycle()
    return True


def taken():
    """And empties the list."""
    found = calls[:]
    calls.clear()
    return found


def logged(name):
    """The same into the file of TEST_LOG, with the process."""

    def callback():
        fd = os.open(os.environ["TEST_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{os.getpid()} {name}\n".encode())
        os.close(fd)

    return callback


def logged_pair(name):
    snapsafe_rt.register_at_snapshot(
        before=logged(f"before {name}"),
        after_in_original=logged(f"original {name}"),
        after_in_clone=logged(f"clone {name}"),
    )


def ask(*methods):
    """The manager, from within. Each method with its parameters, or alone."""
    import json
    import socket

    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(settings.MANAGER)
        for method, parameters in ((one, {}) if isinstance(one, str) else one for one in methods):
            message = {"method": f"org.snapsafe.Manager.{method}", "parameters": parameters}
            peer.sendall(json.dumps(message).encode() + b"\0")
            text = b""
            while not text.endswith(b"\0"):
                text += peer.recv(65536)
            assert b'"error"' not in text, text
