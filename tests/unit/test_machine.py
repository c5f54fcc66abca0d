"""The program's machine of states, checked in every state that it can be brought to by an announcer, by callbacks that
fail, by forks, by threads that come too late, and by who deactivates."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest

from snapsafe_rt.snapshot import machine
from snapsafe_rt.snapshot.machine import (
    AFTER,
    BEFORE,
    CLONE,
    FAILED,
    IDLE,
    LATE,
    ORIGINAL,
    QUIESCED,
    REFUSE,
    RETURN,
    RUN,
    RUNNING,
    STAND,
    State,
)


class Entry(NamedTuple):
    name: str
    pair: str


BEFORES = (Entry("before a", "a"), Entry("before b", "b"))
ORIGINALS = (Entry("original a", "a"), Entry("original b", "b"), Entry("original c", "c"))
FREE, WORKER, PARKED = "free", "worker", "parked"
STALE = -1
EDGES = {
    (RUNNING, BEFORE),
    (RUNNING, LATE),
    (RUNNING, AFTER),  # who missed it
    (BEFORE, QUIESCED),
    (BEFORE, LATE),
    (QUIESCED, AFTER),
    (AFTER, RUNNING),
    (LATE, RUNNING),
}
DROPPED = {(phase, RUNNING) for phase in (BEFORE, QUIESCED, AFTER, LATE)}  # forked, not active any more, or broken


class World(NamedTuple):
    """A process: the machine, who has the delivery lock, and the threads that are on their way. Counts are relative to
    the machine's, or STALE."""

    state: State = State()
    lock: str = FREE
    active: bool = True
    waiters: tuple = ()  # (what to do with the lock, the count when it was heard), for two threads at the most
    lookers: tuple = ()  # the count of the snapshot that each of them has seen the end of
    open: frozenset = frozenset()  # pairs that a callback has made ready, and none has undone
    undone: frozenset = frozenset()  # of the present snapshot, pairs and others
    failed: frozenset = frozenset()  # of the present snapshot


NOTHING = {"open": frozenset(), "undone": frozenset(), "failed": frozenset()}


def settle(world, state, **more):
    """The world one step on, with the machine's number as zero."""
    by = state.number
    waiters = tuple(sorted((what, 0 if count == by else STALE) for what, count in more.pop("waiters", world.waiters)))
    lookers = tuple(sorted(0 if count == by else STALE for count in more.pop("lookers", world.lookers)))
    return world._replace(state=state._replace(number=0), waiters=waiters, lookers=lookers, **more)


def without(many, one):
    many = list(many)
    many.remove(one)
    return tuple(many)


def worked(state):
    """The thread that has the lock gives it back or parks it."""
    if state.step != IDLE:
        return WORKER
    return PARKED if state.phase == QUIESCED else FREE


def owner_steps(m, world):
    """What the thread that works may come to."""
    state = world.state
    if state.step == RUN:
        entry = state.todo[0]
        for raised in (False, True):
            after = m.ran(state, raised, world.active)
            opened, undone, failed = world.open, world.undone, world.failed
            if state.phase == BEFORE:
                assert entry.pair not in opened, "called twice before the snapshot"
                opened, failed = (opened, failed | {entry.pair}) if raised else (opened | {entry.pair}, failed)
            else:
                assert entry.pair not in undone, "undone twice"
                undone |= {entry.pair}
            yield f"{entry.name}, {raised}", after, world._replace(open=opened, undone=undone, failed=failed)
    elif state.step == REFUSE:
        yield "refused", m.refuse(state, ORIGINALS), world
    elif state.step == STAND:
        yield "stands", m.stand(state, world.active), world
    elif state.step == RETURN:
        for restored, told in ((False, False), (True, True), (True, False)):
            after = m.returned(state, restored, told, ORIGINALS)
            undone = world.undone | {entry.pair for entry in ORIGINALS} if told else world.undone
            yield f"returned, {restored}, {told}", after, world._replace(undone=undone)
    yield "broken", m.broken(state), world


def steps(m, world):
    """Everything that may happen: (name, world)."""
    state = world.state
    if world.lock == WORKER:
        for name, after, then in owner_steps(m, world):
            if after.step == IDLE and after.phase != QUIESCED:
                if after.outcome:
                    check_end(state, after, then)
                then = then._replace(**NOTHING)
            yield name, settle(then, after, lock=worked(after))
    if state.step != IDLE and world.lock == FREE:
        after = m.forked(state)
        yield "adopted", settle(world, after, lock=worked(after))
    if state.phase == RUNNING and state.step == IDLE:
        for what in ("begin", "missed"):
            heard = (what, state.number)
            if len(world.waiters) < 2 and (what == "begin" or state.halfway):
                yield f"hears: {what}", world._replace(waiters=tuple(sorted((*world.waiters, heard))))
        if not state.halfway:
            yield "late", settle(world, m.late(state, state.number), open=frozenset())
        yield "nothing registered", settle(world, m.deactivated(state), open=frozenset())
    for what, count in set(world.waiters):
        waiters = without(world.waiters, (what, count))
        if count == STALE:
            yield "gives up", world._replace(waiters=waiters)
        if world.lock == FREE:
            entries = (BEFORES,) if what == "begin" else ()
            after = getattr(m, what)(state, count, *entries, world.active)
            assert (count != STALE and world.active) or after == state, "begins what is over"
            yield f"{what} with the lock", settle(world, after, waiters=waiters, lock=worked(after))
    if state.phase in (QUIESCED, LATE) and state.step == IDLE and len(world.lookers) < 2:
        yield "sees the end", world._replace(lookers=tuple(sorted((*world.lookers, state.number))))
    for count in set(world.lookers):
        after = m.over(state, count)
        assert count != STALE or after == state, "ends another snapshot"
        lock = world.lock
        if after.phase == AFTER and after is not state:
            assert world.lock == PARKED, "two owners"
            lock = WORKER
        yield "over", settle(world, after, lookers=without(world.lookers, count), lock=lock)
    if world.active:
        after = m.deactivated(state)
        lock = FREE if world.lock == PARKED else world.lock
        forgotten = NOTHING if after.step == IDLE else {"open": frozenset()}
        yield "deactivated", settle(world, after, active=False, lock=lock, **forgotten)
    else:
        yield "activated", world._replace(active=True)
    after = m.forked(state)
    lock = PARKED if after.phase == QUIESCED else FREE
    failed = world.failed if after.phase == state.phase else frozenset()
    yield "forked", settle(world, after, waiters=(), lookers=(), lock=lock, failed=failed)


def check_end(before, after, world):
    """The callbacks of a snapshot that is over, in this process."""
    every = {entry.pair for entry in ORIGINALS}
    refused = before.phase == LATE or before.step == REFUSE
    assert after.outcome == FAILED if refused else after.outcome in (ORIGINAL, CLONE)
    assert world.undone == (every - world.failed if refused else every)
    assert world.open <= world.undone, "made ready, and not undone"


def check(before, name, after):
    phases = before.state.phase, after.state.phase
    allowed = EDGES | DROPPED if name in ("broken", "forked", "adopted", "deactivated", "nothing registered") else EDGES
    dropped = not before.active and name.startswith(("before", "stands"))
    assert phases[0] == phases[1] or phases in allowed or (dropped and phases in DROPPED), phases
    state = after.state
    assert (after.lock == PARKED) == (state.phase == QUIESCED), "parked exactly while quiesced"
    assert state.phase != RUNNING or state.step == IDLE
    assert state.phase not in (BEFORE, AFTER) or state.step != IDLE, "stuck"
    assert state.phase != QUIESCED or state.step == IDLE
    assert (after.lock == WORKER) <= (state.step != IDLE)
    assert (state.step == RUN) == bool(state.todo)
    assert state.phase != RUNNING or state.halfway or not (state.done or after.open), "nobody will undo it"
    if state.halfway or state.phase == BEFORE:
        assert {entry.pair for entry in state.done} == after.open
    assert not state.halfway or state.phase == RUNNING
    if name == "broken":
        assert after.lock == FREE, "a lock that nobody gives back"
    if name == "forked":
        assert state.phase != BEFORE, "it goes on, and the announcer does not know of it"
    if before.lock == WORKER and name not in ("broken", "forked"):
        assert after.lock == WORKER or state.step == IDLE, "another thread takes the lock from who works"


def ends(m, world):
    """Whatever has happened: once the announcer says that it is over, the process runs, and no lock is held."""
    for _ in range(20):
        wanted = ("adopted", "original", "before", "refused", "stands", "returned", "over", "sees the end")
        ahead = [after for name, after in steps(m, world) if name.startswith(wanted)]
        if not ahead or (world.state.phase == RUNNING and world.lock == FREE):
            break
        world = ahead[0]
    assert (world.state.phase, world.state.step, world.lock) == (RUNNING, IDLE, FREE), world


def explore(m=machine):
    """Check every step out of every world that can be reached. Returns them, and how many steps."""
    known, new, count = {World()}, [World()], 0
    while new:
        world = new.pop()
        for name, after in steps(m, world):
            check(world, name, after)
            count += 1
            if after not in known:
                known.add(after)
                new.append(after)
        ends(m, world)
    return known, count


def test_every_state():
    known, count = explore()
    states = {world.state for world in known}
    assert {state.phase for state in states} == {RUNNING, BEFORE, QUIESCED, AFTER, LATE}
    assert {state.step for state in states} == {IDLE, RUN, REFUSE, STAND, RETURN}
    assert {state.outcome for state in states} == {"", ORIGINAL, CLONE, FAILED}
    assert any(state.halfway and state.done for state in states)
    assert len(states) > 70
    assert len(known) > 1000
    assert count > 5000


def impatient(state, count):
    """Who saw the end of one snapshot ends the next."""
    return machine.over(state, state.number)


def forgetful(state):
    """A child does not know what was done before it was forked."""
    return machine.forked(state)._replace(done=())


def again(state, entries):
    """What raised is undone as well."""
    return machine.refuse(state._replace(failed=()), entries)


def stubborn(state):
    """Who is not active any more stands still all the same."""
    return machine.deactivated(state) if state.phase != QUIESCED else state


def half(state, restored, told, entries):
    """What is for the original alone is called in a clone, too."""
    return machine.returned(state, restored, False, entries)


def abrupt(state):
    """A child that is forked while something is undone begins anew."""
    return State(number=state.number, done=state.done) if state.phase in (AFTER, LATE) else machine.forked(state)


def careless(state, count, entries, active):
    """Who waited for the lock begins, whatever has happened meanwhile."""
    return machine.begin(state._replace(phase=RUNNING), state.number, entries, active)


@pytest.mark.parametrize(
    "broken",
    [
        {"over": impatient},
        {"forked": forgetful},
        {"refuse": again},
        {"deactivated": stubborn},
        {"returned": half},
        {"forked": abrupt},
        {"begin": careless},
        {"forked": lambda state: state},
        {"broken": lambda state: state},
    ],
)
def test_the_check_finds_what_is_broken(broken):
    with pytest.raises(AssertionError):
        explore(SimpleNamespace(**{**vars(machine), **broken}))


def go(state, *done):
    """The callbacks return one after the other."""
    while state.step == RUN:
        done = (*done, state.todo[0].name)
        state = machine.ran(state, False, True)
    return state, done


def test_one_snapshot():
    state, called = go(machine.begin(State(), 0, BEFORES, True))
    assert called == ("before b", "before a")
    assert (state.phase, state.step) == (BEFORE, STAND)
    state = machine.stand(state, True)
    assert (state.phase, state.step) == (QUIESCED, IDLE)
    state = machine.over(state, 1)
    assert (state.phase, state.step) == (AFTER, RETURN)
    state, called = go(machine.returned(state, False, False, ORIGINALS))
    assert called == ("original a", "original b", "original c")
    assert state == State(number=1, outcome=ORIGINAL)


def test_a_child_goes_on_where_its_parent_was():
    state = machine.ran(machine.begin(State(), 0, BEFORES, True), False, True)
    child = machine.forked(state)
    assert child == State(number=1, done=BEFORES[1:], halfway=True)
    assert go(machine.begin(child, 1, BEFORES, True))[1] == ("before a",)
    state, _ = go(state)
    state = machine.ran(
        machine.returned(machine.over(machine.stand(state, True), 1), False, False, ORIGINALS), False, True
    )
    assert go(machine.forked(state))[1] == ("original b", "original c")


def test_a_child_that_missed_it_is_told_the_end():
    child = machine.forked(machine.ran(machine.begin(State(), 0, BEFORES, True), False, True))
    state = machine.missed(child, 1, True)
    assert (state.phase, state.step) == (AFTER, RETURN)
    assert machine.missed(state, 1, True) is state


def test_the_end_that_two_threads_see():
    state = machine.stand(go(machine.begin(State(), 0, BEFORES, True))[0], True)
    first = machine.over(state, 1)
    assert machine.over(first, 1) is first
    ended, _ = go(machine.returned(first, False, False, ORIGINALS))
    assert machine.over(ended, 1) == ended
    second = machine.stand(go(machine.begin(ended, 1, BEFORES, True))[0], True)
    assert machine.over(second, 1) is second  # of the one before
