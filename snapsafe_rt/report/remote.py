"""Reads the record of another process (cython/record.h), which runs nothing for it, and judges it.

It takes what reading /proc/PID/mem takes: the process's own user and no Yama in the way, or CAP_SYS_PTRACE. What is
read is the word of that process, so nothing in it is trusted: sizes are bounded, addresses lead into its own memory.

Two kinds of facts. The native words are those that the guards compare: never out of date. The text was written at a
moment (snapsafe_rt/report/page.py); where anything else shows that more was loaded since, the row is unprotected.
"""

import os
import re
import struct
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from snapsafe_rt.core import native
from snapsafe_rt.guards import libraries, openssl, sqlite3
from snapsafe_rt.guards.table import LEVELS, TABLE, renewed
from snapsafe_rt.report import status
from snapsafe_rt.report.procfs import (
    Gone,
    Mapping,
    Memory,
    Moved,
    NotPermitted,
    Process,
    is_python,
    look,
    mappings,
    own_id,
    printable,
)
from snapsafe_rt.restore.generation import CAUSES
from snapsafe_rt.restore.watcher import HOW
from snapsafe_rt.source import selection

HELD, HEARD = 6, 7  # enum ss_contact_state in cython/contact.h

MAPPING = "/memfd:snapsafe (deleted)"
MAGIC, VERSION, TEXT_AT = b"SNAPSAFE", 1, 0x100
LENGTH_MOST = 1 << 20
FENCE_SECONDS = 300  # SS_FENCE_SECONDS in cython/entropy.h
SETTLE_SECONDS = 1.0  # how long a reading waits for whoever writes, who may wait for a CPU

# struct record and the structs that it leads to; record.c asserts their sizes and offsets.
_HEADER = struct.Struct("<8sIIIIQII6QII")
_LIBRARIES = struct.Struct("<QIIIIII")
_HOT = struct.Struct("<4Q")  # address of the watched word, mask, remembered, epoch
_COLD = struct.Struct("<IiQQqQI4x")  # sequence, watched, outlived, restores, last_ns, last_certain, last_cause
_FENCE = struct.Struct("<qQQQQIIII")  # started_ns, failures, host's epoch, size, used; kernel_reseeded, cpu, hash, held
_SOURCE = struct.Struct("<QQii??6xQQii")  # page, length, kind, word, device, let_go, dev, ino, lost, stuck
_CONTACT_AT = 0xA0
_RESEEDED_AT, _FROZEN_AT = 0x800, 0x808
_PATH_MOST = 4096

# Beginnings of the names of mapped files, and the row that must have noticed them.
_EVIDENCE = (
    ("_random.", "random"),
    ("_uuid.", "uuid"),
    ("_ssl.", "openssl"),
    ("_hashlib.", "openssl"),
    ("_sqlite3.", "sqlite3"),
    ("_cbson.", "bson"),
)

T = TypeVar("T")


def _settled(attempt: Callable[[], T | None]) -> T | None:
    """`attempt` until it returns something: None means that a writer was at work; it may have been stopped."""
    until = time.monotonic() + SETTLE_SECONDS
    number = 0
    while time.monotonic() < until:
        found = attempt()
        if found is not None:
            return found
        number += 1
        if number > 20:
            time.sleep(0.0005)
    return None


class Words(NamedTuple):
    """What the guards themselves compare."""

    word: int
    mask: int
    remembered: int
    epoch: int
    watched: int
    outlived: int
    restores: int
    last_ns: int
    last_certain: int
    cause: int


class Record:
    """One reading. `lines` is the text, "" where it cannot be had; `problems` says what is wrong with the record."""

    def __init__(self, memory: Memory, start: int) -> None:
        self.memory = memory
        self.start = start
        self.problems: list[str] = []
        header = memory.unpack(_HEADER, start)
        self.magic, self.version, self.length = header[0], header[1], header[2]
        self.pid, self.watcher, self.callbacks = header[5:8]
        self.contact = int.from_bytes(memory.read(start + _CONTACT_AT, 4), "little")
        self.hot, self.cold, self.flag, self.fence, self.kept_at, self.sources = header[8:14]
        self.source_size, self.source_count = header[14:16]
        self.tables = [memory.unpack(_LIBRARIES, start + _HEADER.size + n * _LIBRARIES.size) for n in range(2)]

    @property
    def understood(self) -> bool:
        return bool(self.magic == MAGIC and self.version == VERSION and TEXT_AT < self.length <= LENGTH_MOST)

    def lines(self) -> list[list[str]]:
        text = _settled(self._text)
        if text is None:
            self.problems.append("the record was being written all the time: the process may have been stopped at it")
            return []
        return [
            [_unescaped(field) for field in line.split("\t")] for line in text.decode(errors="replace").split("\n")[:-1]
        ]

    def _text(self) -> bytes | None:
        before, size = struct.unpack("<II", self.memory.read(self.start + 0x10, 8))
        text = self.memory.read(self.start + TEXT_AT, min(size, self.length - TEXT_AT)) if size else b""
        after = self.memory.number(self.start + 0x10, 4)
        return text if before == after and not before & 1 else None

    def words(self) -> Words:
        words = _settled(self._words)
        if words is None:
            self.problems.append("it was counting a restore all the time: it may have been stopped at it")
            words = self._read_words()
        return words

    def _words(self) -> Words | None:
        before = self.memory.number(self.cold, 4)
        words = self._read_words()
        return words if before == self.memory.number(self.cold, 4) and before is not None and not before & 1 else None

    def _read_words(self) -> Words:
        return Words._make((*self.memory.unpack(_HOT, self.hot), *self.memory.unpack(_COLD, self.cold)[1:]))

    def source(self, index: int) -> tuple[Any, ...] | None:
        if not 0 <= index < min(self.source_count, 256) or self.source_size < _SOURCE.size:
            return None
        return self.memory.unpack(_SOURCE, self.sources + index * self.source_size)

    def libraries(self, number: int) -> list[tuple[str, int, bool]]:
        """(path, state, failing) of each libcrypto (0) or SQLite (1) that the core knows."""
        address, entry, count, state_at, failing_at, path_at, _ = self.tables[number]
        found = []
        for index in range(min(count, 64)):
            at = address + index * entry
            state = int.from_bytes(self.memory.read(at + state_at, 4), "little")
            if state:
                path = self.memory.read(at + path_at, _PATH_MOST).partition(b"\0")[0].decode(errors="surrogateescape")
                failing = failing_at < entry and bool(self.memory.number(at + failing_at, 4))
                found.append((path, state, failing))
        return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"t": "\t", "n": "\n"}.get(found[1], found[1]), field)


# ---- the picture ----


def inspect(pid: int) -> "Outside":
    """What is true of that process now. Raises Gone, NotPermitted."""
    for _ in range(5):
        process = look(pid)
        try:
            return _inspect(process)
        except Moved:
            continue
    raise Gone(f"process {pid} ended, or was another program each time that it was looked at")


def _inspect(process: Process) -> "Outside":
    pid = process.pid
    mapped = [] if process.kernel else mappings(pid)
    found = Outside(process, mapped)
    memory = None
    try:
        record = None
        for one in mapped:
            if one.path == MAPPING:
                memory = memory or Memory(pid)
                candidate = Record(memory, one.start)
                if candidate.magic == MAGIC:
                    record = candidate
        if record is not None:
            found.read(record)
    except OSError:
        # Memory that the maps promised is not there: another program has begun, or else the record is broken.
        if _same(process, mapped):
            found.refuse("it has a record that leads nowhere")
    finally:
        if memory is not None:
            memory.close()
    if not _same(process, mapped):
        raise Moved
    return found


def _same(process: Process, mapped: list[Mapping]) -> bool:
    """Is it still the program that was looked at? An id may belong to another process meanwhile, and a process exec."""
    try:
        if look(process.pid).began != process.began:
            return False
        now = [] if process.kernel else mappings(process.pid)
    except (Gone, NotPermitted):
        return False
    return [one for one in mapped if one.path == MAPPING] == [one for one in now if one.path == MAPPING]


class Outside(status.Status):
    """As snapsafe_rt.status() in that process, as far as it is seen from here."""

    def __init__(self, process: Process, mapped: list[Mapping]) -> None:
        super().__init__()
        self._mapped = mapped
        self.version, self.python = "", ""
        self.pid, self.program = process.pid, process.program
        self.is_python = not process.kernel and is_python(process.pid, mapped)
        self.recorded = False
        self.active = False
        self.why_not = "not activated, or its native core is missing: it has no record"
        if not self.is_python:
            self.why_not = "it does not look like Python: it has no record"
        self.problems = []
        self.candidates = []
        self.written: float | None = None
        self.kept: int | None = None
        self.watching = {"how": HOW[0], "reason": ""}
        self.settings: dict[str, str] = {}
        self.last_event = None
        self._slots: dict[int, tuple[str, int]] = {}
        self._via: dict[str, str] = {}

    def read(self, record: Record) -> None:
        self.recorded = self.is_python = True
        if not record.understood:
            self.why_not = (
                f"its record has version {record.version}, and this is the command for version {VERSION}: "
                "use the `snapsafe` of that program's environment"
            )
            return
        self.why_not = "its record says nothing"
        rows = self._read_lines(record.lines())
        words = record.words()
        # A thread is not in a child, whose record is its parent's until its fork handlers run, if it has any.
        if record.pid == own_id(self.pid) and record.watcher < len(HOW):
            self.watching["how"] = HOW[record.watcher]
            self._take_contact(record.contact)
        self.callbacks = record.callbacks
        self.epoch = words.epoch
        self.restores["count"] = words.restores
        if words.restores:
            self.restores["last_cause"] = CAUSES[words.cause] if words.cause < len(CAUSES) else None
            self.restores["last_time"] = words.last_ns / 1e9
        self.kept = record.memory.number(record.kept_at, 8)
        if self.active:
            self._take_source(record, words)
        self._take_fence(record, words)
        if self.active:
            self.rows = [self._row(*row) for row in self._judged(record, rows)]
            self.rows += [self._row("record", "unprotected", problem) for problem in record.problems]
        self.problems += record.problems

    def refuse(self, why_not: str) -> None:
        """Forget whatever half of it was read: it is no protection."""
        self.active, self.why_not = False, why_not
        self.source, self.rows = None, []

    def _read_lines(self, lines: list[list[str]]) -> list[tuple[str, str, str, bool]]:
        rows = []
        for kind, *fields in lines:
            if kind not in ("event", "snapshot"):
                fields = [printable(field) for field in fields]
            try:
                if kind == "snapsafe":
                    self.version, self.python, self.written = fields[0], fields[1], float(fields[2])
                    self.active, self.why_not = fields[3] == "1", fields[4]
                elif kind == "row":
                    level = fields[1] if fields[1] in LEVELS else "unprotected"
                    rows.append((fields[0], level, fields[2], fields[3] == "1"))
                elif kind == "library":
                    known = libraries.TABLE.get(fields[0])
                    rows.append((known.name, "unprotected", known.note, False) if known else _unknown(fields[0]))
                elif kind == "source":
                    slot, rank = int(fields[0]), int(fields[1])
                    self.candidates.append({"source": fields[2], "usable": slot >= 0, "reason": fields[3]})
                    if slot >= 0:
                        self._slots[slot] = (fields[2], rank)
                        self._via[fields[2]] = fields[4]
                elif kind == "setting":
                    self.settings[fields[0]] = fields[1]
                elif kind == "problem":
                    self.problems.append(fields[0])
                elif kind == "event":
                    self.last_event = status.event_as_dict(fields)
                elif kind == "lifecycle":
                    self.lifecycle |= {"kind": fields[0], "phase": fields[1], "reason": fields[2]}
                elif kind == "snapshot":
                    self._take_snapshot(fields)
                elif kind == "cut":
                    rows.append(("record", "unprotected", "says more than fits into it", False))
            except (IndexError, ValueError):
                rows.append(("record", "unprotected", f"has a line that is not understood: {kind[:40]}", False))
        if self.active and not {"os", "random"} <= {row[0] for row in rows}:
            rows.append(("record", "unprotected", "lacks rows", False))
        return rows

    def _take_source(self, record: Record, words: Words) -> None:
        source = record.source(words.watched)
        if source is None:
            return
        page, _, kind, _, device, let_go, dev, ino, lost, stuck = source
        if let_go:
            self.problems.append(status.LET_GO)
            return
        name, rank = self._slots.get(words.watched, ("a source that its record does not name", 2))
        if lost:
            self.problems.append(f"{name} was truncated or overwritten: nothing is watched")
            return
        value = record.memory.number(words.word, 8)
        if value is None and not device:
            self.problems.append(f"{name} was truncated: nothing is watched")
            return
        path = f"/proc/{self.pid}/root{name.partition(':')[2]}"
        replaced = False
        if not self._via.get(name):  # else its path leads nowhere for that process
            try:
                there = os.stat(path)
                replaced = (there.st_dev, there.st_ino) != (dev, ino)
            except PermissionError:
                pass
            except OSError:
                replaced = True
        if replaced:
            self.problems.append(f"{name} was replaced or removed: what is watched is not what is written")
            return
        frozen = record.memory.number(page + _FROZEN_AT, 4) if kind == 0 and not device else 0
        self.source = {
            "source": name,
            "what": selection.RANKS[rank] if 0 <= rank < len(selection.RANKS) else "",
            "synchronous": kind == 0 and (device or frozen == 1),
            "value": words.remembered if value is None else value & words.mask,
            "stuck": bool(stuck),
            "via": self._via.get(name, ""),
            "deserted": not device and native is not None and native.deserted(path),
            "check_ns": None,
        }
        self._report_desertion()
        if stuck:
            self.problems.append(f"{name}: its writer died half-way, the sequence count is odd")

    def _take_contact(self, contact: int) -> None:
        """What the watcher itself says of the connection, newer than the text."""
        lifecycle = self.lifecycle
        if lifecycle["phase"] in ("running", "before"):
            # Of D-Bus the watcher knows only that there is a connection.
            told = contact == HEARD and (lifecycle["phase"] == "before" or lifecycle["kind"] == "logind")
            refused = lifecycle["phase"] == "running" and lifecycle["reason"]
            lifecycle["lock"] = contact == HELD or (told and not refused)
            if lifecycle["lock"] and lifecycle["phase"] == "running":
                lifecycle["reason"] = ""
            elif not lifecycle["reason"]:
                lifecycle["reason"] = "it has lost the one it had"

    def _take_fence(self, record: Record, words: Words) -> None:
        words_of_fence = record.memory.unpack(_FENCE, record.fence)
        started, failures, host_epoch, size, used, reseeded, cpu, has_hash, held = words_of_fence
        left = 0.0
        if any(record.memory.read(record.flag, 4)):
            left = FENCE_SECONDS - (time.monotonic_ns() - started) / 1e9
            if not self._same_clock():
                left = float(FENCE_SECONDS)
            source = record.source(words.watched)
            if source is not None and source[2] == 0 and not source[4]:
                told = record.memory.number(source[0] + _RESEEDED_AT, 8)
                if told and told == words.remembered != words.outlived:
                    left = 0.0
            left = max(left, 1.0) if held else left
        left = min(max(left, 0.0), float(FENCE_SECONDS))
        state = "down"
        if left:
            state = "cpu" if cpu else "host" if host_epoch == words.epoch and size > used else "degraded"
        self.fence = {
            "state": state,
            "seconds_left": round(left, 1),
            "cpu": bool(cpu),
            "kernel_reseeded": bool(reseeded),
        }
        self._report_entropy(failures, bool(has_hash))

    def _same_clock(self) -> bool:
        try:
            return os.readlink(f"/proc/{self.pid}/ns/time") == os.readlink("/proc/self/ns/time")
        except OSError:
            return True

    def as_dict(self) -> dict[str, Any]:
        """The keys of Status, and what is known from outside alone."""
        return {
            **super().as_dict(),
            "program": self.program,
            "recorded": self.recorded,
            "written": self.written,
            "kept": self.kept,
            "settings": self.settings,
        }

    # ---- rows against what else is seen ----

    def _judged(self, record: Record, rows: list[tuple[str, str, str, bool]]) -> list[tuple[str, str, str]]:
        files = [one.path.removesuffix(" (deleted)") for one in self._mapped]
        names = {os.path.basename(path): path for path in files}
        crypto, sqlite = record.libraries(0), record.libraries(1)
        judged: dict[str, tuple[str, str]] = {}
        unloaded = {name for name in TABLE if name not in {row[0] for row in rows if row[1] != "not loaded"}}
        for name, level, note, needs_event in rows:
            row = level, note
            if needs_event:
                row = renewed(row, self.watching["how"] != HOW[0])
            elif name == "openssl":
                row = _openssl(row, crypto)
            elif name == "sqlite3":
                row = _sqlite(row, sqlite)
            judged[name] = row
        for beginning, name in _EVIDENCE:
            found = next((path for base, path in names.items() if base.startswith(beginning)), None)
            if found and name in unloaded:
                judged[name] = _late(found)
        rust = next((path for path in files if path.endswith("/cryptography/hazmat/bindings/_rust.abi3.so")), None)
        if rust and "cryptography" in unloaded:
            judged["cryptography"] = _late(rust)
        for module, library in libraries.TABLE.items():
            found = next((path for base, path in names.items() if base.startswith(library.files or ("\0",))), None)
            if found and library.name not in judged:
                judged[library.name] = "unprotected", f"{_late(found)[1]}; {libraries.TABLE[module].note}"
        for name, prefix, known in (("openssl", "libcrypto", crypto), ("sqlite3", "libsqlite3", sqlite)):
            for one in self._mapped:
                if os.path.basename(one.path).startswith(prefix) and not self._known(one, [path for path, *_ in known]):
                    judged[name] = _late(one.path)
        if "fips.so" in names and judged.get("openssl", ("",))[0] == "guarded":
            judged["openssl"] = "unprotected", f"{names['fips.so']} is loaded, which draws past every hook"
        return [(name, level, printable(note)) for name, (level, note) in judged.items()]

    def _known(self, mapping: Mapping, paths: list[str]) -> bool:
        """Is the mapped file one of these? The loader names it as it found it, the maps by its real path."""
        for path in paths:
            real = os.path.realpath(path)
            if mapping.path.removesuffix(" (deleted)") in (path, real):
                return True
            try:
                if os.stat(f"/proc/{self.pid}/root{path}").st_ino == mapping.inode:
                    return True
            except OSError:
                pass
        return False


def _unknown(module: str) -> tuple[str, str, str, bool]:
    return printable(module), "unprotected", "has random state of its own that is not reached", False


def _late(path: str) -> tuple[str, str]:
    return "unprotected", f"the record does not know {path}: loaded since, or by a subinterpreter"


def _openssl(row: tuple[str, str], known: list[tuple[str, int, bool]]) -> tuple[str, str]:
    """The row, corrected by the state that the core itself has for each libcrypto."""
    for path, state, failing in known:
        fed = state == 3 and row[0] == "refreshed"
        if state in openssl.REASONS and not fed:
            return "unprotected", f"{path} {openssl.REASONS[state]}"
        if failing:
            return "unprotected", f"{path} could not be reseeded"
    if row[0] == "not loaded" and any(state == 1 for _, state, _ in known):
        return "guarded", f"{known[0][0]}: hook seen to run"
    return row


def _sqlite(row: tuple[str, str], known: list[tuple[str, int, bool]]) -> tuple[str, str]:
    for path, state, _ in known:
        if state in sqlite3.REASONS:
            return "unprotected", f"{path} {sqlite3.REASONS[state]}"
    if row[0] == "not loaded" and any(state == 2 for _, state, _ in known):
        return "refreshed", f"{known[0][0]} is reset when a restore is noticed by a draw of another subsystem"
    return row


assert {name for _, name in _EVIDENCE} <= set(TABLE)
