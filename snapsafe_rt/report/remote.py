"""Reads the record of another process (cython/status_page.h), which runs nothing for it, and judges it.

It takes what reading /proc/PID/mem takes: the process's own user and no Yama in the way, or CAP_SYS_PTRACE. What is
read is the word of that process, so nothing in it is trusted: sizes are bounded, addresses lead into its own memory.

Two kinds of facts. The native words are those that the guards compare: never out of date. The text was written at a
moment (cython/start.pxi); where anything else shows that more was loaded since, the row is unprotected.
"""

import functools
import os
import re
import struct
import time
from typing import Any, NamedTuple

from snapsafe_rt import settings
from snapsafe_rt.core import native
from snapsafe_rt.guards import scan, table, unexamined
from snapsafe_rt.guards.guard import Guard
from snapsafe_rt.report import procfs, status
from snapsafe_rt.report.attended import attended
from snapsafe_rt.report.patience import settled
from snapsafe_rt.report.procfs import (
    Gone,
    Mapping,
    Memory,
    Moved,
    NotPermitted,
    Process,
    file_at,
    is_python,
    look,
    mappings,
    printable,
    read_maps,
)
from snapsafe_rt.source import selection, vmclock_file

MAPPING = "/memfd:snapsafe (deleted)"
MAGIC, VERSION, TEXT_AT = b"SNAPSAFE", 3, 0x100
LENGTH_MOST = 1 << 17

# The core's own words and numbers, repeated here, for this must work where there is no core for the interpreter; a test
# compares all of it, down to _SOURCE (tests/unit/test_native_facts.py).
HOW = ("off", "poll", "inotify", "timer", "starting")
CAUSES = ("", "generation", "disruption", "notified", "source")
CONNECTION = ("none", "absent", "untrusted", "failed", "ended", "asked", "held", "heard")
OPENSSL = ("none", "guarded", "displaced", "ineffective", "fips", "symbols", "full", "released")
SQLITE = ("none", "seen", "ready", "symbols", "full", "released", "held")
FENCE_SECONDS, FENCE_STEP_SECONDS = 300, 60

# struct page of status_page.c and the structs that it leads to; status_page.c asserts their sizes and offsets.
_HEADER = struct.Struct("<8sIIIIQ7QII")
_LIBRARIES = struct.Struct("<QIIIIII")
_HOT = struct.Struct("<4Q")  # address of the watched word, mask, remembered, epoch
_COLD = struct.Struct("<IiQQqQIi")  # sequence, watched, outlived, restores, last_ns, last_certain, last_cause, attestor
# started_ns, failures, host's epoch, size, used; kernel_reseeded, cpu, hash, held; looked_ns
_FENCE = struct.Struct("<qQQQQIIIIq")
_SOURCE = struct.Struct("<QQii??6xQQiiQ")  # page, length, kind, word, device, detached, dev, ino, lost, stuck, rdev
_SEEDS = struct.Struct("<QQ")  # is the module's own generator kept; how many have a foreign state
_LOOKED = struct.Struct("<QQQq")  # imports; at the last look: imports, epoch, time in ns
_COUNTERS = struct.Struct("<4Q")  # addresses: how the watcher runs, how its connection stands, callbacks, ss_looked
_PATH_MOST = 4096

LOST = "this child was forked past os.fork, until it draws, imports or checks; or it may start no thread"

_NATIVE_TABLES = ("openssl", "sqlite3")  # in the order in which the record has them


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
    attestor: int


class Record:
    """One reading. `lines` is the text, "" where it cannot be had; `problems` says what is wrong with the record."""

    def __init__(self, memory: Memory, start: int, user: int = -1) -> None:
        self.memory = memory
        self.start = start
        self.user = user
        self.problems: list[str] = []
        self.untested: set[str] = set()  # names of native tables with a library whose guard cannot be tested from here
        header = memory.unpack(_HEADER, start)
        self.magic, self.version, self.length = header[0], header[1], header[2]
        self.pid, self.seeds_at = header[5:7]
        self.hot, self.cold, self.flag, self.fence, self.kept_at, self.sources = header[7:13]
        self.source_size, self.source_count = header[13:15]
        self.tables = [memory.unpack(_LIBRARIES, start + _HEADER.size + n * _LIBRARIES.size) for n in range(2)]
        counters = memory.unpack(_COUNTERS, start + _HEADER.size + 2 * _LIBRARIES.size)
        self.watcher_at, self.connection_at, self.callbacks_at, self.looked_at = counters

    @property
    def understood(self) -> bool:
        return bool(self.magic == MAGIC and self.version == VERSION and TEXT_AT < self.length <= LENGTH_MOST)

    def lines(self) -> list[list[str]]:
        found = settled(self.user, self._text)
        if found is None:
            self.problems.append("the record was being written all the time: the process may have been stopped at it")
            return []
        text = found.decode(errors="replace")
        rows = [line.split("\t") for line in text.split("\n")[:-1]]
        return [[_unescaped(field) for field in row] for row in rows] if "\\" in text else rows

    def _text(self) -> bytes | None:
        before, size = struct.unpack("<II", self.memory.read(self.start + 0x10, 8))
        text = self.memory.read(self.start + TEXT_AT, min(size, self.length - TEXT_AT)) if size else b""
        after = self.memory.number(self.start + 0x10, 4)
        return text if before == after and not before & 1 else None

    def words(self) -> Words:
        words = settled(self.user, self._words)
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

    def word(self, at: int) -> int:
        return int.from_bytes(self.memory.read(at, 4), "little")

    def source(self, index: int) -> tuple[Any, ...] | None:
        if not 0 <= index < min(self.source_count, 256) or self.source_size < _SOURCE.size:
            return None
        return self.memory.unpack(_SOURCE, self.sources + index * self.source_size)

    @functools.cached_property
    def libraries(self) -> dict[str, list[tuple[str, str, bool]]]:
        """(path, state, failing) of each libcrypto and SQLite that the core knows."""
        return {name: self._libraries(number) for number, name in enumerate(_NATIVE_TABLES)}

    def _libraries(self, number: int) -> list[tuple[str, str, bool]]:
        address, entry, count, state_at, failing_at, path_at, seam_at = self.tables[number]
        words = (OPENSSL, SQLITE)[number]
        found = []
        for index in range(min(count, 64)):
            at = address + index * entry
            state = int.from_bytes(self.memory.read(at + state_at, 4), "little")
            if state:
                path = self.memory.read(at + path_at, _PATH_MOST).partition(b"\0")[0].decode(errors="surrogateescape")
                failing = failing_at < entry and bool(self.memory.number(at + failing_at, 4))
                word = _word(words, state)
                if word == "guarded" and seam_at < entry:
                    place, held = struct.unpack("<QQ", self.memory.read(at + seam_at, 16))
                    if not place:
                        self.untested.add(_NATIVE_TABLES[number])
                    elif self.memory.number(place, 8) != held:
                        word = "displaced"
                found.append((path, word, failing))
        return found

    def differing(self, words: str, pages: procfs.Pages) -> tuple[int, str] | None:
        """The first address of a `site` line that does not hold what the line says, and whose it is; None if all do.
        Negative: what lies behind it cannot be found. Raises ValueError for a line that is not understood."""
        for place, key, held, name in _compared(words):
            if key is None:
                if pages.number(abs(place)) != held:
                    return place, name
                continue
            found = self.memory.entry(place, key)
            if found is None:
                return -1, name
            if found[1] != held:
                return found[0], name
        return None

    def unseen(self, epoch: int) -> str:
        """What has happened since Python last looked at the guards there, or ""; `age` says how long ago that was."""
        imports, seen_imports, seen_epoch, _ = self.memory.unpack(_LOOKED, self.looked_at)
        return "a restore" if epoch != seen_epoch else "an import" if imports != seen_imports else ""

    def age(self) -> str:
        return f"{max(0, time.time() - self.memory.unpack(_LOOKED, self.looked_at)[3] / 1e9):.0f} s ago"


@functools.lru_cache(maxsize=256)  # children that were forked have the words of their parent
def _compared(words: str) -> list[tuple[int, "int | None", int, str]]:
    """(address, a dict's key or None, what stands there, whose it is) of each word. Raises ValueError."""
    found = []
    for word in words.split():
        place, _, held = word.partition("=")
        held, _, name = held.partition(":")
        at, _, key = place.removeprefix("?").partition(">")
        found.append((int(at, 16), int(key, 16) if place[:1] == "?" else None, int(held, 16), name))
    return found


def _word(words: tuple[str, ...], number: int) -> str:
    """ "" for a number that this version does not know."""
    return words[number] if number < len(words) else ""


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
    text = "" if process.kernel else read_maps(pid)
    lines = scan.lines_of(text)
    mapped = mappings(lines)
    found = Outside(process, mapped, lines)
    memory = None
    try:
        record = None
        for one in mapped:
            if one.path == MAPPING:
                memory = memory or Memory(pid)
                candidate = Record(memory, one.start, found.user)
                if candidate.magic == MAGIC:
                    record = candidate
        if len(text) >= procfs.MAPS_MOST:
            found.refuse("it has more mapped than is looked at")
        elif record is not None:
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
    found.forget_maps()
    return found


def _same(process: Process, mapped: list[Mapping]) -> bool:
    """Is it still the program that was looked at? An id may belong to another process meanwhile, and a process exec."""
    try:
        if look(process.pid).began != process.began:
            return False
        text = "" if process.kernel else read_maps(process.pid)
    except (Gone, NotPermitted):
        return False
    now = mappings(scan.lines_of("\n".join(line for line in text.split("\n") if line.endswith(MAPPING))))
    return [one for one in mapped if one.path == MAPPING] == [one for one in now if one.path == MAPPING]


class Outside(status.Status):
    """As snapsafe_rt.status() in that process, as far as it is seen from here."""

    def __init__(self, process: Process, mapped: list[Mapping], lines: "list[scan.Line] | None" = None) -> None:
        super().__init__()
        self._mapped, self._lines = mapped, lines or []
        self.version, self.python = "", ""
        self.pid, self.program = process.pid, process.program
        self.user, self._own_id = procfs.ids(process.pid)
        self.cgroup = procfs.cgroup(process.pid)
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
        self.watching = {"how": "off", "reason": ""}
        self.settings: dict[str, str] = {}
        self.last_event = None
        self._slots: dict[int, tuple[str, int]] = {}
        self._sites: list[tuple[str, str, str]] = []
        self._by_python: set[str] = set()
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
        watcher, connection, callbacks = (
            record.word(at) for at in (record.watcher_at, record.connection_at, record.callbacks_at)
        )
        if record.pid == self._own_id and watcher < len(HOW):
            self.watching["how"] = HOW[watcher]
            self._take_connection(_word(CONNECTION, connection))
        self.callbacks = callbacks
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
            judged = self._tested(record, words.epoch, self._judged(record, rows))
            self._take_rows(judged, self._of_files(record, {name for name, *_ in judged}))
            self.rows += [self._row("record", "unprotected", problem) for problem in record.problems]
            if self.settings.get("SNAPSAFE_WATCH") != "0":
                self._report_lost(LOST)
        self.problems += record.problems

    def forget_maps(self) -> None:
        """They are most of what one look takes, and a command may look at thousands."""
        self._mapped, self._lines, self._sites = [], [], []

    def refuse(self, why_not: str) -> None:
        """Forget whatever half of it was read: it is no protection."""
        self.active, self.why_not = False, why_not
        self.source, self.rows = None, []

    def _read_lines(self, lines: list[list[str]]) -> list[tuple[str, str, str, bool]]:
        rows = []
        for kind, *fields in lines:
            if kind not in ("event", "snapshot") and not "".join(fields).isprintable():
                fields = [printable(field) for field in fields]
            try:
                if kind == "snapsafe":
                    self.version, self.python, self.written = fields[0], fields[1], float(fields[2])
                    self.active, self.why_not = fields[3] == "1", fields[4]
                elif kind == "row":
                    level = fields[1] if fields[1] in table.LEVELS else "unprotected"
                    rows.append((fields[0], level, fields[2], fields[3] == "1"))
                    if fields[4] != "0":
                        self._by_python.add(fields[0])
                elif kind == "site":
                    self._sites.append((fields[0], fields[1], fields[2]))
                elif kind == "library":
                    known = table.find(fields[0]) if fields[0] in table.NAMED else None
                    note = known.note() if known else "has random state of its own that is not reached"
                    rows.append((fields[0], "unprotected", note, False))
                elif kind == "source":
                    slot, rank = int(fields[0]), int(fields[1])
                    # The core's own start has the word for which the sentence stands.
                    reason = fields[3] or (
                        selection.sentence(fields[5], int(fields[6])) if fields[5:] and fields[5] else ""
                    )
                    self.candidates.append({"source": fields[2], "usable": slot >= 0, "reason": reason})
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
        if self.active and "os" not in {row[0] for row in rows}:
            rows.append(("record", "unprotected", "lacks rows", False))
        elif self.active:  # the core's own start knows of its own row alone
            told = {row[0] for row in rows}
            count = len(told & set(table.TABLE))
            rows[count:count] = [(name, "not loaded", "", False) for name in table.TABLE if name not in told]
        return rows

    def _take_source(self, record: Record, words: Words) -> None:
        source = record.source(words.watched)
        if source is None:
            return
        page, _, kind, _, device, detached, _, _, lost, stuck, _ = source
        if detached:
            self.problems.append(status.DETACHED)
            return
        name, rank = self._slots.get(words.watched, ("a source that its record does not name", selection.FILE))
        if lost:
            self.problems.append(f"{name} was truncated or overwritten: nothing is watched")
            return
        value = record.memory.number(words.word, 8)
        if value is None and not device:
            self.problems.append(f"{name} was truncated: nothing is watched")
            return
        via = self._via.get(name)  # then its path leads nowhere for that process
        gone, distrust = ("", "") if via else attended(self.pid, self._lines, record.memory, name, device, page)
        if gone:
            self.problems.append(f"{name} {gone}")
            return
        if kind == 0 and (sequence := record.memory.number(page + vmclock_file.OFF_SEQ, 4)) is not None:
            stuck = sequence & 1 and settled(self.user, lambda: _even(record, page)) is None
        frozen = record.memory.number(page + vmclock_file.OFF_SYNCHRONOUS, 4) if kind == 0 and not device else 0
        self.source = {
            "source": name,
            "what": selection.RANKS[rank] if 0 <= rank < len(selection.RANKS) else "",
            "synchronous": kind == 0 and (device or frozen == 1),
            "value": words.remembered if value is None else value & (words.mask or -1),
            "stuck": bool(stuck),
            "via": self._via.get(name, ""),
            "deserted": distrust is None,
            "distrust": distrust or "",
            "check_ns": None,
        }
        self._report_desertion()
        if stuck:
            self.problems.append(f"{name}: its writer died half-way, the sequence count is odd")

    def _take_connection(self, connection: str) -> None:
        """What the watcher itself says of the connection, newer than the text."""
        lifecycle = self.lifecycle
        if lifecycle["phase"] in ("running", "before"):
            # Of D-Bus the watcher knows only that there is a connection.
            told = connection == "heard" and (lifecycle["phase"] == "before" or lifecycle["kind"] == "logind")
            refused = lifecycle["phase"] == "running" and lifecycle["reason"]
            lifecycle["lock"] = connection == "held" or (told and not refused)
            if lifecycle["lock"] and lifecycle["phase"] == "running":
                lifecycle["reason"] = ""
            elif not lifecycle["reason"]:
                lifecycle["reason"] = "it has lost the one it had"

    def _take_fence(self, record: Record, words: Words) -> None:
        words_of_fence = record.memory.unpack(_FENCE, record.fence)
        started, failures, host_epoch, size, used, reseeded, cpu, has_hash, held, looked = words_of_fence
        left = 0.0
        if any(record.memory.read(record.flag, 4)):
            since = min(max((time.monotonic_ns() - looked) / 1e9, 0.0), FENCE_STEP_SECONDS)
            left = FENCE_SECONDS - (looked - started) / 1e9 - since
            if not self._same_clock():
                left = float(FENCE_SECONDS)
            if _attested(record, words):
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
            "user": self.user,
            "cgroup": self.cgroup,
            "recorded": self.recorded,
            "written": self.written,
            "kept": self.kept,
            "settings": self.settings,
        }

    # ---- rows against what else is seen ----

    def _of_files(self, record: Record, rows: set[str]) -> list[tuple[str, str, str]]:
        """What the process itself says of its files, when it is asked."""

        known = {name: [path for path, *_ in libraries] for name, libraries in record.libraries.items()}
        trusted = settings.names(self.settings.get("SNAPSAFE_TRUST", ""))
        found = unexamined.judge(scan.mapped(self._lines), known, trusted, rows & set(table.NAMED), self.pid)
        return [(printable(name), level, printable(note)) for name, level, note in found]

    def _judged(self, record: Record, rows: list[tuple[str, str, str, bool]]) -> list[tuple[str, str, str]]:
        seen = _Seen(self, record)
        judged: dict[str, tuple[str, str]] = {}
        noted = {name: ((level, note), needs_event) for name, level, note, needs_event in rows}
        lines = {**table.TABLE, **table.NAMED}
        for name in dict.fromkeys([*noted, *lines]):
            guard = table.find(name) if name in lines else Guard()  # the latter for a row of another version
            own, needs_event = noted.get(name, (None, False))
            verdict = guard.judge_remote(own, needs_event, seen) if guard else ("unprotected", "cannot be judged here")
            if verdict is not None:
                judged[name] = verdict
        return [(name, level, printable(note)) for name, (level, note) in judged.items()]

    def _tested(self, record: Record, epoch: int, rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """The rows, as far as what they rest on is seen to be in place now."""
        fails: dict[str, str] = {}
        pages = procfs.Pages(record.memory)
        aged = self._by_python | record.untested
        for name, what, words in self._sites:
            try:
                differs = record.differing(words, pages)
            except ValueError:
                fails[name] = f"says of {what} what is not understood"
                continue
            if differs is not None and differs[0] < 0:
                aged.add(name)
            elif differs is not None:
                holder = self._holder(record, differs[0])
                fails.setdefault(name, f"{what}{differs[1]} is not what it was when it was guarded: {holder}")
        unseen = record.unseen(epoch)
        tested = []
        for name, level, note in rows:
            if level in ("guarded", "refreshed", "kept") and name in fails:
                level, note = "unprotected", printable(fails[name])
            elif level in ("guarded", "refreshed", "kept") and name in aged:
                note = f"{note}; looked at in it {record.age()}"
                if unseen:
                    level, note = "unprotected", f"{note}, before {unseen}: ask it itself, by snapsafe_rt.status()"
            tested.append((name, level, note))
        return tested

    def _holder(self, record: Record, place: int) -> str:
        """Who is there, as far as the file that was loaded there tells."""
        value = record.memory.number(place, 8) or 0
        file = file_at(self._lines, value)
        return f"{file} was put there" if file else "something of the program's was put there"


class _Seen:
    """What the guards judge a process by (guard.RemoteProcess)."""

    def __init__(self, outside: Outside, record: Record) -> None:
        self.watched = outside.watching["how"] != HOW[0]
        self._files = tuple(one.path.removesuffix(" (deleted)") for one in outside._mapped)
        self._record = record

    def seeds(self) -> tuple[bool, int]:
        kept, foreign = self._record.memory.unpack(_SEEDS, self._record.seeds_at)
        return bool(kept), int(foreign)

    def native_table(self, name: str) -> list[tuple[str, str, bool]]:
        return self._record.libraries[name]

    def mapped(self, patterns: tuple[str, ...]) -> str | None:
        return _first_of(self._files, patterns) if patterns else None


@functools.lru_cache(maxsize=1024)  # each guard asks, of each process, and many processes have the same files
def _first_of(files: tuple[str, ...], patterns: tuple[str, ...]) -> str | None:
    beginnings = tuple(pattern for pattern in patterns if "/" not in pattern)
    ends = tuple(pattern for pattern in patterns if "/" in pattern)
    return next((f for f in files if f.rpartition("/")[2].startswith(beginnings) or f.endswith(ends)), None)


def _even(record: Record, page: int) -> bool | None:
    """None while a source is being written."""
    return True if not (record.memory.number(page + vmclock_file.OFF_SEQ, 4) or 0) & 1 else None


def _attested(record: Record, words: Words) -> bool:
    """ss_epoch_reseeded() in cython/epoch_state.c; where there is no core to ask, the fence counts as up."""
    source = record.source(words.watched)
    if source is None or words.remembered == words.outlived:
        return False
    device, rdev = source[4], source[10]
    file = record.source(words.attestor) if device else source
    if file is None or file[2] != 0 or file[4] or file[8] or native is None:
        return False
    places = (
        vmclock_file.OFF_SIGNALLER,
        vmclock_file.OFF_SEEN,
        vmclock_file.OFF_RESEEDED,
        vmclock_file.OFF_GENERATION,
    )  # in the order in which the core reads them
    signaller, seen, reseeded, generation = (record.memory.number(file[0] + at, 8) or 0 for at in places)
    return native.attests((signaller, seen, reseeded, generation), not device, rdev, words.remembered)
