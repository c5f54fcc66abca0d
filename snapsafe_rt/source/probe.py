"""Which source is watched now: at activation, when a better one may have come, and around a snapshot."""

import os
import time

from snapsafe_rt import hooks
from snapsafe_rt.core import native
from snapsafe_rt.settings import Settings
from snapsafe_rt.source import selection
from snapsafe_rt.state import state

PROBE_SECONDS = 1.0  # how often a missing or late source is looked for again, at the most


def watch_first() -> None:
    """Nothing was drawn under our eyes yet: whatever the source shows now is this process's generation.

    After a gap between deactivate() and activate() that holds only if the same page still shows the same number.
    """
    state.watched = selection.best(state.candidates)
    state.probed = time.monotonic()
    slot = state.watched.slot if state.watched else -1
    if native.owned_elsewhere():
        return
    _choose_attestor()
    shown = native.describe_source(slot) if state.watched else None
    seen = (shown.serial, shown.value) if shown else (-1, 0)
    if state.watched and state.left == seen:
        native.watch_since(slot, seen[1], -1)  # what moves between this look and the watch is a restore
    else:
        native.watch(slot, state.left is None or state.left == seen)
    state.probed_epoch = native.epoch()


def _choose_attestor() -> None:
    """While a device is watched, the manager's word in its file says when the kernel was reseeded."""
    files = [candidate for candidate in state.candidates if candidate.rank == selection.FILE]
    native.set_attestor(min(files, key=lambda file: file.gone).slot if files else -1)


def probe(now: bool = False) -> None:
    """Look for a source again: for a better one, for one that came late, for a file that was replaced.

    At most once in PROBE_SECONDS unless `now`. What is mapped stays watched until something better is. What is gained
    or lost on the way counts as a restore: nobody watched.
    """
    if not state.active:
        return
    native.notice_fork()
    if state.quiesced or native.owned_elsewhere():
        return
    if not now and 0 <= time.monotonic() - state.probed < PROBE_SECONDS:  # a restore may set that clock back
        return
    with state.lock:
        if not state.active or state.quiesced:
            return  # another thread saw to that since we looked
        state.probed = time.monotonic()
        epoch = native.epoch()  # the old source's last word
        old = state.watched
        known = old.identity if old else None
        if old and old.rank == selection.BEST and not native.describe_source(old.slot).lost:
            return
        lost = old is not None and native.describe_source(old.slot).lost
        if old is not None and not lost:
            old.replaced()  # which looks up anew what is mapped
        # Another file at the same place of our memory: CRIU restored us elsewhere; its generation told, or should have.
        moved = old is not None and old.identity != known and epoch == state.probed_epoch
        old_slot = native.inspect_epoch().source
        state.watched = selection.best(state.candidates)
        slot = state.watched.slot if state.watched else -1
        _choose_attestor()
        if slot != old_slot or moved or (lost and slot >= 0):  # a loss that was noticed is counted
            native.watch(slot, False)
        publish()
        state.probed_epoch = native.epoch()
    hooks.source_changed()


def detach(devices: bool) -> str:
    """Before a snapshot that was announced: no source is looked for any more. The fence is up until reattach().
    `devices`: map none any more, and watch a file instead if there is one. Returns why a device is still mapped though
    it should not be, or "". Main interpreter."""
    with state.lock:
        state.quiesced = True
        native.hold_fence(True)
        if not devices:
            return ""
        file = next((one for one in state.candidates if one.rank == selection.FILE and _kept_by_somebody(one)), None)
        shown = native.describe_source(file.slot).value if file is not None else 0
        kept = [_detach(candidate) for candidate in state.candidates if candidate.rank not in (None, selection.FILE)]
        native.discard_pool()  # not before: other threads draw meanwhile
        watched = state.watched
        if watched is not None and native.describe_source(watched.slot).detached:
            native.epoch()  # the device's last word, in the copy
            state.detached = watched.slot, native.describe_source(watched.slot).value
            if file is not None:  # what was published since before the copy was made, no device told of
                state.watched = file
                native.watch_since(file.slot, shown, -1)
        return "; ".join(filter(None, kept))


def _kept_by_somebody(file: "selection.Candidate") -> bool:
    return not file.replaced() and file.deserted is not True


def _detach(candidate: "selection.Candidate") -> str:
    why_not = candidate.why_kept()
    if why_not:
        return f"{candidate.name} {why_not}"
    error = native.detach(candidate.slot)
    if error:
        return f"{candidate.name} stays mapped ({os.strerror(error)})"
    candidate.rank, candidate.reason = None, "is detached for a snapshot"
    return ""


def reattach() -> None:
    """The snapshot is over: back to the best source. What moved meanwhile is a restore, counted once."""
    with state.lock:
        if not state.quiesced:
            return
        state.quiesced = False
        native.epoch()
        if state.detached is None:
            probe(now=True)
        else:
            slot, value = state.detached
            state.detached = None
            file = native.inspect_epoch().source
            state.watched = selection.best(state.candidates, ask_again=True)
            _choose_attestor()
            state.probed = time.monotonic()
            if state.watched is None or state.watched.slot != slot:
                native.watch(state.watched.slot if state.watched else -1, False)
            elif file != slot:
                native.watch_since(slot, value, file)
            state.probed_epoch = native.epoch()
        native.hold_fence(False)


def publish() -> None:
    """Have the status page say which sources there are. As source_lines() of cython/start.pxi."""
    lines = [
        (str(one.slot if one.rank is not None else -1), str(one.rank or 0), one.name, one.why_not, one.via)
        for one in state.candidates
    ]
    native.page_put({"source": lines})


def _go_on() -> None:
    """Take over what the core's start did without Python."""
    started = native.started() if native is not None else None
    if started is None or native.owned_elsewhere():
        return
    found, failed, sources = started
    state.settings = Settings({"SNAPSAFE_SOURCES": sources})  # all else was as by default, whatever it is by now
    state.candidates = [selection.found_at_start(*one) for one in found]
    state.probed_epoch = native.epoch()
    slot = native.inspect_epoch().source
    state.watched = next((one for one in state.candidates if one.rank is not None and one.slot == slot), None)
    state.probed = time.monotonic()
    state.problems += [f"{name} cannot be guarded here" for name in failed]
    state.active, state.why_not = True, ""


def _look_in_child() -> None:
    """A child may live where a source is that its parent could not see."""
    if state.active and state.watched is None:
        probe(now=True)


_go_on()
hooks.forked.add(_look_in_child)
