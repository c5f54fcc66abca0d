"""Which counter is watched: reads the list, judges each candidate, picks the best one that can be used."""

import os

from snapsafe_rt import settings
from snapsafe_rt.core import native

_KINDS = ("vmclock", "sysgenid")

# Why a path is no source: for each word of native.words()["source"].
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
}

NO_DEVICE = 1 << 62
"""The manager's file tells where its signs come from; from here on it is no device (st_rdev is a 32-bit number)."""

borrowing = True
"""Devices that cannot be opened may be had by descriptor; the manager itself switches that off."""

RANKS = ("device with a generation", "device with a disruption marker", "file with a generation")
BEST, MARKER, FILE = range(3)  # what a rank is; lower is better
_RANK_OF = {"generation": BEST, "disruption": MARKER}  # of a device, by the word of its page that is watched


class Candidate:
    """One entry of the list. `rank` indexes RANKS, lower is better; None while it is not usable, with `reason`."""

    __slots__ = ("found", "identity", "kind", "lent", "path", "rank", "reason", "refused", "slot", "via")

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

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.path}"

    def examine(self) -> None:
        """Look at the path as it is now; maps it where it can be used."""
        self.rank = None
        self.via = ""
        self.found = self._look()
        status, error, self.slot = native.map_source(self.kind, self.path)
        if self.lent and native.describe_source(self.lent[1]).detached:
            self.lent = None  # whoever passed it is asked again
        if status and self.lent:
            self.via, self.slot = self.lent
            status = ""
        self._judge(status, error)

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
    def barred(self) -> bool:
        """Is it a device that cannot be opened here, so that somebody else could?"""
        return self.rank is None and self.path.startswith("/dev/") and not self.path.startswith("/dev/shm/")

    @property
    def of_a_manager_without_device(self) -> bool:
        return self.rank == FILE and native.describe_source(self.slot).signaller >= NO_DEVICE

    def replaced(self) -> bool:
        """Does the path lead to another file than the mapped one? Then nobody bumps the mapped one any more."""
        if self.via:
            return False  # its path leads nowhere for this process
        now = self.leads_to()
        if now != self.identity and self.slot >= 0:
            self.identity = native.identify_source(self.slot)
        return now != self.identity

    def leads_to(self) -> "tuple[int, int] | None":
        """Device and inode of what is at the path now; None if nothing is."""
        now = self._look()
        return (now.st_dev, now.st_ino) if now else None

    def _look(self) -> "os.stat_result | None":
        try:
            return os.stat(self.path)
        except OSError:
            return None

    def as_dict(self) -> dict[str, object]:
        return {"source": self.name, "usable": self.rank is not None, "reason": self.why_not}

    @property
    def why_not(self) -> str:
        """A sentence while it is not usable, else empty."""
        return "; ".join(filter(None, (self.reason, self.refused))) if self.rank is None else ""


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
    return min(usable, key=lambda candidate: candidate.rank or 0, default=None)


_passed = False


def _borrow(barred: list[Candidate], none_to_pass: bool, ask_again: bool) -> None:
    """Have systemd (OpenFile=) or the manager opened one of these? `none_to_pass`: its file says no."""
    global _passed
    if not _passed and "LISTEN_FDNAMES" in os.environ:
        from snapsafe_rt.source import passed

        for candidate in barred:
            fd = passed.from_systemd(candidate.kind)
            if fd is not None and candidate.rank is None:
                candidate.borrow("systemd", fd)
    _passed = True  # later on the number may be another file's
    barred = [candidate for candidate in barred if candidate.rank is None]
    if barred and not none_to_pass and os.path.exists(settings.MANAGER):
        from snapsafe_rt.source import passed

        found = passed.from_manager(ask_again)
        for candidate in barred:
            candidate.refused = passed.problem or candidate.refused
            if found is not None and candidate.name == found[0]:
                candidate.borrow("the manager", found[1])
        if found is not None:
            os.close(found[1])


def sentence(status: str, error: int) -> str:
    return _REASONS[status].format(error=os.strerror(error) if error else "")
