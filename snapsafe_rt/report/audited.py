"""Reads what an audited process recorded (cython/audit.h), from its file or from its memory, and what it has open.

What is read is the word of that process: sizes are bounded, and nothing in it is trusted.
"""

import contextlib
import json
import os
import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from snapsafe_rt.guards import scan
from snapsafe_rt.report import procfs

KINDS = ("random", "urandom", "ssl", "seed", "tls", "uuid", "environment")  # enum ss_audit_kind of cython/audit.h
MODULES = {"secrets": "secrets", "tempfile": "tempfile", "uuid": "uuid", "utils": "email", "generator": "email"}
MOST = 100  # of each list of what is open
_HEAD = struct.Struct("<8s6IQ2Qq2Q")
_PLACE = struct.Struct("<Q3q2I472s")
_NAME_END, _NOTE, _NOTE_MOST = 0xD0, 0x100, 65536 - 0x100
_PLACES_MOST = 4096
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_REGULAR = re.compile(r"/(?!proc/|sys/|dev/(?!shm/)|memfd:)")
_ESTABLISHED = "01"  # Linux include/net/tcp_states.h


class Place(NamedTuple):
    """What was done at one place: `function` did it, `caller` is the program's own frame that led there."""

    kind: str
    what: str
    times: int
    first: float
    last: float
    open: int
    renewed: bool
    file: str
    line: int
    function: str
    caller_file: str
    caller_line: int
    caller: str


class Record(NamedTuple):
    pid: int
    parent: int
    began: float
    lost: int  # draws at places for which there was no room
    places: list[Place]
    note: dict[str, Any]
    lost_sessions: int
    program: str


def parse(data: bytes) -> Record:
    """Raises ValueError for what is none, or not whole."""
    try:
        head = _HEAD.unpack_from(data)
        magic, version, begin, size, fit, used, sequence, lost, pid, parent, began, length, sessions = head
        if magic != b"SNAPAUDT" or version != 1 or size != _PLACE.size or used > min(fit, _PLACES_MOST):
            raise ValueError("no record of an audit, or one of another version")
        places = [_place(*_PLACE.unpack_from(data, begin + number * size)) for number in range(used)]
    except struct.error as error:
        raise ValueError(f"a record that is cut off ({error})") from None
    name = data[_HEAD.size : _NAME_END].partition(b"\0")[0].decode("utf-8", "replace")
    note: Any = {}
    if not sequence & 1 and 0 < length <= _NOTE_MOST:
        with contextlib.suppress(ValueError, RecursionError):
            note = json.loads(data[_NOTE : _NOTE + length].decode("utf-8", "replace"))
    note = note if isinstance(note, dict) else {}
    return Record(pid, parent, began / 1e9, lost, _merged(places), note, sessions, procfs.printable(name))


def _merged(places: list[Place]) -> list[Place]:
    """One for each line: CPython moves an instruction when it specialises it, and a line may draw twice."""
    found: dict[tuple[Any, ...], Place] = {}
    for one in places:
        key = one.kind, one.what, one.renewed, *one[7:]
        old = found.get(key)
        found[key] = (
            one
            if old is None
            else old._replace(
                times=old.times + one.times,
                first=min(old.first, one.first),
                last=max(old.last, one.last),
                open=old.open + one.open,
            )
        )
    return list(found.values())


def _place(times: int, first: int, last: int, opened: int, kind: int, renewed: int, text: bytes) -> Place:
    fields = text.partition(b"\0")[0].decode("utf-8", "replace").split("\t")
    what, file, line, function, caller_file, caller_line, caller = (*map(procfs.printable, fields), *[""] * 7)[:7]
    if not 0 <= kind < len(KINDS):
        raise ValueError(f"an unknown kind {kind}")
    name = KINDS[kind]
    if name in ("random", "urandom"):  # by what stands between the program and the generator
        name = MODULES.get(what.partition(".")[0], "random" if what.startswith("random.") else name)
    what = re.sub(
        r"^random\.(?:Random\.(__init__$)?|(__init__$))", lambda found: "random." + "Random" * any(found.groups()), what
    )
    if KINDS[kind] == "urandom" and what.startswith("random."):  # of what SystemRandom inherits, the code is Random's
        what = "random.SystemRandom." + what.rpartition(".")[2]
    numbers = [int(word) if word.isdecimal() else 0 for word in (line, caller_line)]
    at = (file, numbers[0], function, caller_file, numbers[1], caller)
    return Place(name, what, times, first / 1e9, last / 1e9, max(0, opened), bool(renewed), *at)


def of_files(prefix: str) -> list[Record]:
    """What the processes left whose files begin so, by when they began. One that is not whole is a lost draw."""
    folder, name = os.path.split(prefix)
    ours = re.compile(re.escape(name) + r"\.\d+(\.\d+)?")
    found = []
    for one in os.listdir(folder):
        if ours.fullmatch(one):
            try:
                fd = os.open(os.path.join(folder, one), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
                with open(fd, "rb") as file:
                    found.append(parse(file.read(_NOTE + _NOTE_MOST + _PLACES_MOST * _PLACE.size) or b""))
            except (OSError, ValueError):  # there was no room for it, or it is none
                pid = int(one[len(name) :].split(".")[1])
                found.append(Record(pid, 0, 0.0, 1, [], {}, 0, "a record that is not whole"))
    return sorted(found, key=lambda record: record.began)


def of_process(pid: int) -> "Record | None":
    """None where it records nothing. Raises procfs.Gone, NotPermitted."""
    procfs.look(pid)
    own = procfs.ids(pid)[1]
    for mapping in procfs.mappings(scan.lines_of(procfs.read_maps(pid))):
        name = os.path.basename(mapping.path.removesuffix(" (deleted)"))
        if name != "memfd:snapsafe-audit" and not re.search(rf"\.{own}(\.\d+)?$", name):
            continue
        memory = procfs.Memory(pid)
        try:
            head = memory.read(mapping.start, _NOTE + _NOTE_MOST)
            used = min(_HEAD.unpack_from(head)[5], _PLACES_MOST)
            record = parse(head + memory.read(mapping.start + len(head), used * _PLACE.size) if used else head)
        except procfs.Moved:
            raise procfs.Gone(f"process {pid} ended, or executed another program") from None
        except (OSError, ValueError, struct.error):
            continue
        finally:
            memory.close()
        return record if record.pid == own else None  # else its parent's: it forked past Python
    return None


# ---- what is open ----


def opened(pid: "int | str") -> dict[str, Any]:
    """TCP connections, files open for writing, and threads, as /proc shows them. Raises OSError where it does not."""
    folder = f"/proc/{pid}"
    sockets, files = set(), []
    for number in _listed(f"{folder}/fd"):
        if int(number) < 3:
            continue  # it was started with them
        with contextlib.suppress(FileNotFoundError):  # it is closed by now
            target = os.readlink(f"{folder}/fd/{number}")
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
            elif _REGULAR.match(target) and _writes(folder, number):
                files.append(procfs.printable(target))
    tcp = sorted(remote for inode, remote in _connections(folder) if inode in sockets)
    threads = []
    for task in _listed(f"{folder}/task"):
        gone = contextlib.suppress(FileNotFoundError, ProcessLookupError)
        with gone, open(f"{folder}/task/{task}/comm", errors="replace") as file:
            threads.append(procfs.printable(file.read().rstrip("\n")))
    return {"tcp": tcp[:MOST], "files": sorted(files)[:MOST], "threads": threads[:MOST]}


def _listed(folder: str) -> list[str]:
    return sorted(os.listdir(folder), key=int)


def _writes(folder: str, number: str) -> bool:
    with open(f"{folder}/fdinfo/{number}") as file:
        flags = next((int(line.split()[1], 8) for line in file if line.startswith("flags:")), 0)
    return flags & _ACCESS != os.O_RDONLY and not flags & os.O_PATH and not flags & os.O_DIRECTORY


def _connections(folder: str) -> Iterator[tuple[str, str]]:
    """(inode, remote address) of each TCP connection of the process's network."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"{folder}/net/{name}") as file:
                lines = file.readlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _ESTABLISHED:
                yield fields[9], _address(fields[2])


def _address(text: str) -> str:
    """As ss(8) shows it. The kernel prints words of four bytes in the machine's order, which is little-endian."""
    import ipaddress

    host, _, port = text.partition(":")
    packed = b"".join(bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8))
    address = ipaddress.ip_address(packed)
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f"{shown}:{int(port, 16)}"
