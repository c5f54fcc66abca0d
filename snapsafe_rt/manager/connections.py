"""The manager's sockets and its clients, bounded in number and in memory.

There are two: one for everybody, and one that only root and the manager's own user may connect to. Whoever fills the
first with connections keeps nobody from the second: neither its backlog nor the descriptors that are spared for it.

One thread, one epoll(7). A client that waits for an answer, or does not read one, is not read from. The connection of
one that sends no valid message, or too long a one, is closed.
"""

import contextlib
import errno
import functools
import os
import socket
from array import array
from collections import Counter
from collections.abc import Callable

from snapsafe_rt import settings, varlink
from snapsafe_rt.manager import interface
from snapsafe_rt.manager.interface import Error, Reply
from snapsafe_rt.manager.loop import READ, WRITE, Loop
from snapsafe_rt.varlink import Malformed, trusted

CONNECTIONS_MOST = 4096  # by the socket for everybody, and no more than three of four descriptors
CONNECTIONS_OF_ONE_USER = 2048  # root and the manager's own user may have more
BUFFERED_MOST = 4 << 20  # bytes of unfinished requests, all connections together
UNSENT_MOST = 8 << 20  # bytes of answers that nobody reads, likewise; root and the manager's own user may have more
SMALL = 8192  # bytes that each connection may have in both, however full they are: nobody keeps others out
DESCRIPTORS_SPARED = 64
PAUSE_SECONDS = 1.0


class Connections:
    """Calls ended() for each client that goes. Raises OSError where the socket cannot be made."""

    def __init__(
        self, path: str, service: interface.Service, loop: Loop, ended: "Callable[[interface.Client], None]"
    ) -> None:
        self.buffered = self.unsent = 0
        self._ended = ended
        self._service = service
        self._loop = loop
        self._of_user: Counter[int] = Counter()
        self._all: set[Connection] = set()
        self._room = room = _descriptors() - DESCRIPTORS_SPARED
        # In this order: a program that is told of the second finds the first.
        trusted_door = Door(path + settings.TRUSTED, 0o600, room)
        self._doors = trusted_door, Door(path, 0o666, min(CONNECTIONS_MOST, room * 3 // 4))
        self._update()

    def __len__(self) -> int:
        return len(self._all)

    def _update(self) -> None:
        """Stop listening while no more clients are admitted: those that wait would wake us without pause."""
        for door in self._doors:
            wanted = door.count < door.most and len(self._all) < self._room and not door.paused
            if wanted and not door.accepting:
                self._loop.watch(door.listener, READ, functools.partial(self._accept, door))
            elif door.accepting and not wanted:
                self._loop.forget(door.listener)
            door.accepting = wanted

    def _accept(self, door: "Door", _: int) -> None:
        try:
            peer, _address = door.listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._pause(door)
            return  # the client went away again
        peer.setblocking(False)
        try:
            pid, uid = varlink.credentials(peer)
        except OSError:
            pid, uid = 0, -1
        if self._of_user[uid] >= CONNECTIONS_OF_ONE_USER and not trusted(uid):
            peer.close()
            return
        self._of_user[uid] += 1
        door.count += 1
        self._all.add(Connection(peer, uid, pid, door, self, self._service, self._loop))
        self._update()

    def _pause(self, door: "Door") -> None:
        """No descriptor or memory is left: stop listening for a moment, or each client that waits would wake us."""
        door.paused = True
        self._update()

        def resume() -> None:
            door.paused = False
            self._update()

        self._loop.later(PAUSE_SECONDS, resume)

    def gone(self, connection: "Connection") -> None:
        self._all.discard(connection)
        self._of_user[connection.uid] -= 1
        connection.door.count -= 1
        self._update()
        self._ended(connection)

    def close(self) -> None:
        """Close all connections, and remove the paths unless another manager has them by now."""
        for connection in list(self._all):
            connection.close()
        self._room = 0
        self._update()
        for door in self._doors:
            door.close()


class Door:
    """A socket, and how many clients may come by it. Raises OSError where it cannot be made."""

    def __init__(self, path: str, mode: int, most: int) -> None:
        self.most = most
        self.count = 0
        self.accepting = self.paused = False
        self._path = path
        self.listener = self._listen(mode)
        self._identity = _identity(path)

    def _listen(self, mode: int) -> socket.socket:
        """Bound beside the path and renamed to it, so that the socket of a manager that was killed is replaced in one
        step."""
        temporary = f"{self._path}.{os.getpid()}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            listener.bind(temporary)
            try:
                os.chmod(temporary, mode)
                listener.listen(1024)
                os.rename(temporary, self._path)
            except OSError:
                os.unlink(temporary)
                raise
        except OSError:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        self.listener.close()
        if _identity(self._path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


class Connection:
    """One client. Either a request is being received, or one waits for its answer, or an answer is being sent."""

    __slots__ = (
        "_answers",
        "_call",
        "_ended",
        "_loop",
        "_news",
        "_owner",
        "_peer",
        "_received",
        "_service",
        "_stale",
        "_too_much",
        "door",
        "pid",
        "uid",
    )

    def __init__(
        self,
        peer: socket.socket,
        uid: int,
        pid: int,
        door: Door,
        owner: Connections,
        service: interface.Service,
        loop: Loop,
    ) -> None:
        self.uid = uid
        self.pid = pid
        self.door = door
        self._peer = peer
        self._owner = owner
        self._service = service
        self._loop = loop
        self._received = b""
        self._answers: list[tuple[bytes, int | None]] = []
        self._call: interface.Call | None = None  # will be answered later
        self._news: Callable[[], Reply] | None = None  # or again and again
        self._stale = False  # there was news while the last was being sent
        self._too_much = False
        self._ended = False  # the client will send no more
        loop.watch(peer, READ, self.ready)

    def ready(self, mask: int) -> None:
        if not mask & (READ | WRITE) or self._too_much:  # hung up while it was waiting
            self.close()
            return
        try:
            if mask & WRITE:
                self._send()
            if mask & READ:
                self._receive()
            self._work()
        except BlockingIOError:
            pass
        except (OSError, Malformed):
            self.close()

    def _receive(self) -> None:
        part = self._peer.recv(interface.MESSAGE_MOST)  # recv(2) passes no descriptors: what is sent along is dropped
        self._ended = not part
        self._owner.buffered += len(part)
        self._received += part
        if self._owner.buffered > BUFFERED_MOST and len(self._received) > SMALL:
            raise Malformed("too much at once")

    def _work(self) -> None:
        while not self._answers and self._call is None:
            message, self._received = varlink.split(self._received)
            if message is None:
                break
            self._owner.buffered -= len(message) + 1
            self._call = call = interface.parse(message, self)
            outcome = self._service.answer(call)
            if outcome is not None:
                self.finish(outcome)
            if self._too_much:
                raise Malformed("answers that nobody reads")
            self._send()
        if len(self._received) > interface.MESSAGE_MOST and varlink.END not in self._received:
            raise Malformed("too long")
        if self._ended and not self._answers and self._call is None:
            self.close()
            return
        self._watch()

    def _watch(self) -> None:
        """While the client waits for an answer, only its hangup may wake us. EPOLLHUP comes unasked; READ would fire
        without pause once the client has closed its side."""
        self._loop.watch(self._peer, WRITE if self._answers else READ if self._call is None else 0, self.ready)

    def finish(self, outcome: "Reply | Error") -> None:
        call, self._call = self._call, None
        if call is not None:
            self._queue(interface.encode(call, outcome), outcome.fd if isinstance(outcome, Reply) else None)

    def follow(self, news: "Callable[[], Reply]") -> None:
        self._news = news
        self.tell()

    def tell(self) -> None:
        if self._call is None or self._news is None:
            return
        self._stale = bool(self._answers)
        if not self._stale:
            self._queue(interface.encode(self._call, self._news(), continues=True), None)

    def _queue(self, text: bytes, fd: "int | None") -> None:
        self._answers.append((text, fd))
        self._owner.unsent += len(text)
        self._too_much = len(text) > SMALL and self._owner.unsent > UNSENT_MOST and not trusted(self.uid)
        self._watch()

    def _send(self) -> None:
        while self._answers:
            text, fd = self._answers[0]
            along = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))] if fd is not None and text else []
            try:
                sent = self._peer.sendmsg([text], along, socket.MSG_NOSIGNAL) if text else 0
            except BlockingIOError:
                return
            if fd is not None:
                os.close(fd)
            self._owner.unsent -= sent
            self._answers[0] = (text[sent:], None)
            if sent == len(text):
                del self._answers[0]
            if not self._answers and self._stale:
                self.tell()

    def close(self) -> None:
        self._loop.forget(self._peer)
        self._peer.close()
        self._owner.buffered -= len(self._received)
        for text, fd in self._answers:
            self._owner.unsent -= len(text)
            if fd is not None:
                os.close(fd)
        self._received, self._answers = b"", []
        self._owner.gone(self)


def _identity(path: str) -> "tuple[int, int] | None":
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _descriptors() -> int:
    """How many descriptors this process may have, after asking for as many as are wanted."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS_MOST
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return min(soft, wanted)
