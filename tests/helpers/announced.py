"""For programs under test: callbacks that note what was called, and waiting for a lock or for a phase."""

import os

import snapsafe_rt
from restored import until
from snapsafe_rt import sources

sources.MANAGER = os.environ.get("TEST_MANAGER", sources.MANAGER)
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
