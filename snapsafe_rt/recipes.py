"""Callbacks for what a restore breaks besides randomness: connections whose other end is gone, credentials and settings
that were handed to another machine. Each function here registers one, and returns it for unregister().
docs/reconnect.md says which library needs which.

Nothing is imported for a library before its function is called.
"""

import contextlib
import errno
import os
import stat

from snapsafe_rt.restore import affinity
from snapsafe_rt.restore.registration import register_after_restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["botocore", "connections", "environment"]

_TURNS = 10  # of an asyncio loop, until a protocol (of TLS, over another one) has heard of the end that the loop sees
_LISTENS = "0A"  # the state's name in /proc/net/tcp


# ---- connections ----


def connections(*, local: bool = False) -> "Callable[[], Any]":
    """After each restore, end every TCP connection that this process opened: who waits for its answer, or takes it from
    a pool, sees the end at once, and connects anew as after any loss.

    Without it a clone waits for a peer that has never heard of it, up to a quarter of an hour. It is shutdown(2):
    nothing is closed, so the library that owns a connection still does that, in its own thread. Left alone are
    connections that were accepted, which are known by a local port at which somebody in this network namespace listens:
    the request that calls check() may have come by one. So are Unix sockets, and, unless `local`, connections to
    127.0.0.0/8 and ::1, since their peer was restored, too.

    What was opened since the restore, before the callback ran, is ended as well: register this first. Registered in a
    coroutine it runs on that loop, which has seen the ends before acheck() returns; elsewhere in the thread that calls
    check(), or on the runner. A forked child does it for what it has open. Not for copies of a process that share their
    sockets with it (fork, clone): they would end the original's.

    The callback raises OSError where /proc cannot be read or no descriptor is left; then some may not be ended.
    """

    def end() -> None:
        import _socket  # not socket, which gevent and others replace

        accepting = set(_listening())
        for sock, own, peer in _connected():
            if own[1] not in accepting and (local or not _is_loopback(peer[0])):
                with contextlib.suppress(OSError):  # its peer was quicker
                    sock.shutdown(_socket.SHUT_RDWR)

    async def end_on_loop() -> None:
        import asyncio

        end()
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    return register_after_restore(end if affinity.running_loop() is None else end_on_loop)


def _connected() -> "Iterator[tuple[socket, tuple[Any, ...], tuple[Any, ...]]]":
    """Each connected TCP socket of this process, by a descriptor of our own, and its two addresses."""
    import _socket

    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            copy = os.dup(int(name))
        except OSError as error:
            if error.errno != errno.EBADF:  # else it was closed meanwhile
                raise
            continue
        try:
            # Called non-blocking, else Python makes it so, for its owner too, where there is a default timeout.
            sock = _socket.socket(type=_socket.SOCK_STREAM | _socket.SOCK_NONBLOCK, fileno=copy)
        except OSError:  # of a family that Python does not know
            os.close(copy)
            continue
        try:
            is_stream = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE) == _socket.SOCK_STREAM
            if is_stream and sock.family in (_socket.AF_INET, _socket.AF_INET6):
                try:
                    addresses = sock.getsockname(), sock.getpeername()
                except OSError:  # not connected
                    continue
                yield sock, *addresses
        finally:
            sock.close()


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.removeprefix("::ffff:").startswith("127.")


def _listening() -> "Iterator[int]":
    """The ports at which somebody in this network namespace listens."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/self/net/{name}") as file:
                next(file)
                for line in file:
                    _, own, _, state, *_ = line.split()
                    if state == _LISTENS:
                        yield int(own.rpartition(":")[2], 16)
        except FileNotFoundError:  # no IPv6
            if name == "tcp":
                raise


# ---- credentials and settings ----


def botocore(session: "Any") -> "Callable[[], None]":
    """After each restore, have the credentials of a boto3 or botocore session read again. Its clients keep their
    object.

    What comes from a service (a container's or an instance's role, an assumed role) is asked for by the next request
    that is signed, in its thread. What comes from the environment or a file is read in the callback: register
    environment() before. A thread that signs meanwhile may take half of the old ones: call check() first. Connections
    are not touched: see connections(), or register client.close. A forked child reads them again for itself. Any
    thread.

    Raises TypeError if it is no session, RuntimeError if this version of botocore keeps credentials in another way. The
    callback raises botocore's NoCredentialsError where there are none any more.
    """
    inner = getattr(session, "_session", session)  # of boto3's
    if not hasattr(inner, "get_component") or not hasattr(inner, "get_credentials"):
        raise TypeError(f"a session of boto3 or botocore is needed, not {type(session).__name__}")
    from botocore.credentials import RefreshableCredentials  # type: ignore[import-not-found, unused-ignore]
    from botocore.exceptions import NoCredentialsError  # type: ignore[import-not-found, unused-ignore]

    def check(credentials: "Any") -> None:
        for name in ("_expiry_time",) if isinstance(credentials, RefreshableCredentials) else ("access_key", "token"):
            if credentials is not None and not hasattr(credentials, name):
                raise RuntimeError(f"this version of botocore keeps no {name} in its {type(credentials).__name__}")

    def read_again() -> None:
        credentials = session.get_credentials()
        if credentials is None:
            return  # and the next who asks looks for some
        check(credentials)
        if isinstance(credentials, RefreshableCredentials):
            import datetime

            credentials._expiry_time = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
            return
        found = inner.get_component("credential_provider").load_credentials()
        if found is None:
            raise NoCredentialsError
        for name, value in found.get_frozen_credentials()._asdict().items():
            setattr(credentials, name, value)

    check(session.get_credentials())
    return register_after_restore(read_again)


def environment(path: "str | os.PathLike[str]") -> "Callable[[], None]":
    """Put what the file says into os.environ, now and after each restore: whoever restores hands each clone its own.

    A line is NAME=value; empty ones and those that begin with # are skipped, and a pair of quotes around the value is
    taken off. A name that the file had before and has no more is deleted. The whole file is read before a variable
    changes. What was made of a variable (a client, a key) is the program's to make anew: register that afterwards.

    Raises OSError where the file cannot be read, and ValueError, which names the line and shows nothing of it; so does
    the callback, and then the variables stay as they were. Any thread, but C code that calls getenv(3) meanwhile is not
    safe from it, as from every change of os.environ. A forked child reads the file for itself.
    """
    path = os.path.abspath(path)
    had: set[str] = set()

    def read() -> None:
        found = dict(_settings(path))
        for name in had - found.keys():
            os.environ.pop(name, None)
        os.environ.update(found)
        had.clear()
        had.update(found)

    read()
    return register_after_restore(read)


def _settings(path: str) -> "Iterator[tuple[str, str]]":
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, equals, value = line.partition("=")
            if not equals or not name.isidentifier() or "\0" in value:
                raise ValueError(f"{path}, line {number}: not NAME=value")
            try:
                line.encode()
                os.fsencode(line)
            except UnicodeEncodeError:  # whose words show some of it, and which keeps all
                raise ValueError(f"{path}, line {number}: not UTF-8, or not of this process's encoding") from None
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            yield name, value
