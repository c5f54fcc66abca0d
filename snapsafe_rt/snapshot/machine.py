"""What a program does around a snapshot that is announced to it, as a machine of states: no clock, no file, no thread.

    running ──begin()──> before ──stand()──> quiesced ──over()──> after ──> running
                           └──refuse()──> late ──over()──> running

running   A delay lock is held, or asked for. The watcher has the connection (cython/connection.h).
before    The callbacks run, last-in first-out: on the watcher's runner, or on the loop or hub where one was registered.
quiesced  inotify and the connection are closed and, for CRIU, the device is detached. The delivery lock is parked: no
          thread has it, so the callbacks of a restore wait for the snapshot's end. The program's threads go on drawing,
          so what the restore event alone renews is renewed at once.
after     The source is looked at again. If it has moved the restore event runs, else after_in_original.
late      No lock is to be had before the present snapshot is over. If callbacks of ours failed, what the others did is
          undone meanwhile.

A State never changes: each function returns the next one, or the same where what happened does not matter any more. So
a child that is forked while a thread works finds one state or the next, and never half of each. The runner,
snapsafe_rt.snapshot.lifecycle, does what `step` says and reports here. tests/unit/test_machine.py goes to every state
that there is.
"""

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.restore.callbacks import Registration

    Entries = tuple[Registration, ...]

RUNNING, BEFORE, QUIESCED, AFTER, LATE = "running", "before", "quiesced", "after", "late"
ORIGINAL, CLONE, FAILED = "original", "clone", "failed"

IDLE = ""
"""No thread works: the delivery lock is parked while quiesced, and else not ours."""
RUN = "run"
"""Call the first entry of `todo`; then ran()."""
REFUSE = "refuse"
"""Read what is to be undone; then refuse(), and tell the announcer what failed."""
STAND = "stand"
"""Detach the source; then stand(), park the lock, and tell the announcer that we are ready."""
RETURN = "return"
"""Attach the source again, and run the restore event if it moved; then returned()."""


class State(NamedTuple):
    phase: str = RUNNING
    step: str = IDLE
    """What the thread that has the delivery lock does next."""
    number: int = 0
    """How many snapshots this process has met. A thread that had to wait sees by it whether it comes too late."""
    todo: "Entries" = ()
    """What is still to be called, in order. The first one has begun, perhaps."""
    done: "Entries" = ()
    """Whose callback before the snapshot has returned, here or in the process that forked us, and is not undone."""
    failed: "Entries" = ()
    """Whose callback before the snapshot raised: nothing of their pairs is undone."""
    halfway: bool = False
    """A child that was forked while the callbacks before a snapshot ran. It goes on when it is asked itself; if all is
    over by then, it is told the end alone."""
    outcome: str = ""
    """What this process turned out to be at the end of the last snapshot."""


# ---- what the announcer says ----


def begin(state: State, number: int, entries: "Entries", active: bool) -> State:
    """A snapshot was announced when `number` was this, and we have the delivery lock by now."""
    if state.phase != RUNNING or state.number != number or not active:
        return state
    todo = tuple(entry for entry in reversed(entries) if entry not in state.done)
    return State(BEFORE, RUN if todo else STAND, number + 1, todo, state.done)


def late(state: State, number: int) -> State:
    """We asked for a lock, and a snapshot is under way already."""
    if state.phase != RUNNING or state.number != number:
        return state
    return State(LATE, number=number + 1)


def missed(state: State, number: int, active: bool) -> State:
    """We went on halfway, and the snapshot was over before anybody asked us. We have the delivery lock."""
    if state.phase != RUNNING or state.number != number or not state.halfway or not active:
        return state
    return state._replace(phase=AFTER, step=RETURN, number=number + 1, halfway=False)


def over(state: State, number: int) -> State:
    """The snapshot of that number is over. If we are quiesced, the thread that saw it takes the delivery lock."""
    if state.number != number or state.step != IDLE:
        return state  # another thread was first; perhaps the next snapshot has begun
    if state.phase == QUIESCED:
        return state._replace(phase=AFTER, step=RETURN)
    return State(number=number, outcome=state.outcome) if state.phase == LATE else state


# ---- what the thread that works has done ----


def ran(state: State, raised: bool, active: bool) -> State:
    """The first entry of `todo` was called."""
    entry, todo = state.todo[0], state.todo[1:]
    if state.phase == BEFORE and raised:
        state = state._replace(failed=(*state.failed, entry))
    elif state.phase == BEFORE:
        state = state._replace(done=(*state.done, entry))
    state = state._replace(todo=todo)
    if todo:
        return state
    if state.phase != BEFORE:
        return _end(state)
    return state._replace(step=REFUSE if state.failed else STAND) if active else _drop(state)


def refuse(state: State, entries: "Entries") -> State:
    """`entries`: what undoes, those of the failed ones among it."""
    without = {entry.pair for entry in state.failed if entry.pair is not None}
    todo = tuple(entry for entry in entries if entry.pair not in without)
    state = state._replace(phase=LATE, step=RUN, todo=todo, outcome=FAILED)
    return state if todo else _end(state)


def stand(state: State, active: bool) -> State:
    return state._replace(phase=QUIESCED, step=IDLE) if active else _drop(state)


def returned(state: State, restored: bool, told: bool, entries: "Entries") -> State:
    """`restored`: this is a clone, and the restore event was run; `told`: its callbacks were, too. `entries`: what is
    for the original."""
    todo = () if restored and told else entries
    state = state._replace(step=RUN, todo=todo, outcome=CLONE if restored else ORIGINAL)
    return state if todo else _end(state)


def _end(state: State) -> State:
    return State(LATE if state.phase == LATE else RUNNING, number=state.number, outcome=state.outcome)


def _drop(state: State) -> State:
    return State(number=state.number)


# ---- what may happen at any moment ----


def forked(state: State) -> State:
    """This is a child; the thread that worked is in the parent, or is the one that forked, and then works for it no
    more. In RUN and RETURN another thread takes over: what has run is not run again, what had begun is run whole."""
    if state.phase == BEFORE:
        return State(number=state.number, done=state.done, halfway=True)
    if state.phase == LATE and state.step == IDLE:
        return _drop(state)  # it asks for itself
    return state


def deactivated(state: State) -> State:
    """Nobody tells of the snapshot's end any more. A thread that works comes to its end first."""
    return _drop(state) if state.step == IDLE else state._replace(done=(), halfway=False)


def broken(state: State) -> State:
    """The thread that works was ended by an error of ours."""
    return _drop(state)
