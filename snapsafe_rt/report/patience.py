"""How long a look at another process waits for it, and all looks together for the processes of one user.

A process may write its record without end: `settled` bounds that. It may also have memory that never answers, as of a
file of a FUSE file system whose server sleeps: then who reads its memory, its command line or the file waits in the
kernel. Where the server has taken the request, SIGKILL does not end that wait, and a program of which one thread waits
so cannot end either. So another process looks, which is left behind: `answers`.
"""

import contextlib
import os
import pickle
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from snapsafe_rt.errors import Failure
from snapsafe_rt.guards import scan
from snapsafe_rt.report import procfs

SETTLE_SECONDS = 1.0  # who writes may wait for a CPU
PATIENCE_SECONDS = 5.0  # of one command, for one user
QUICK = 20  # looks without a pause

# A look takes milliseconds. The first one at the libraries of torch reads a gigabyte, perhaps from a slow disk, and
# what it computes then is counted apart: a loaded machine is no silence. Who has waited that long for one process of a
# user waits less for the next ones, and in the end hardly at all: else that user's thousand processes hold up the
# command for hours.
ANSWER_SECONDS = 20.0
AGAIN_SECONDS = 1.0
BRIEF_SECONDS = 0.02
RUNNING_SECONDS = 60.0  # for one process, of which a bounded part is read
ENOUGH_SECONDS = 30.0  # of one command, for one user

T = TypeVar("T")
_LENGTH = struct.Struct("<Q")
_waited: dict[int, float] = {}  # seconds, by user
left: list[int] = []  # children that were killed, and perhaps have not ended yet


def begin() -> None:
    """A command does: nobody was waited for."""
    _waited.clear()
    _reap()


def waited() -> float:
    return sum(_waited.values())


def settled(user: int, attempt: Callable[[], "T | None"]) -> "T | None":
    """`attempt` until it returns something: None means that a writer was at work; it may have been stopped, or write
    without end so that nobody else's process is looked at. `user`: whose process it is."""
    for _ in range(QUICK):
        found = attempt()
        if found is not None:
            return found
    began = time.monotonic()
    until = began + min(SETTLE_SECONDS, PATIENCE_SECONDS - _waited.get(user, 0.0))
    while found is None and time.monotonic() < until:
        time.sleep(0.0005)
        found = attempt()
    _waited[user] = _waited.get(user, 0.0) + time.monotonic() - began
    return found


# ---- a process that looks ----


def answer(pid: int, look: Callable[[int], T]) -> T:
    """`look(pid)`, made by another process. Raises what it raises, and procfs.Silent."""
    [(_, outcome)] = answers([pid], look)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def answers(pids: Sequence[int], look: Callable[[int], T]) -> "Iterator[tuple[int, T | Exception]]":
    """Each process with what `look` returned or raised, or with procfs.Silent. Raises Failure where no process can be
    started that looks."""
    at = 0
    while at < len(pids):
        with contextlib.closing(_Looker(pids[at:], look)) as looker:
            for pid in pids[at:]:
                at += 1
                yield pid, looker.outcome(pid)
                if looker.lost:
                    break


def _reap() -> None:
    for child in left.copy():
        with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored
            if os.waitpid(child, os.WNOHANG)[0] == 0:
                continue
        left.remove(child)


class _Looker:
    """A child that looks at these processes, one after the other, and says of each what was seen."""

    def __init__(self, pids: Sequence[int], look: Callable[[int], Any]) -> None:
        self.lost = False
        self._awaited = len(pids)
        self._heard = bytearray()
        self._fd, end = os.pipe()
        try:
            self._child = os.fork()
        except OSError as error:
            os.close(self._fd)
            os.close(end)
            raise Failure(
                f"no process can be started that looks at others: {error.strerror}; raise the limit of processes "
                "(ulimit -u, or TasksMax= of the unit)"
            ) from None
        if not self._child:
            _look_at(pids, look, end)
        os.close(end)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def close(self) -> None:
        """Waits for it only where it has said all that it was asked."""
        os.close(self._fd)
        if self._awaited:
            os.kill(self._child, signal.SIGKILL)
            left.append(self._child)
            _reap()
        else:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, 0)

    def outcome(self, pid: int) -> Any:
        """What it says of the next one, which is `pid`."""
        waited, running, user, most = 0.0, 0.0, None, AGAIN_SECONDS
        while (told := self._told()) is None:
            over = waited >= most or running >= RUNNING_SECONDS
            if user is None and (over or _waited):
                user = procfs.ids(pid)[0]
                most = _most(_waited.get(user, 0.0))
            elif user is not None and over:
                self.lost = True
                _waited[user] = _waited.get(user, 0.0) + waited + running
                return procfs.Silent(
                    f"process {pid} does not answer: reading it waited {waited + running:.1f} s, as for a file system "
                    "(FUSE, NFS) whose server sleeps; end the process, or see to that server"
                )
            # Counted, not measured: this command may be stopped meanwhile, with the child, or the machine be.
            step = min(0.1, max(most - waited, 0.001))
            if not self._poll.poll(step * 1000):
                if self._runs():
                    running += step
                else:
                    waited += step
                continue
            data = os.read(self._fd, 1 << 16)
            if not data:
                self.lost = True
                return procfs.Silent(f"process {pid} was not looked at: who looked was ended, as by a lack of memory")
            self._heard += data
        self._awaited -= 1
        outcome, users, found = told
        _waited.update(users)
        scan.cache.update(found)
        return outcome

    def _runs(self) -> bool:
        """Does it work, or wait for a CPU alone? Who waits for an answer sleeps."""
        with contextlib.suppress(OSError), open(f"/proc/{self._child}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].startswith(b"R")
        return False  # it has ended, which its pipe tells

    def _told(self) -> Any:
        """None while a message is not whole."""
        if len(self._heard) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._heard)[0]
        if len(self._heard) < end:
            return None
        told = pickle.loads(self._heard[_LENGTH.size : end])  # noqa: S301 - made by our own child
        del self._heard[:end]
        return told


def _most(before: float) -> float:
    """How long to wait for a process of a user for whom this command has waited so long before."""
    return ANSWER_SECONDS if before < PATIENCE_SECONDS else AGAIN_SECONDS if before < ENOUGH_SECONDS else BRIEF_SECONDS


def _look_at(pids: Sequence[int], look: Callable[[int], Any], end: int) -> NoReturn:
    """What the child does. It may stay for ever, so it keeps nothing open for which somebody waits, as a pipe."""
    try:
        _let_go(end)
        for pid in pids:
            known = len(scan.cache)
            try:
                outcome = look(pid)
            except Exception as error:
                outcome = error
            found = list(scan.cache.items())[known:] if len(scan.cache) > known else ()
            data = pickle.dumps((outcome, _waited, found), pickle.HIGHEST_PROTOCOL)
            data = _LENGTH.pack(len(data)) + data
            while data:
                data = data[os.write(end, data) :]
    finally:
        os._exit(0)


def _let_go(kept: int) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        with contextlib.suppress(OSError):  # that of the listing is closed by now
            if number > 2 and number != kept and os.get_inheritable(number):
                os.close(number)
