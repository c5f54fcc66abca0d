"""Devices that somebody else opened: systemd (OpenFile=), or the manager.

Imported only where a device of the list cannot be opened and one of the two is there.

Opening is what a device's mode and a container's device filter check, not mapping; so an open descriptor does.
"""

import _socket  # socket imports enum and selectors
import os
import sys
import time

from snapsafe_rt import settings
from snapsafe_rt.core import native

SECONDS = 0.2  # in all, for a manager that hangs
SOON_SECONDS, AGAIN_SECONDS = 3.0, 60.0  # when one is asked again that was silent for the first time, or gave nothing
NAMES = {"snapsafe": "vmclock", "snapsafe-sysgenid": "sysgenid"}  # what OpenFile= calls the descriptor: the kind
_REQUEST = b'{"method":"org.snapsafe.Manager.GetSource"}\0'
_ANSWER_MOST = 4096
_CREDENTIALS_SIZE = 12  # struct ucred: pid, uid, gid, ints
_OVERFLOW_UID = 65534  # root of outside, in a user namespace; Documentation/admin-guide/sysctl/fs.rst

problem = ""
"""Why the manager gave nothing, when it was asked last."""

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
    if identity == _asked and time.monotonic() < _again_at and not again:
        return None
    pause = AGAIN_SECONDS
    received: list[int] = []
    try:
        name = _ask(received)
        problem = "" if name and received else "the manager has none to pass"
    except OSError as error:
        name = None
        problem = f"the manager could not be asked ({error.strerror or error})"
        if isinstance(error, TimeoutError) and (again or identity != _asked):
            pause = SOON_SECONDS
    _asked, _again_at = identity, time.monotonic() + pause
    while len(received) > (1 if name else 0):
        os.close(received.pop())
    return (name, received[0]) if name and received else None


def _ask(received: "list[int]") -> "str | None":
    """Returns the name, and in `received` every descriptor that came along. Raises OSError."""
    until = time.monotonic() + SECONDS
    answer = b""
    peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        peer.settimeout(SECONDS)
        peer.connect(settings.MANAGER)
        if not _trusted(peer):
            raise PermissionError(0, "it runs as another user, who is not root")
        peer.settimeout(max(0.001, until - time.monotonic()))
        peer.sendall(_REQUEST)
        while not answer.endswith(b"\0"):
            peer.settimeout(max(0.001, until - time.monotonic()))
            part, along, _, _ = peer.recvmsg(_ANSWER_MOST, 64, _socket.MSG_CMSG_CLOEXEC)
            for level, kind, data in along:
                if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                    received += memoryview(data[: len(data) // 4 * 4]).cast("i")
            answer += part
            if not part or len(answer) > _ANSWER_MOST:
                return None
            if not answer.endswith(b"\0") and time.monotonic() > until:
                raise TimeoutError("timed out")
    finally:
        peer.close()
    return _name(answer)


def _trusted(peer: "_socket.socket") -> bool:
    """Root's, or our own: anybody may bind a socket somewhere, and whoever holds the counter still hides restores."""
    credentials = peer.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS_SIZE)
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    return uid in (0, os.geteuid()) if uid != _OVERFLOW_UID else native.in_user_namespace()


def _name(answer: bytes) -> "str | None":
    """json is not imported for the one string that is wanted: {"parameters":{"source":"vmclock:/dev/vmclock0",...}}."""
    text = answer.rstrip(b"\0").decode("ascii", "replace").replace(" ", "")
    _, key, rest = text.partition('"source":"')
    name, quote, _ = rest.partition('"')
    return name if key and quote and "\\" not in name and '"error"' not in text else None
