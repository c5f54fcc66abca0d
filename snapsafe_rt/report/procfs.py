"""What /proc says of other processes, and their memory: no attach, no signal, no stop."""

import contextlib
import os
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from snapsafe_rt.guards import scan

_PF_KTHREAD = 0x00200000  # Linux include/linux/sched.h
_PAGE, _TABLE_MOST = 4096, 1 << 20
# What is read of one process at the most: none of them may hold up who looks at all of them, or use up the memory.
MAPS_MOST = 16 << 20  # 65,530 mappings are 7 MB
_COMMAND_MOST = 4096
_MEMORY_MOST = 32 << 20


class Gone(Exception):
    """There is no such process, or none any more."""


class NotPermitted(Exception):
    """The process may not be read by this user."""


class Silent(Exception):
    """The process could not be looked at: to read it comes to no end."""


class Moved(Exception):
    """The process ended, or executed another program, while it was read: to be read again."""


class Process(NamedTuple):
    """What /proc says of a process. `began` tells it from a later one with the same id."""

    pid: int
    began: int
    kernel: bool
    program: str


class Mapping(NamedTuple):
    start: int
    path: str
    inode: int


def processes() -> Iterator[int]:
    """Ids of the processes that this /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def look(pid: int) -> Process:
    """Raises Gone for what is no process or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(_COMMAND_MOST).decode(errors="surrogateescape").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        raise Gone(f"there is no process {pid}, or /proc hides it (hidepid)") from None
    if not fields or fields[0] in (b"Z", b"X"):
        raise Gone(f"process {pid} has ended; its parent has not asked for its status yet")
    return Process(pid, int(fields[19]), bool(int(fields[6]) & _PF_KTHREAD), _program(words))


def ids(pid: int) -> tuple[int, int]:
    """(whose process it is, -1 where that cannot be seen; the id that it has for itself, in its own namespace)."""
    user, own = -1, pid
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file.read().split(b"\n"):
                if line.startswith(b"Uid:"):
                    user = int(line.split()[1])
                elif line.startswith(b"NSpid:"):
                    own = int(line.split()[-1])
    except OSError:  # it has ended, which whoever reads on will see
        pass
    return user, own


def cgroup(pid: int) -> str:
    """Where it is in the tree of cgroups, as seen from here; of cgroup v1 in systemd's own tree. "" where that cannot
    be told."""
    found = ""
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as file:
            for line in file.read(1 << 16).decode(errors="surrogateescape").split("\n"):
                number, _, rest = line.partition(":")
                kind, _, path = rest.partition(":")
                if number == "0" or (kind == "name=systemd" and not found):
                    found = path
    except OSError:
        pass
    return printable(found)


def _program(words: list[str]) -> str:
    """A command line for people: without folders, and without what says how the interpreter is started."""
    words = [word for word in words if word]
    short = [os.path.basename(words[0])] if words else []
    for word in words[1:]:
        short.append(os.path.basename(word) if word.startswith("/") else word)
    return printable(" ".join(short))


def printable(text: str) -> str:
    """Another process's words, safe for a terminal."""
    if text.isprintable():  # nearly always, and asked for thousands of times
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def read_maps(pid: int) -> str:
    """No more than MAPS_MOST. Raises Gone, NotPermitted."""
    try:
        return scan.read_maps(pid, MAPS_MOST)
    except PermissionError:
        raise NotPermitted(_refusal(pid)) from None
    except (FileNotFoundError, ProcessLookupError):
        raise Gone(f"process {pid} has ended") from None


def mappings(lines: "list[scan.Line]") -> list[Mapping]:
    """The files that a process has mapped, each once."""
    found: dict[tuple[str, str], Mapping] = {}
    for where, _, _, _, inode, path in lines:
        if (path, inode) not in found:
            found[path, inode] = Mapping(int(where.partition("-")[0], 16), path, int(inode))
    return list(found.values())


def _at(lines: "list[scan.Line]", address: int) -> "scan.Line | None":
    for line in lines:
        start, _, end = line[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return line
    return None


def file_at(lines: "list[scan.Line]", address: int) -> str:
    """The file that a process has mapped there; "" for none."""
    line = _at(lines, address)
    return line[5] if line else ""


class Backing(NamedTuple):
    """The file of which a page of a process is, by the kernel's word. `ids`: its (device, inode), of which stat(2)
    shows one; `named`: has it a name; `path`: that name."""

    ids: "tuple[tuple[int, int], ...]"
    named: bool
    path: str


def backing(pid: int, lines: "list[scan.Line]", address: int) -> "Backing | None":
    """None for memory that is of no file."""
    line = _at(lines, address)
    if line is None or line[4] == "0":
        return None
    where, _, _, device, inode, path = line
    major, minor = (int(text, 16) for text in device.split(":"))
    ids = [(os.makedev(major, minor), int(inode))]
    with contextlib.suppress(OSError):  # takes CAP_SYS_ADMIN; some file systems have a number more
        start, end = (int(text, 16) for text in where.split("-"))
        found = os.stat(f"/proc/{pid}/map_files/{start:x}-{end:x}")
        ids.append((found.st_dev, found.st_ino))
    return Backing(tuple(ids), not path.endswith(" (deleted)"), path)


def _refusal(pid: int) -> str:
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            yama = file.read().strip() != "0"
    except OSError:
        owner, yama = -1, False
    if owner == os.geteuid() and yama:
        return (
            f"process {pid} may not be read, though it is yours: kernel.yama.ptrace_scope forbids it; run this as root"
        )
    if os.geteuid() == 0:
        return f"process {pid} may not be read: this root lacks CAP_SYS_PTRACE, as in a container"
    return f"process {pid} may not be read by user {os.geteuid()}: run this as root, or as the user of the process"


def is_python(pid: int, mapped: list[Mapping]) -> bool:
    """By the program or by a libpython: as far as that can be seen."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        program = ""
    if scan.PROGRAM.search(program.removesuffix(" (deleted)")):
        return True
    return any(scan.LIBRARY.search(one.path.removesuffix(" (deleted)")) for one in mapped)


class Memory:
    """The memory of one process, as it was when this was made: an exec leaves nothing to read."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._left = _MEMORY_MOST
        try:
            self._fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            raise NotPermitted(_refusal(pid)) from None
        except (FileNotFoundError, ProcessLookupError):
            raise Gone(f"process {pid} has ended") from None

    def close(self) -> None:
        os.close(self._fd)

    def read(self, address: int, size: int) -> bytes:
        """Raises OSError for no such memory, or a device's, and when it was enough; Moved where nothing at all is there
        any more."""
        self._left -= size
        if not 0 < address < 1 << 63 or self._left < 0:
            raise OSError("no address, or too many")
        data = os.pread(self._fd, size, address)
        if len(data) != size:
            raise Moved if not data else OSError("memory ends")
        return data

    def unpack(self, layout: struct.Struct, address: int) -> tuple[Any, ...]:
        return layout.unpack(self.read(address, layout.size))

    def number(self, address: int, size: int) -> int | None:
        try:
            return int.from_bytes(self.read(address, size), "little")
        except OSError:  # a device's page, or a file that was truncated
            return None

    def entry(self, at: int, key: int) -> tuple[int, int] | None:
        """Where a dict keeps the value of this key, and the value, by what follows the key in the dict's table."""
        wanted, table = key.to_bytes(8, "little"), self.number(at, 8) or 0
        data, end = b"", table
        with contextlib.suppress(OSError):
            while end - table < _TABLE_MOST:
                size = _PAGE - end % _PAGE
                data, end, looked = data + self.read(end, size), end + size, max(0, len(data) - 8)
                while (looked := data.find(wanted, looked)) >= 0 and looked + 16 <= len(data):
                    if looked % 8 == 0:
                        return table + looked + 8, int.from_bytes(data[looked + 8 : looked + 16], "little")
                    looked += 1
        return None


class Pages:
    """Numbers of the memory, by pages of which each is read once: what is compared lies close together."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._read: dict[int, bytes] = {}

    def number(self, address: int) -> int | None:
        """Of 8 bytes; None where there is no such memory."""
        page, at = address & -_PAGE, address & (_PAGE - 1)
        if at > _PAGE - 8:
            return self._memory.number(address, 8)
        data = self._read.get(page)
        if data is None:
            try:
                data = self._memory.read(page, _PAGE)
            except OSError:
                data = b""
            self._read[page] = data
        return int.from_bytes(data[at : at + 8], "little") if data else None
