"""Devices that somebody else opened: systemd (OpenFile=), or the manager.

Imported only where a device of the list cannot be opened and one of the two is there.

Opening is what a device's mode and a container's device filter check, not mapping; so an open descriptor does.
"""

import _socket  # socket imports enum and selectors
import os
import time

from snapsafe_rt import settings, varlink

SECONDS = 0.2  # for the manager to answer, all in all: a start waits for it
SOON_SECONDS, AGAIN_SECONDS = 3.0, 60.0  # when a manager is asked again: after its first silence, and else
NAMES = {"snapsafe": "vmclock", "snapsafe-sysgenid": "sysgenid"}  # what OpenFile= calls the descriptor: the kind
_ANSWER_MOST = 4096

problem = ""
"""Why the manager passed nothing when it was asked last."""

_asked: "tuple[int, int, int] | None" = None  # the socket that was asked last: device, inode, ctime
_again_at = 0.0


def from_systemd(kind: str) -> "int | None":
    """The number of the descriptor that this process was started with for this kind of device. It is the program's, and
    stays open as it is. See sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None  # meant for a process that started us
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = os.environ.get("LISTEN_FDS", "")
    for number, name in enumerate(names[: int(count) if count.isascii() and count.isdigit() else 0]):
        if NAMES.get(name) == kind:
            return 3 + number  # SD_LISTEN_FDS_START
    return None


def from_manager(again: bool) -> "tuple[str, int] | None":
    """The manager's device: its name as in SNAPSAFE_SOURCES, and a descriptor, the caller's to close.

    None where there is no manager, or none to be trusted, or it has no device, or does not answer within SECONDS; then
    it is left alone for AGAIN_SECONDS, after its first silence for SOON_SECONDS, unless `again`. Raises nothing. Any
    thread.
    """
    global problem, _asked, _again_at
    try:
        there = os.stat(settings.MANAGER)
    except OSError:
        problem = ""
        return None
    identity = there.st_dev, there.st_ino, there.st_ctime_ns
    left = _again_at - time.monotonic()
    if identity == _asked and 0 < left <= AGAIN_SECONDS and not again:  # that clock may be set back
        return None
    pause = AGAIN_SECONDS
    received: list[int] = []
    try:
        name = _ask(received)
        problem = "" if name and received else "the manager has none to pass"
    except Exception as error:  # whatever it is: also where the program has a json.py of its own
        name = None
        problem = f"the manager could not be asked ({getattr(error, 'strerror', None) or error})"
        if isinstance(error, TimeoutError) and (again or identity != _asked):
            pause = SOON_SECONDS
    _asked, _again_at = identity, time.monotonic() + pause
    while len(received) > (1 if name else 0):
        os.close(received.pop())
    return (name, received[0]) if name and received else None


def _ask(received: "list[int]") -> "str | None":
    """Returns the name, and in `received` every descriptor that came along. Raises OSError."""
    until = time.monotonic() + SECONDS
    answer, message = b"", None
    peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        peer.settimeout(SECONDS)
        peer.connect(settings.MANAGER)
        if not varlink.trusted(varlink.credentials(peer)[1], outside=True):
            raise PermissionError(0, "it runs as another user, who is not root")
        peer.settimeout(max(0.001, until - time.monotonic()))
        peer.sendall(varlink.call("GetSource"))
        while message is None:
            peer.settimeout(max(0.001, until - time.monotonic()))
            part, along, _, _ = peer.recvmsg(_ANSWER_MOST, 64, _socket.MSG_CMSG_CLOEXEC)
            for level, kind, data in along:
                if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                    received += memoryview(data[: len(data) // 4 * 4]).cast("i")
            answer += part
            if not part or len(answer) > _ANSWER_MOST:
                return None
            message, _ = varlink.split(answer)
            if message is None and time.monotonic() > until:
                raise TimeoutError("timed out")
    finally:
        peer.close()
    try:
        error, parameters = varlink.reply(message)
    except varlink.Malformed:
        return None
    name = parameters.get("source")
    return name if not error and isinstance(name, str) else None
