"""The machine of states, checked in every state that three holders and two orchestrators can bring it to."""

import copy
import itertools

import pytest

from snapsafe_rt.manager import phases
from snapsafe_rt.manager.interface import Error
from snapsafe_rt.manager.phases import (
    BLOCK,
    DELAY,
    QUIESCED,
    QUIESCING,
    RUNNING,
    UNQUIESCING,
    Lock,
    Phases,
)

pytestmark = pytest.mark.any_python

HOLDERS, ORCHESTRATORS = ("a", "b", "c"), ("o", "p")
EDGES = {
    (RUNNING, QUIESCING),
    (QUIESCING, QUIESCED),
    (QUIESCING, UNQUIESCING),
    (QUIESCED, UNQUIESCING),
    (UNQUIESCING, RUNNING),
}


class Recorder:
    """What it was made to do in one step."""

    def __init__(self):
        self.machine = None
        self.log = []
        self.freezes = self.writable = True

    def changed(self):
        if self.machine.state in (QUIESCING, QUIESCED) and not self.writable:
            raise OSError("full")
        self.log.append(self.machine.state)

    def announce(self, client):
        self.log.append(("announce", client))

    def settled(self, client, late, failed, reason):
        self.log.append(("settled", client, [lock.who for lock in late], [one.lock.who for one in failed], reason))

    def publish(self):
        self.log.append("publish")

    def freeze(self):
        self.log.append("freeze")
        return "" if self.freezes else "they run"

    def thaw(self):
        self.log.append("thaw")


def lock(who, mode):
    return Lock("snapshot", who, "why", mode, 0, 1)


def steps():
    """Everything that may happen, as (name, what to do)."""
    for who in HOLDERS:
        for mode in (DELAY, BLOCK):
            yield f"{who} inhibits {mode}", lambda m, w=who, x=mode: m.inhibit(w, lock(w, x))
        yield f"{who} prepares", lambda m, w=who: m.prepare(w)
        yield f"{who} ready", lambda m, w=who: m.ready(w, [])
        yield f"{who} failed", lambda m, w=who: m.ready(w, ["ValueError"])
        yield f"{who} gone", lambda m, w=who: m.gone(w)
    for who in ORCHESTRATORS:
        for hold in (False, True):
            yield f"{who} quiesces {hold}", lambda m, w=who, h=hold: m.quiesce(w, hold=h)
        yield f"{who} gone", lambda m, w=who: m.gone(w)
    for name in ("expire", "unquiesce", "overdue", "restored", "end"):
        yield name, lambda m, n=name: getattr(m, n)()


def key(machine):
    at_work = machine.state != RUNNING
    return (
        machine.state,
        tuple((who, machine.locks[who].mode) for who in HOLDERS if who in machine.locks),
        frozenset(machine._preparing),
        frozenset(machine._waited),
        frozenset(one.lock.who for one in machine._failed) if at_work else None,
        machine.hold if at_work else None,
        machine._orchestrator,
    )


def step(machine, do):
    """A machine one step on, what it did, and what it refused."""
    machine = copy.deepcopy(machine)
    recorder = machine._actions
    recorder.machine, recorder.log = machine, []
    refused = None
    try:
        do(machine)
    except (Error, OSError) as error:
        refused = error
    return machine, recorder.log, refused


def check(before, name, after, log, refused):
    states = [before.state, *(one for one in log if one in (RUNNING, QUIESCING, QUIESCED, UNQUIESCING))]
    assert set(itertools.pairwise(states)) <= EDGES, states
    assert states[-1] == after.state
    assert after.state != UNQUIESCING, "stuck"
    assert after.state != QUIESCING or after._waited, "nobody will end this"
    assert after.state == QUIESCING or not after._waited
    assert set(after._waited) <= {who for who, one in after.locks.items() if one.mode == DELAY}
    if refused is not None:
        assert log == []
        assert key(after) == key(before)
    # The file moves before the state does, the programs go on in between.
    for at, what in enumerate(log):
        if what == UNQUIESCING:
            assert log[at - 1] == "publish"
            assert log[at + 1 : at + 3] == ["thaw", RUNNING]
        if what == QUIESCED:
            assert log[at - 1] == "freeze"
    # Who is announced to, was waiting for it, and is waited for; Quiesce has one answer, unless nobody waits for it.
    announced = {one[1] for one in log if one[0] == "announce"}
    settled = [one for one in log if one[0] == "settled"]
    assert len(settled) <= 1
    who, _, what = name.partition(" ")
    if QUIESCING in log:
        assert announced == before._preparing
        assert after.snapshot == before.snapshot + 1
        assert not any(one.mode == BLOCK for one in before.locks.values())
        assert settled or set(after._waited) == set(before.locks)
    else:
        assert announced == set()
        assert after.snapshot == before.snapshot
    if settled:
        _, client, late, failed, reason = settled[0]
        assert client == (who if QUIESCING in log else before._orchestrator)
        assert late == (list(before._waited) if name == "expire" else [])
        assert after.state == (RUNNING if failed or reason else QUIESCED)
        assert bool(reason) == ("freeze" in log and not (after._actions.freezes and after._actions.writable))
    elif before.state == QUIESCING != after.state:
        assert name == "end" or (what == "gone" and who == before._orchestrator)
    if what.startswith("quiesces"):
        blocked = any(one.mode == BLOCK for one in before.locks.values())
        if before.state != RUNNING or blocked:
            why = "OperationInProgress" if before.state != RUNNING else "BlockedByInhibitor"
            assert refused.name == f"org.snapsafe.Manager.{why}"
        else:
            assert type(refused) is (type(None) if after._actions.writable else OSError)
    if what == "gone":
        assert who not in after.locks
        assert before.state != QUIESCING or who != before._orchestrator or after.state == RUNNING
    if name == "restored" and before.state == QUIESCED:
        assert after.state == (QUIESCED if before.hold else RUNNING)


def explore(make):
    """Check every step out of every state that can be reached. Returns how many states, and steps."""
    first = make(Recorder())
    known, new, count = {key(first)}, [first], 0
    while new:
        machine = new.pop()
        for freezes, writable in ((True, True), (False, True), (True, False)):
            machine._actions.freezes, machine._actions.writable = freezes, writable
            for name, do in steps():
                after, log, refused = step(machine, do)
                check(machine, name, after, log, refused)
                count += 1
                if key(after) not in known:
                    known.add(key(after))
                    new.append(after)
        # Whatever holders and orchestrators do: the two timers end it.
        ended, _, _ = step(machine, Phases.expire)
        ended, _, _ = step(ended, Phases.overdue)
        assert ended.state == RUNNING
    return known, count


def test_every_state():
    known, count = explore(Phases)
    assert {one[0] for one in known} == {RUNNING, QUIESCING, QUIESCED}
    assert len(known) > 200
    assert count > 20000


class Mute(Phases):
    def _leave(self, how):
        self.ended = how
        self._waited, self._orchestrator = {}, None
        self._to(UNQUIESCING)
        self._actions.thaw()
        self._to(RUNNING)


class Forgetful(Phases):
    def _release(self, client):
        self.locks.pop(client, None)
        self._preparing.discard(client)
        self._waited.pop(client, None)


class Ruthless(Phases):
    def quiesce(self, orchestrator, *, hold=False):
        locks, self.locks = self.locks, {who: one for who, one in self.locks.items() if one.mode == DELAY}
        try:
            super().quiesce(orchestrator, hold=hold)
        finally:
            self.locks = locks


class Faithful(Phases):
    def gone(self, client):
        self._release(client)


@pytest.mark.parametrize("broken", [Mute, Forgetful, Ruthless, Faithful])
def test_the_check_finds_what_is_broken(broken):
    with pytest.raises((AssertionError, KeyError)):
        explore(broken)


def machine(*modes):
    found = Phases(Recorder())
    found._actions.machine = found
    for who, mode in zip(HOLDERS, modes, strict=False):
        found.inhibit(who, lock(who, mode))
    return found


def test_one_snapshot():
    one = machine(DELAY, DELAY)
    assert not one.prepare("a")
    one.quiesce("o")
    assert one.prepare("b")  # late to ask, not late to be ready
    one.ready("b", [])
    one.ready("a", [])
    one.unquiesce()
    assert one._actions.log == [
        QUIESCING,
        ("announce", "a"),
        "freeze",
        QUIESCED,
        ("settled", "o", [], [], ""),
        "publish",
        UNQUIESCING,
        "thaw",
        RUNNING,
    ]
    assert (one.locks, one.ended) == ({}, phases.UNQUIESCED)


def test_who_comes_meanwhile_is_asked():
    one = machine(DELAY)
    one.quiesce("o")
    one.inhibit("b", lock("b", DELAY))
    assert one.prepare("b")
    with pytest.raises(Error, match="OperationInProgress"):
        one.inhibit("c", lock("c", BLOCK))
    one.ready("a", [])
    assert one.state == QUIESCING
    one.ready("b", [])
    assert one.state == QUIESCED
    with pytest.raises(Error, match="OperationInProgress"):
        one.inhibit("c", lock("c", DELAY))


def test_a_failure_is_told_after_all_the_others():
    one = machine(DELAY, DELAY, DELAY)
    one.quiesce("o")
    one.ready("b", ["OSError: no"])
    assert one.state == QUIESCING
    one.gone("a")
    one.ready("c", [])
    assert one._actions.log[-1] == ("settled", "o", [], ["b"], "")
    assert (one.state, one.ended) == (RUNNING, phases.FAILED)
