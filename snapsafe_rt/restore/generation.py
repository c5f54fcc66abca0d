"""The epoch, entropy, and values that live for one generation."""

import sys

from snapsafe_rt.core import CachedOnce, native
from snapsafe_rt.source import probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

run_event: "Callable[[Callable[[], object]], int] | None" = None
"""Runs the restore event after a first step, and returns the epoch; snapsafe_rt.restore.events puts it here."""

_HOST_STREAM = 65536  # bytes made of the host's; a Random instance takes 2,496 of them, a DRBG 48


def epoch() -> int:
    """How many restores this process has seen, after a look at the source; 0 at start.

    Each clone counts for itself: the number tells "before" from "after", never one clone from another. Any thread; a
    forked child goes on from its parent's number. Also looks for a source, at most once a second, while the best one
    is missing.
    """
    if native is None:
        return 0
    probe.probe()
    return native.epoch()


def entropy(n: int) -> bytes:
    """n bytes that differ in every clone, also right after a restore when the kernel may still repeat itself.

    Kernel bytes; while the fence is up XOR the CPU's or the host's stream. Drawn wholly in one epoch. Without the
    native core these are os.urandom's. Raises ValueError for a negative n, OSError where nothing gives entropy. Any
    thread.
    """
    if native is None:
        import os

        return os.urandom(n)
    return native.entropy(n)


def notify_restored(entropy: bytes = b"") -> int:
    """Tell this process that it was restored, where no counter can: advances the epoch, then does what check() does.

    `entropy`: bytes the host made for this clone alone; they are mixed into everything drawn while the fence is up,
    and fed to the kernel where that is permitted. Call it before anything else after the restore, in one thread: draws
    of other threads from then on are renewed. Returns the epoch. Raises TypeError if entropy is not bytes-like, and
    what callbacks raised as check() does.
    """
    host = bytes(memoryview(entropy))
    if native is None:
        return 0
    if run_event is None:  # nobody registered anything, and the package may not be read any more since privileges fell
        sys.audit("snapsafe.restore", _advance(host))
        return native.epoch()
    return run_event(lambda: _advance(host))


def _advance(host: bytes) -> int:
    if not host:
        return native.advance()
    stream = _expand(host)
    while True:
        expected = native.epoch() + 1
        native.host_entropy(stream, expected)
        if native.advance() == expected:
            break  # else a restore came in between, and the stream belongs to the epoch after it
    try:  # noqa: SIM105 - contextlib is not imported at start-up
        native.reseed_kernel(_expand(host + b"kernel", 64), 0)
    except OSError:
        pass  # not permitted: the fence stays up and the stream does the work
    return expected


def _expand(host: bytes, size: int = _HOST_STREAM) -> bytes:
    try:
        from _sha3 import shake_256  # type: ignore[import-not-found]  # hashlib would load OpenSSL
    except ImportError:
        from hashlib import shake_256
    stream: bytes = shake_256(host).digest(size)
    return stream


def per_generation(factory: "Callable[[], T]") -> "Callable[[], T]":
    """A callable that returns factory()'s value, made anew in each generation: for node ids, nonces' prefixes, keys.

    Also a decorator. The value is looked up against the source on each call, so no clone gets its template's. One
    thread runs the factory, others wait; a value made while a restore happened is thrown away and made again. An
    exception of the factory is passed on and nothing is kept. A forked child keeps its parent's value. Raises
    TypeError if not callable.
    """
    if native is None:
        return CachedOnce(factory)
    return native.PerGeneration(factory)
