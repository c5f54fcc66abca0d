"""Which counter is watched: reads the list, judges each candidate, picks the best one that can be used."""

import os

from snapsafe_rt import settings
from snapsafe_rt.core import native

_KINDS = ("vmclock", "sysgenid")

# Why a path is no source: for each word of enum ss_source_status (cython/shown.h).
_REASONS = {
    "missing": "does not exist",
    "forbidden": "may not be opened by this user ({error})",
    "system": "cannot be used ({error})",
    "not a file": "is neither a device nor a regular file",
    "filesystem": (
        "lies on a filesystem where a mapping may not follow what is written (overlayfs, network, FUSE): "
        "put it on tmpfs or bind-mount it"
    ),
    "writable": "can be written by other users: chmod go-w it",
    "owner": "belongs to another user, who could hold the counter still: it must be root's or your own",
    "short": "is shorter than the layout",
    "magic": "does not begin with VMClock's magic",
    "version": "has a layout version other than 1",
    "no generation": "has the generation flag (bit 8) clear",
    "full": "is one too many: this process has mapped its limit of pages",
    "lost": "was a source and is none any more: it was truncated or overwritten",
    "other device": "is a device of another kind",
}
_STAYS = "what was mapped before is watched until there is something better"

NO_DEVICE = 1 << 62
"""The manager's file tells where its signs come from; from here on it is no device (st_rdev is a 32-bit number)."""

LOCK = ".lock"
"""What the name of the file ends with that the manager of a source locks: ss_source_writer_gone in cython/source.h."""

borrowing = True
"""Devices that cannot be opened may be had by descriptor; the manager itself switches that off."""

RANKS = ("device with a generation", "device with a disruption marker", "file with a generation")
BEST, MARKER, FILE = range(3)  # what a rank is; lower is better
_RANK_OF = {"generation": BEST, "disruption": MARKER}  # of a device, by the word of its page that is watched


class Candidate:
    """One entry of the list. `rank` indexes RANKS, lower is better; None while it is not usable, with `reason`."""

    __slots__ = (
        "doubt",
        "found",
        "gone",
        "identity",
        "kind",
        "lent",
        "path",
        "rank",
        "reason",
        "refused",
        "slot",
        "unseen",
        "untold",
        "via",
    )

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path
        self.slot = -1
        self.rank: int | None = None
        self.reason = "not looked at yet"
        self.identity: tuple[int, int] = (0, 0)  # device and inode of what is mapped
        self.found: os.stat_result | None = None  # what was at the path before it was mapped
        self.via = ""  # who opened it for us: "systemd", "the manager"; "" if we did
        self.lent: tuple[str, int] | None = None  # that one, and the slot
        self.refused = ""  # why nobody else opened it
        self.unseen = False  # can it not be told from here what is at the path?
        self.doubt = ""  # why what is mapped may not be what is written, though it is watched
        self.gone = False  # is it not? Then nobody writes what is mapped, and any other source is better
        self.untold = False  # can it not be told?

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.path}"

    def examine(self) -> None:
        """Look at the path as it is now; maps it where it can be used. What is mapped stays in use where it cannot."""
        kept = self.rank is not None and not native.describe_source(self.slot).lost
        self.found = self._look()
        status, error, slot = native.map_source(self.kind, self.path)
        self.via = ""
        if self.lent and native.describe_source(self.lent[1]).detached:
            self.lent = None  # whoever passed it is asked again
        if status and self.lent:
            self.via, slot = self.lent
            status = ""
        if status and kept:
            self._keep(status, error)
        else:
            self.slot = slot
            self._judge(status, error)

    def _keep(self, status: str, error: int) -> None:
        """What is at the path cannot be used. What follows for what is mapped already?"""
        there = self.found
        same = there is not None and (there.st_dev, there.st_ino) == self.identity
        why = sentence(status, error)
        self.gone = self.untold = False
        if self.unseen:
            named = native.identify_source(self.slot, False)[2]
            self.gone, self.untold = named is False, named is None
            why = f"has no name any more, and {why}" if self.gone else why
        elif not (same and error):  # else it is there, and may not be opened now
            self.gone = True
            why = f"{why} any more" if there is None else why if same else f"is another file by now, which {why}"
        self.doubt = f"{why}; {_STAYS}"

    def take(self, slot: int, status: str, error: int) -> None:
        """What the core's start found of it."""
        self.found = self._look()
        self.slot = slot
        self._judge(status, error)

    def borrow(self, who: str, fd: int) -> None:
        """Map the device that `who` opened. `fd` stays open."""
        status, error, slot = native.map_descriptor(self.kind, fd)
        if status:
            self.refused = f"what {who} passed {sentence(status, error)}"
            return
        self.lent = self.via, self.slot = who, slot
        self._judge("", 0)

    def why_kept(self) -> str:
        """Why a mapped device cannot be let go of for a while; "" if it can be had again."""
        if self.via:
            # The descriptor itself stays open, and the program's; what the manager passed it passes again.
            return "stays mapped: systemd passed it" if self.via == "systemd" else ""
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
        except OSError as error:
            return f"stays mapped: it could not be opened again ({error.strerror})"
        return ""

    def _judge(self, status: str, error: int) -> None:
        self.rank = None
        self.doubt, self.gone, self.untold = "", False, False
        if status:
            self.reason = sentence(status, error)
            return
        state = native.describe_source(self.slot)
        if state.lost:
            self.reason = _REASONS["lost"]
            return
        self.identity = (state.dev, state.ino)
        self.rank = _RANK_OF[state.word] if state.device else FILE
        self.reason = ""

    @property
    def deserted(self) -> "bool | None":
        """Was it a manager's file, who does not keep it any more? None where that cannot be told."""
        if self.rank != FILE or not native.describe_source(self.slot).managed:
            return False
        return native.writer_gone(self.path, self.path + LOCK)

    def distrust(self, deserted: "bool | None") -> str:
        """Why nobody may write what is watched; "" where that was tested just now."""
        if self.untold:
            return self.doubt
        if deserted is None:
            return f"may have lost its manager, which cannot be seen from here: {self.doubt or 'it cannot be opened'}"
        return ""

    @property
    def barred(self) -> bool:
        """Is it a device that cannot be opened here, so that somebody else could?"""
        return self.rank is None and self.path.startswith("/dev/") and not self.path.startswith("/dev/shm/")

    @property
    def of_a_manager_without_device(self) -> bool:
        return self.rank == FILE and native.describe_source(self.slot).signaller >= NO_DEVICE

    def replaced(self) -> bool:
        """Does the path lead to another file than the mapped one, or nowhere? Then nobody bumps the mapped one any
        more. False where that cannot be told."""
        if self.via:
            return False  # its path leads nowhere for this process
        now = self.leads_to()
        if now is None:
            return not self.unseen
        if now != self.identity and self.slot >= 0:
            self.identity = native.identify_source(self.slot, True)[:2]
        return now != self.identity

    def leads_to(self) -> "tuple[int, int] | None":
        """Device and inode of what is at the path now; None if nothing is."""
        now = self._look()
        return (now.st_dev, now.st_ino) if now else None

    def _look(self) -> "os.stat_result | None":
        self.unseen = False
        try:
            return os.stat(self.path)
        except OSError as error:
            self.unseen = not isinstance(error, FileNotFoundError | NotADirectoryError) or native.root_moved()
            return None

    def as_dict(self) -> dict[str, object]:
        return {"source": self.name, "usable": not self.why_not, "reason": self.why_not}

    @property
    def why_not(self) -> str:
        """A sentence while what is at the path is not usable, else empty."""
        return "; ".join(filter(None, (self.reason, self.refused))) if self.rank is None else self.doubt


def parse(text: "str | list[str] | tuple[str, ...]") -> tuple[list[Candidate], list[str]]:
    """The candidates of a comma-separated list or a sequence, and a sentence for each entry that is none."""
    entries = text.split(",") if isinstance(text, str) else list(text)
    found: list[Candidate] = []
    problems: list[str] = []
    for entry in entries:
        kind, colon, path = entry.strip().partition(":")
        if not entry.strip():
            continue
        if kind not in _KINDS or not colon:
            problems.append(f"source {entry.strip()!r}: must be vmclock:PATH or sysgenid:PATH")
        elif not path.startswith("/") or "\0" in path:
            problems.append(f"source {entry.strip()!r}: the path must be absolute")
        else:
            found.append(Candidate(kind, path))
    if not found and not problems:
        problems.append("no source is named")
    return found, problems


def found_at_start(kind: str, path: str, slot: int, status: str, error: int) -> Candidate:
    candidate = Candidate(kind, path)
    candidate.take(slot, status, error)
    return candidate


def best(candidates: list[Candidate], ask_again: bool = False) -> "Candidate | None":
    """Examine all and return the best usable one; the first of equals.

    `ask_again`: ask the manager for a device also if it has just been asked.
    """
    for candidate in candidates:
        candidate.examine()
    barred = [candidate for candidate in candidates if candidate.barred]
    if borrowing and barred and not any(candidate.rank == BEST for candidate in candidates):
        _borrow(barred, any(candidate.of_a_manager_without_device for candidate in candidates), ask_again)
    usable = [candidate for candidate in candidates if candidate.rank is not None]
    return min(usable, key=lambda candidate: (candidate.gone, candidate.rank or 0), default=None)


_passed = False


def _borrow(barred: list[Candidate], none_to_pass: bool, ask_again: bool) -> None:
    """Have systemd (OpenFile=) or the manager opened one of these? `none_to_pass`: its file says no."""
    global _passed
    if not _passed and "LISTEN_FDNAMES" in os.environ:
        from snapsafe_rt.source import passed  # at activation: later on nothing is looked for here

        for candidate in barred:
            fd = passed.from_systemd(candidate.kind)
            if fd is not None and candidate.rank is None:
                candidate.borrow("systemd", fd)
    _passed = True  # later on the number may be another file's
    barred = [candidate for candidate in barred if candidate.rank is None]
    if barred and not none_to_pass and os.path.exists(settings.MANAGER):
        try:
            from snapsafe_rt.source import passed
        except Exception as error:  # say, no descriptor is left to read it by
            barred[0].refused = f"the manager could not be asked ({type(error).__name__}: {error})"
            return
        found = passed.from_manager(ask_again)
        for candidate in barred:
            candidate.refused = passed.problem or candidate.refused
            if found is not None and candidate.name == found[0]:
                candidate.borrow("the manager", found[1])
        if found is not None:
            os.close(found[1])


def sentence(status: str, error: int) -> str:
    return _REASONS[status].format(error=os.strerror(error) if error else "")
