"""Activation: installs the guards, watches the best source, and takes both away again.

What is shared by the whole process (the guards' C functions, the watched page) belongs to the main interpreter; what is
Python belongs to each interpreter. A lock serialises the two calls; nothing here runs on a draw.
"""

import os

from snapsafe_rt import hooks, settings
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.guards import table
from snapsafe_rt.source import probe, selection
from snapsafe_rt.state import NOT_CALLED, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from snapsafe_rt.guards.guard import Guard

_audit: "ModuleType | None" = None  # snapsafe_rt.report.audit, where SNAPSAFE_AUDIT asked for it


def activate(sources: "str | list[str] | tuple[str, ...] | None" = None) -> None:
    """Guard this process. Idempotent: a second call changes nothing, and if it names other sources, status() says so.

    `sources`: a list as in SNAPSAFE_SOURCES (`vmclock:PATH`, `sysgenid:PATH`), which it overrides. What cannot be
    guarded or watched is told by status(), not raised; under SNAPSAFE_STRICT=1 it ends the process with status 78.
    Raises TypeError or ValueError for a `sources` that is no such list. Any thread; best before others are started.
    Forked children inherit it.
    """
    candidates, problems = _named(sources)
    with state.lock:
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
            if state.settings.strict:
                settings.die(MISSING)
            return
        state.candidates = candidates if sources is not None else _from_environment()
        try:
            if state.settings.audit and native.in_main_interpreter():
                _begin_audit()
            _put_in_place()
        except BaseException:  # a signal's handler may raise between any two steps: all of it, or nothing
            _take_away("activate() was interrupted")
            raise
        _check_strict()
        _publish()
        if _audit is not None:
            _audit.follow()


def _begin_audit() -> None:
    """Before the guards are in place, so that no draw is missed."""
    global _audit
    from snapsafe_rt.report import audit

    _audit = audit
    audit.begin()


def _put_in_place() -> None:
    state.problems += [f"{name} cannot be guarded here" for name in native.install(state.settings.reseed_kept)]
    native.raise_fence()
    probe.watch_first()
    state.active = True
    state.why_not = ""
    table.install()
    native.install_finder()
    native.register_fork()
    hooks.source_changed()


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


def deactivate() -> None:
    """Undo activate() exactly: every patched object is as it was. Does nothing when not active.

    Values handed out stay; instances keep their state. Restores are not seen until activate() is called again, which
    then counts the gap as a restore unless the same source shows the same generation. Any thread.
    """
    with state.lock:
        if not state.active:
            return
        try:
            _take_away("deactivate() was called")
        except BaseException:  # once more: each step may be taken twice
            _take_away("deactivate() was called")
            raise


def _take_away(why_not: str) -> None:
    """What _put_in_place() did, as far as it came."""
    if _audit is not None:
        _audit.end()
    native.remove_finder()
    table.remove()
    if not native.owned_elsewhere():
        native.epoch()
        info = native.inspect_epoch()
        if info.source >= 0:
            state.left = native.describe_source(info.source).serial, info.generation
        elif state.left is None:
            state.left = -1, 0
        native.watch(-1, True)
        native.set_attestor(-1)
        native.release_sources()
        native.remove()
        native.hold_fence(False)  # the process' own, like the guards
    state.active = state.quiesced = False
    state.watched = state.detached = None
    state.why_not = why_not
    hooks.source_changed()
    _publish()


def _publish() -> None:
    """Have the status page say all that this room and the guards know."""
    native.page_header(state.active, state.why_not)
    problems = [(sentence,) for sentence in state.problems]
    native.page_put({"setting": state.settings.changed(), "problem": problems})
    probe.publish()
    if state.active:
        table.publish()


def _check_strict() -> None:
    """What SNAPSAFE_STRICT=1 does not tolerate."""
    if not state.settings.strict:
        return
    for problem in state.problems:
        settings.die(problem)
    if state.watched is None and not native.owned_elsewhere():
        reasons = "; ".join(f"{candidate.name} {candidate.why_not}" for candidate in state.candidates)
        settings.die(f"no usable source: {reasons}")
    if state.watched is not None and state.watched.deserted:
        settings.die(f"{state.watched.name} is kept by a manager that does not run")
    if not native.inspect_entropy().cpu:
        settings.die("this CPU has no random instruction to fence the kernel's entropy with")
    for name, level, note in table.report():
        if level == "unprotected" and not table.needs_event(name):  # the watcher starts after this
            settings.die(f"{name} is unprotected: {note}")
    from snapsafe_rt.guards import loaded

    loaded.look()


def from_site() -> None:
    """What sitecustomize calls: activate, and let nothing but a strict refusal reach the program."""
    try:
        activate()
    except Exception as error:
        state.why_not = f"activation failed: {type(error).__name__}: {error}"
        if "SNAPSAFE_STRICT" in os.environ and settings.environment_counts() and state.settings.strict:
            settings.die(state.why_not)


# ---- what the rooms below want of the rooms above ----


def _load_watcher() -> None:
    try:
        from snapsafe_rt.restore import watcher

        watcher.update()
    except Exception as error:  # say, no descriptor is left to read it by: the program only imported something
        state.problems.append(f"nobody runs the restore event ({type(error).__name__}: {error})")


def _snapstart() -> "Guard":
    from snapsafe_rt.snapshot.snapstart import GUARD

    return GUARD


if native is not None:
    native.watch_modules(table.TRIGGERS)
hooks.activation_wanted.add(activate_unless_told)
hooks.watcher_wanted.add(_load_watcher)
table.ELSEWHERE["snapstart"] = _snapstart
if native is not None and native.started() is not None:
    table.install()  # what came before the start, past the finder, or while this could not be imported
    table.publish()
