"""Activation: installs the guards, watches the best source, and takes both away again.

What is shared by the whole process (the guards' C functions, the watched page) belongs to the main interpreter; what is
Python belongs to each interpreter. A lock serialises the two calls; nothing here runs on a draw.
"""

import os
import sys
import time
from _thread import RLock  # threading is not imported at start-up

from snapsafe_rt import settings
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.guards import imports, table
from snapsafe_rt.report import page
from snapsafe_rt.source import selection

_lock = RLock()

PROBE_SECONDS = 1.0  # how often a missing or late source is looked for again, at the most
NOT_CALLED = "activate() was not called"


class State:
    """The activation of this interpreter. Read by status(); changed with the lock held."""

    __slots__ = (
        "active",
        "candidates",
        "left",
        "let_go",
        "probed",
        "probed_epoch",
        "problems",
        "quiesced",
        "settings",
        "watched",
        "why_not",
    )

    def __init__(self) -> None:
        self.active = False
        self.why_not = NOT_CALLED
        self.settings = settings.Settings()
        self.problems: list[str] = []
        self.candidates: list[selection.Candidate] = []
        self.watched: selection.Candidate | None = None
        self.probed = 0.0
        self.probed_epoch = 0
        self.left: tuple[int, int] | None = None  # slot and generation at deactivation
        self.quiesced = False  # between let_go() and take_again()
        self.let_go: tuple[int, int] | None = None  # slot of the watched device, and what it showed


state = State()


def activate(sources: "str | list[str] | tuple[str, ...] | None" = None) -> None:
    """Guard this process. Idempotent: a second call changes nothing, and if it names other sources, status() says so.

    `sources`: a list as in SNAPSAFE_SOURCES (`vmclock:PATH`, `sysgenid:PATH`), which it overrides. What cannot be
    guarded or watched is told by status(), not raised; under SNAPSAFE_STRICT=1 it ends the process with status 78.
    Raises TypeError or ValueError for a `sources` that is no such list. Any thread; best before others are started.
    Forked children inherit it.
    """
    candidates, problems = _named(sources)
    with _lock:
        if state.active:
            _note_other(candidates)
            return
        state.settings = settings.Settings()
        state.problems = state.settings.problems + problems
        if not state.settings.enabled:
            state.why_not = "SNAPSAFE=0"
            return
        if native is None:
            state.why_not = MISSING
            _refuse_if_strict(MISSING)
            return
        state.candidates = candidates if sources is not None else _from_environment()
        state.problems += [f"{name} cannot be guarded here" for name in native.install(state.settings.reseed_kept)]
        native.raise_fence()
        _watch_first()
        state.active = True
        state.why_not = ""
        table.install()
        imports.install()
        _fork_hook()
        _tell_watching()
        _check_strict()
        page.write()


def _note_other(candidates: "list[selection.Candidate]") -> None:
    """Who names other sources now believes that they are watched."""
    known = {candidate.name for candidate in state.candidates}
    other = [candidate.name for candidate in candidates if candidate.name not in known]
    if other:
        state.problems.append(
            f"activate() named {', '.join(other)} when active already: not watched; deactivate() first"
        )


def activate_unless_told() -> None:
    """What a registration does: activate, if nothing decided yet whether this process is active."""
    if not state.active and state.why_not == NOT_CALLED:
        activate()


def lock() -> RLock:
    """Held while the activation or what follows from it changes."""
    return _lock


def _tell_watching() -> None:
    """The source is another one, or there is none. Nothing is imported for that: who has callbacks has imported it."""
    watching = sys.modules.get("snapsafe_rt.restore.watcher")
    if watching is not None:
        watching.update()


def _named(given: "str | list[str] | tuple[str, ...] | None") -> "tuple[list[selection.Candidate], list[str]]":
    if given is None:
        return [], []
    if not isinstance(given, str | list | tuple) or not all(isinstance(entry, str) for entry in given):
        raise TypeError("sources must be a string or a list of strings such as 'vmclock:/dev/vmclock0'")
    candidates, problems = selection.parse(given)
    if problems:
        raise ValueError("; ".join(problems))
    return candidates, []


def _from_environment() -> "list[selection.Candidate]":
    candidates, problems = selection.parse(state.settings.sources)
    state.problems += [f"SNAPSAFE_SOURCES: {problem}" for problem in problems]
    return candidates


def _watch_first() -> None:
    """Nothing was drawn under our eyes yet: whatever the source shows now is this process's generation.

    After a gap between deactivate() and activate() that holds only if the same page still shows the same number.
    """
    state.watched = selection.best(state.candidates)
    state.probed = time.monotonic()
    slot = state.watched.slot if state.watched else -1
    if native.owned_elsewhere():
        return
    _heed()
    seen = (slot, native.describe_source(slot).value) if state.watched else (-1, 0)
    if state.watched and state.left == seen:
        native.watch_since(slot, seen[1], -1)  # what moves between this look and the watch is a restore
    else:
        native.watch(slot, certain=state.left is None or state.left == seen)
    state.probed_epoch = native.epoch()


def _heed() -> None:
    """While a device is watched, the manager's word in its file says when the kernel was reseeded."""
    files = [candidate.slot for candidate in state.candidates if candidate.rank == 2]
    native.heed(files[0] if files else -1)


def probe(now: bool = False) -> None:
    """Look for a source again: for a better one, for one that came late, for a file that was replaced.

    At most once in PROBE_SECONDS unless `now`. What is gained or lost on the way counts as a restore: nobody watched.
    """
    if not state.active or state.quiesced or native.owned_elsewhere():
        return
    if not now and time.monotonic() - state.probed < PROBE_SECONDS:
        return
    with _lock:
        if not state.active or state.quiesced:
            return  # another thread saw to that since we looked
        state.probed = time.monotonic()
        epoch = native.epoch()  # the old source's last word
        old = state.watched
        known = old.identity if old else None
        if old and old.rank == 0 and not native.describe_source(old.slot).lost:
            return
        gone = old is not None and (native.describe_source(old.slot).lost or old.replaced())
        # Another file at the same place of our memory: CRIU restored us elsewhere; its generation told, or should have.
        moved = old is not None and old.identity != known and epoch == state.probed_epoch
        old_slot = native.inspect_epoch().source
        state.watched = selection.best(state.candidates)
        slot = state.watched.slot if state.watched else -1
        _heed()
        changed = slot != old_slot or moved
        if changed or (gone and slot >= 0):  # a loss that was noticed is counted
            native.watch(slot, certain=False)
        if changed or gone:
            page.write()
        state.probed_epoch = native.epoch()
    _tell_watching()


def let_go(devices: bool) -> str:
    """Before a snapshot that was announced: no source is looked for any more. The fence is up until take_again().
    `devices`: map none any more, and watch a file instead if there is one. Returns why a device is still mapped though
    it should not be, or "". Main interpreter."""
    with _lock:
        state.quiesced = True
        native.hold_fence(True)
        if not devices:
            return ""
        file = next((one for one in state.candidates if one.rank == 2 and _kept_by_somebody(one)), None)
        shown = native.describe_source(file.slot).value if file is not None else 0
        kept = [_let_go(candidate) for candidate in state.candidates if candidate.rank in (0, 1)]
        native.discard_pool()  # not before: other threads draw meanwhile
        watched = state.watched
        if watched is not None and native.describe_source(watched.slot).let_go:
            native.epoch()  # the device's last word, in the copy
            state.let_go = watched.slot, native.describe_source(watched.slot).value
            if file is not None:  # what was published since before the copy was made, no device told of
                state.watched = file
                native.watch_since(file.slot, shown, -1)
        return "; ".join(filter(None, kept))


def _kept_by_somebody(file: "selection.Candidate") -> bool:
    return not file.replaced() and not native.deserted(file.path)


def _let_go(candidate: "selection.Candidate") -> str:
    why_not = candidate.why_kept()
    if why_not:
        return f"{candidate.name} {why_not}"
    error = native.let_go(candidate.slot)
    if error:
        return f"{candidate.name} stays mapped ({os.strerror(error)})"
    candidate.rank, candidate.reason = None, "is let go of for a snapshot"
    return ""


def take_again() -> None:
    """The snapshot is over: back to the best source. What moved meanwhile is a restore, counted once."""
    with _lock:
        if not state.quiesced:
            return
        state.quiesced = False
        native.epoch()
        if state.let_go is None:
            probe(now=True)
        else:
            slot, value = state.let_go
            state.let_go = None
            file = native.inspect_epoch().source
            selection.ask_manager_again()
            state.watched = selection.best(state.candidates)
            _heed()
            state.probed = time.monotonic()
            if state.watched is None or state.watched.slot != slot:
                native.watch(state.watched.slot if state.watched else -1, certain=False)
            elif file != slot:
                native.watch_since(slot, value, file)
            state.probed_epoch = native.epoch()
        native.hold_fence(False)


def deactivate() -> None:
    """Undo activate() exactly: every patched object is as it was. Does nothing when not active.

    Values handed out stay; instances keep their state. Restores are not seen until activate() is called again, which
    then counts the gap as a restore unless the same source shows the same generation. Any thread.
    """
    with _lock:
        if not state.active:
            return
        imports.remove()
        table.remove()
        if not native.owned_elsewhere():
            native.epoch()
            info = native.inspect_epoch()
            state.left = (info.source, info.generation) if info.source >= 0 else (-1, 0)
            native.watch(-1, certain=True)
            native.remove()
            native.hold_fence(False)  # the process' own, like the guards
        state.active = state.quiesced = False
        state.watched = state.let_go = None
        state.why_not = "deactivate() was called"
        _tell_watching()
        page.write()


_fork_hooked = False


def _fork_hook() -> None:
    """A child may live where a source is that its parent could not see. The hook cannot be taken out, only idle."""
    global _fork_hooked
    if not _fork_hooked:
        os.register_at_fork(after_in_child=_after_fork_in_child)
        _fork_hooked = True


def _after_fork_in_child() -> None:
    global _lock
    _lock = RLock()  # perhaps held by a thread that this process does not have
    forking = native.forking()  # who was activated, and hooked us in, has the core
    if forking == 2:
        return  # it is about to become another program
    callbacks = sys.modules.get("snapsafe_rt.restore.callbacks")
    if callbacks is not None:
        callbacks.after_fork_in_child()
    if state.active and state.watched is None:
        probe(now=True)
    if not forking:
        native.resume_watching()  # os.fork() does that at its very end


def _refuse_if_strict(reason: str) -> None:
    if state.settings.strict:
        settings.die(reason)


def _check_strict() -> None:
    """What SNAPSAFE_STRICT=1 does not tolerate."""
    if not state.settings.strict:
        return
    for problem in state.problems:
        settings.die(problem)
    if state.watched is None and not native.owned_elsewhere():
        reasons = "; ".join(f"{candidate.name} {candidate.why_not}" for candidate in state.candidates)
        settings.die(f"no usable source: {reasons}")
    if state.watched is not None and state.watched.rank == 2 and native.deserted(state.watched.path):
        settings.die(f"{state.watched.name} is kept by a manager that does not run")
    if not native.inspect_entropy().cpu:
        settings.die("this CPU has no random instruction to fence the kernel's entropy with")
    for name, level, note in table.report():
        if level == "unprotected" and not table.needs_event(name):  # the watcher starts after this
            settings.die(f"{name} is unprotected: {note}")


def from_site() -> None:
    """What sitecustomize calls: activate, and let nothing but a strict refusal reach the program."""
    try:
        activate()
    except Exception as error:
        state.why_not = f"activation failed: {type(error).__name__}: {error}"
        if "SNAPSAFE_STRICT" in os.environ and not sys.flags.ignore_environment:
            _refuse_if_strict(state.why_not)
