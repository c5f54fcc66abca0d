"""Which counter is watched: reads the list, judges each candidate, picks the best one that can be used."""

import os

from snapsafe_rt.core import native

_KINDS = {"vmclock": 0, "sysgenid": 1}  # enum ss_source_kind in cython/source.h

# enum ss_source_status in cython/source.h: why a path is no source.
_REASONS = (
    "",
    "does not exist",
    "may not be opened by this user ({error})",
    "cannot be used ({error})",
    "is neither a device nor a regular file",
    "lies on a filesystem where a mapping may not follow what is written (overlayfs, network, FUSE): "
    "put it on tmpfs or bind-mount it",
    "can be written by other users: chmod go-w it",
    "belongs to another user, who could hold the counter still: it must be root's or your own",
    "is shorter than the layout",
    "does not begin with VMClock's magic",
    "has a layout version other than 1",
    "has the generation flag (bit 8) clear",
    "is one too many: this process has mapped its limit of pages",
    "was a source and is none any more: it was truncated or overwritten",
)

RANKS = ("device with a generation", "device with a disruption marker", "file with a generation")
_WORDS = ("", "generation", "disruption marker")


class Candidate:
    """One entry of the list. `rank` indexes RANKS, lower is better; None while it is not usable, with `reason`."""

    __slots__ = ("found", "identity", "kind", "path", "rank", "reason", "slot")

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path
        self.slot = -1
        self.rank: int | None = None
        self.reason = "not looked at yet"
        self.identity: tuple[int, int] = (0, 0)  # device and inode of what is mapped
        self.found: os.stat_result | None = None  # what was at the path before it was mapped

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.path}"

    def examine(self) -> None:
        """Look at the path as it is now; maps it where it can be used."""
        self.rank = None
        self.found = self._look()
        status, error, self.slot = native.map_source(_KINDS[self.kind], self.path)
        if status:
            self.reason = _REASONS[status].format(error=os.strerror(error) if error else "")
            return
        state = native.describe_source(self.slot)
        if state.lost:
            self.reason = _REASONS[-1]
            return
        self.identity = (state.dev, state.ino)
        self.rank = 2 if not state.device else state.word - 1
        self.reason = ""

    def replaced(self) -> bool:
        """Does the path lead to another file than the mapped one? Then nobody bumps the mapped one any more."""
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
        return {"source": self.name, "usable": self.rank is not None, "reason": self.reason}


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


def best(candidates: list[Candidate]) -> "Candidate | None":
    """Examine all and return the best usable one; the first of equals."""
    usable = []
    for candidate in candidates:
        candidate.examine()
        if candidate.rank is not None:
            usable.append(candidate)
    return min(usable, key=lambda candidate: candidate.rank or 0, default=None)


def word_name(word: int) -> str:
    return _WORDS[word]
