"""Clones of a running interpreter, as a restored snapshot makes them, without a virtual machine.

A template process runs `prepare`; each clone then is a copy of its memory, made by the raw clone system call, so that
no at-fork handler of any library runs. Template and clones are pid 1 of a pid namespace of their own, so the pid is
the same too. Nothing tells the clone that it is one, except the source's generation.

Three ways, the first that the kernel permits (`Clones.isolation`):
    "namespace"  CLONE_NEWPID, as root
    "user"       inside a user namespace, as an ordinary user
    "none"       no namespace: the pids differ, and whatever looks at its pid (OpenSSL, tempfile) notices

What clones of a process cannot show: they share the live kernel, so os.urandom never repeats; memory marked
MADV_WIPEONFORK is wiped; only the calling thread is there.
"""

import contextlib
import ctypes
import os
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from snapsafe_rt.source.vmclock_file import FileSource

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
WAYS = {"namespace": CLONE_NEWPID, "user": CLONE_NEWPID | CLONE_NEWUSER, "none": 0}
PARALLEL = 4 * (os.cpu_count() or 1)
TIMEOUT = 60.0

_FRAME = struct.Struct("<iiQQ")  # number, status, bytes of output, bytes of stderr
_GOES_ON, _NOT_PERMITTED, _BROKE = -1, -2, -3  # numbers of frames that are about the template itself
_TIMED_OUT = 1 << 16

# PyDLL, not CDLL: the clone must come out holding the GIL.
_libc = ctypes.PyDLL(None, use_errno=True)


class Clone(NamedTuple):
    number: int
    status: int
    output: bytes
    stderr: bytes

    def __str__(self) -> str:
        if self.status == _TIMED_OUT:
            ended = "did not finish in time"
        elif os.WIFSIGNALED(self.status):
            ended = f"was killed by signal {os.WTERMSIG(self.status)} ({signal.strsignal(os.WTERMSIG(self.status))})"
        else:
            ended = f"exited with {os.waitstatus_to_exitcode(self.status)}"
        said = self.stderr.decode(errors="replace").strip()
        return f"clone {self.number} {ended}" + (f":\n{said}" if said else "")


class CloneError(RuntimeError):
    """`prepare` failed, or the clone that `clone` holds."""

    def __init__(self, message: str, clone: Clone | None = None) -> None:
        super().__init__(message)
        self.clone = clone


class Clones(list[bytes]):
    """What each clone returned, by its number; and how they were made."""

    isolation = ""
    seconds = 0.0

    @property
    def same_pid(self) -> bool:
        """False where rows that depend on the pid prove nothing."""
        return self.isolation != "none"


def run_clones(
    count: int,
    body: Callable[[int], bytes],
    *,
    prepare: Callable[[], object] | None = None,
    source: FileSource | None = None,
    parallel: int = PARALLEL,
    timeout: float = TIMEOUT,
    isolation: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Clones:
    """Fork a template, run `prepare` in it, clone it `count` times; `body(number)` in each clone returns its bytes.

    `source`: before its body each clone writes it, all of them the same new generation, as restores of one snapshot do.
    `progress` is called with the number of clones that are done. `timeout` holds for `prepare` and for each clone.
    The calling process stays as it is, and nothing that was started outlives the call. Raises CloneError, at the first
    clone that ends badly.

    The template is a fork: what its at-fork handlers renewed (OpenSSL's state, `random`) must be used once in `prepare`
    to be in every clone alike. One with callbacks wants SNAPSAFE_WATCH=0: its own watcher would notice what the first
    clone writes, and renew it for the later ones. A clone that is pid 1 ignores the signals that it sends itself,
    unless it handles them.
    """
    refused = []
    for way in [isolation] if isolation else WAYS:
        reader, writer = os.pipe()
        keeper = _fork()
        if keeper == 0:
            os.close(reader)
            _be_the_keeper(_Template(writer, WAYS[way], count, body, prepare, source, parallel, timeout))
        began = time.monotonic()
        try:
            os.close(writer)
            _own_group(keeper)
            clones = Clones(_Answers(reader, timeout + 5).collect(count, progress))
            clones.isolation, clones.seconds = way, time.monotonic() - began
            return clones
        except _NotPermitted as error:
            refused.append(f"{way}: {error}")
        finally:
            _end_group(keeper)
            os.close(reader)
    raise CloneError("no clones can be made here: " + "; ".join(refused))


def clone_here(
    count: int,
    body: Callable[[int], bytes],
    *,
    parallel: int = PARALLEL,
    timeout: float = TIMEOUT,
    done: Callable[[Clone], object] | None = None,
) -> list[Clone]:
    """Clone the calling process itself; in a body: clones of a clone. The caller must have no other thread.

    Starts no more clones once one has ended badly; it is in the list like the others.
    """
    clones: list[Clone] = []
    running: list[_Running] = []
    number = 0
    try:
        while running or number < count:
            while len(running) < parallel and number < count:
                running.append(_Running(number, body, timeout))
                number += 1
            _wait(running)
            for one in running[:]:
                clone = one.look()
                if clone is None:
                    continue
                running.remove(one)
                clones.append(clone)
                if clone.status:
                    number = count
                if done:
                    done(clone)
    finally:
        for one in running:
            one.end()
    return clones


def raw_clone(flags: int) -> int:
    """clone(2) as fork(2), past the C library and its at-fork handlers: 0 in the child, its pid in the parent."""
    arguments = (SYS_CLONE[os.uname().machine], flags | signal.SIGCHLD, 0, 0, 0, 0)
    pid = int(_libc.syscall(*map(ctypes.c_long, arguments)))
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid


def _wait(running: "list[_Running]") -> None:
    poll = select.poll()
    until = min(one.deadline for one in running)
    for one in running:
        for fd in one.pipes:
            poll.register(fd, select.POLLIN)
        if one.pidfd >= 0:
            poll.register(one.pidfd, select.POLLIN)
        elif not one.pipes:
            until = 0.0  # its end shows in waitpid only
    poll.poll(max(2.0, 1000 * (until - time.monotonic())))


class _Running:
    """One clone that is alive, seen from its template."""

    def __init__(self, number: int, body: Callable[[int], bytes], timeout: float) -> None:
        self.number, self.deadline = number, time.monotonic() + timeout
        result, stderr = os.pipe(), os.pipe()
        self.output, self.stderr = bytearray(), bytearray()
        self.pipes = {result[0]: self.output, stderr[0]: self.stderr}
        self.pid = raw_clone(CLONE_NEWPID if os.getpid() == 1 else 0)  # pid 1, as its original
        if self.pid == 0:
            _be_a_clone(body, number, result[1], stderr[1])
        os.close(result[1])
        os.close(stderr[1])
        for fd in self.pipes:
            os.set_blocking(fd, False)
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            self.pidfd = -1

    def look(self) -> Clone | None:
        # Asked before the pipes are read: what it wrote before it ended is surely there by then.
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        late = not pid and time.monotonic() > self.deadline
        for fd in list(self.pipes):
            self._drain(fd)
        if pid:
            self.pid = 0
        elif not late:
            return None
        self.end()
        return Clone(self.number, _TIMED_OUT if late else status, bytes(self.output), bytes(self.stderr))

    def _drain(self, fd: int) -> None:
        try:
            while piece := os.read(fd, 1 << 16):
                self.pipes[fd] += piece
        except BlockingIOError:
            return
        del self.pipes[fd]
        os.close(fd)

    def end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        for fd in [*self.pipes, self.pidfd]:
            if fd >= 0:
                os.close(fd)
        self.pipes, self.pidfd = {}, -1


def _be_a_clone(body: Callable[[int], bytes], number: int, result: int, stderr: int) -> NoReturn:
    status = 1
    try:
        os.dup2(stderr, 2)
        die_with_parent()
        output = memoryview(body(number))
        while output:
            output = output[os.write(result, output) :]
        status = 0
    except BaseException:
        # Not through sys.stderr: it may be captured, or hold what the template had not flushed.
        os.write(2, _traceback())
    finally:
        os._exit(status)


def die_with_parent() -> None:
    """The kernel kills this process when the thread that started it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _traceback() -> bytes:
    import traceback

    return traceback.format_exc().encode(errors="replace")


class _NotPermitted(Exception):
    pass


class _Answers:
    """What the template sends, seen from the process that asked for clones. Every wait is bounded."""

    def __init__(self, reader: int, patience: float) -> None:
        self.reader, self.patience, self.buffer = reader, patience, bytearray()

    def collect(self, count: int, progress: Callable[[int], object] | None) -> list[bytes]:
        self._frame("the template")
        self._frame("prepare")
        outputs: dict[int, bytes] = {}
        while len(outputs) < count:
            clone = self._frame(f"the template, after {len(outputs)} of {count} clones,")
            if clone.status:
                raise CloneError(str(clone), clone)
            outputs[clone.number] = clone.output
            if progress:
                progress(len(outputs))
        return [outputs[number] for number in range(count)]

    def _frame(self, what: str) -> Clone:
        number, status, output, stderr = _FRAME.unpack(self._read(_FRAME.size, what))
        clone = Clone(number, status, self._read(output, what), self._read(stderr, what))
        if number == _NOT_PERMITTED:
            raise _NotPermitted(clone.stderr.decode())
        if number == _BROKE:
            raise CloneError(f"{what} failed:\n{clone.stderr.decode(errors='replace')}")
        return clone

    def _read(self, size: int, what: str) -> bytes:
        poll = select.poll()
        poll.register(self.reader, select.POLLIN)
        until = time.monotonic() + self.patience
        while len(self.buffer) < size:
            ready = poll.poll(max(0.0, 1000 * (until - time.monotonic())))
            piece = os.read(self.reader, 1 << 20) if ready else b""
            if not piece:
                raise CloneError(f"{what} " + ("died" if ready else f"gave no sign for {self.patience:.0f} s"))
            self.buffer += piece
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken


class _Template(NamedTuple):
    """The process that is cloned, and what is wanted of it."""

    writer: int
    flags: int
    wanted: int
    body: Callable[[int], bytes]
    prepare: Callable[[], object] | None
    source: FileSource | None
    parallel: int
    timeout: float

    def live(self) -> None:
        try:
            tried = clone_here(1, lambda number: b"", timeout=self.timeout)
        except OSError as error:
            return self.send(_NOT_PERMITTED, stderr=str(error).encode())
        if tried[0].status:
            return self.send(_NOT_PERMITTED, stderr=str(tried[0]).encode())
        self.send(_GOES_ON)
        if (faulthandler := sys.modules.get("faulthandler")) and faulthandler.is_enabled():
            faulthandler.enable(2)  # to the pipe that each clone has there, not to a copy that pytest made
        if self.prepare:
            self.prepare()
        body = self._restored(self.source) if self.source else self.body
        self.send(_GOES_ON)
        clone_here(
            self.wanted, body, parallel=self.parallel, timeout=self.timeout, done=lambda clone: self.send(*clone)
        )
        return self.send(_GOES_ON)

    def _restored(self, source: FileSource) -> Callable[[int], bytes]:
        generation = max(source.generation + 1, time.time_ns())

        def body(number: int) -> bytes:
            source.bump(generation)
            return self.body(number)

        return body

    def send(self, number: int, status: int = 0, output: bytes = b"", stderr: bytes = b"") -> None:
        data = memoryview(_FRAME.pack(number, status, len(output), len(stderr)) + output + stderr)
        while data:
            data = data[os.write(self.writer, data) :]


def _be_the_keeper(template: _Template) -> NoReturn:
    """The template's parent, which lives in the old namespaces. Never returns to the caller's code."""
    try:
        _own_group(0)
        try:
            _unshare(template.flags)
        except OSError as error:
            template.send(_NOT_PERMITTED, stderr=str(error).encode())
            os._exit(1)
        die_with_parent()
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            try:
                template.live()
            except BaseException:
                template.send(_BROKE, stderr=_traceback())
            os._exit(0)
        os.close(template.writer)
        os.waitpid(pid, 0)
    finally:
        os._exit(0)


def _unshare(flags: int) -> None:
    if not flags:
        return
    uid, gid = os.geteuid(), os.getegid()
    # After a setuid() without an exec, /proc/self belongs to root and the maps could not be written.
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    if _libc.unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if flags & CLONE_NEWUSER:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _fork() -> int:
    # What is buffered here would be written by each copy as well.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    with warnings.catch_warnings():
        # 3.12 and newer warn of other threads; the child needs none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _own_group(pid: int) -> None:
    """A group to end everything by; and a Ctrl-C goes to the process that asked for clones, which does that."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)


def _end_group(keeper: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)
