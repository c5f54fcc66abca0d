"""The manager's answers, times and file around a snapshot, in whatever order things happen (hypothesis, stateful). The
clock is the test's, so that each limit is met to the moment; the rest is the code that runs."""

import json
import os
import shutil
import tempfile

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from snapsafe_rt.manager import snapshots
from snapsafe_rt.manager.interface import Call, Error, Reply
from snapsafe_rt.manager.snapshots import Snapshots

pytestmark = pytest.mark.any_python

DELAY_MAX, QUIESCED_MAX = 5.0, 60.0
STRANGER = 12345
NAME = "org.snapsafe.Manager."


class Clock:
    """time, and the loop's timers."""

    def __init__(self):
        self.now = 1000.0
        self.timers = []

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + 1e9

    def later(self, seconds, function):
        timer = Timer(self.now + seconds, function)
        self.timers.append(timer)
        return timer

    def pass_by(self, seconds):
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer.function is not None and timer.when <= until]:
            first = min(due, key=lambda timer: timer.when)
            self.timers.remove(first)
            self.now = max(self.now, first.when)
            first.function()
        self.now = until


class Timer:
    def __init__(self, when, function):
        self.when, self.function = when, function

    def cancel(self):
        self.function = None


class Client:
    def __init__(self, number, uid):
        self.uid, self.pid = uid, number
        self.call = self.began = self.news = None
        self.outcome = None
        self.told = []

    def finish(self, outcome):
        assert self.call is not None, "answered twice"
        self.call, self.outcome = None, outcome

    def follow(self, news):
        self.news = news
        self.tell()

    def tell(self):
        self.told.append(self.news().parameters)


class Restores:
    """The other half, with a source that the test moves."""

    def __init__(self, state):
        self.published, self.moved, self.frozen = 0, False, False
        self.state = state

    @property
    def generation(self):
        return 100 + self.published

    def announced(self):
        pass

    def look(self):
        assert self.state() not in ("unquiescing",)
        if self.moved:
            self.published += 1
            self.moved = False

    def told(self):
        self.moved = True
        self.look()

    def unknown(self):
        self.look()

    def freeze(self):
        return ""

    def thaw(self):
        assert not self.moved, "the programs go on before they are told"

    def say(self, text):
        assert text.isprintable()


class Machine(stateful.RuleBasedStateMachine):
    clients = stateful.Bundle("clients")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="snapsafe-test-", dir="/dev/shm")
        self.path = os.path.join(self.folder, "state")
        self.clock = Clock()
        snapshots.time = self.clock
        self.restores = Restores(self.state)
        self.snapshots = Snapshots(self.restores, self.clock, self.path, DELAY_MAX, QUIESCED_MAX)
        self.methods = self.snapshots.methods()
        self.locks = {}  # the model: client -> mode
        self.waited = set()
        self.errors = False
        self.since = None  # of the state
        self.orchestrator = None
        self.timeout = 0.0
        self.number = 0

    def teardown(self):
        self.clock.pass_by(DELAY_MAX + QUIESCED_MAX)
        assert self.state() == "running"
        assert self.snapshots.running
        self.snapshots.close()
        assert os.listdir(self.folder) == []
        shutil.rmtree(self.folder)

    def file(self):
        with open(self.path) as file:
            return json.load(file)

    def state(self):
        return self.file()["state"]

    def ask(self, client, method, **parameters):
        """The outcome, or None while there is none."""
        client.call = client.outcome = None
        client.call = call = Call(NAME + method, parameters, False, True, client)
        client.began = self.clock.now
        try:
            outcome = self.methods[call.method](call)
        except Error as error:
            outcome = error
        if outcome is not None:
            client.finish(outcome)
        return client.outcome

    @stateful.rule(target=clients, uid=st.sampled_from([0, STRANGER]))
    def connect(self, uid):
        self.number += 1
        return Client(self.number, uid)

    @stateful.rule(target=clients, prepared=st.booleans())
    def holder(self, prepared):
        """The usual one."""
        client = self.connect(0)
        self.inhibit(client, "delay")
        if prepared:
            self.prepare(client)
        return client

    @stateful.rule(seconds=st.sampled_from([0.5, 5.0]), timeout=st.sampled_from([None, 0, 1e6]), restored=st.booleans())
    def snapshot(self, seconds, timeout, restored):
        """The usual one."""
        client = self.connect(0)
        self.quiesce(client, timeout, None)
        self.wait(seconds)
        self.unquiesce(self.connect(0), restored)

    @stateful.rule(client=clients, mode=st.sampled_from(["delay", "block"]))
    def inhibit(self, client, mode):
        if client.call is not None:
            return
        before = self.state()
        outcome = self.ask(client, "Inhibit", who=f"w{client.pid}", why="x\n" * 200, mode=mode)
        if mode == "block" and client.uid == STRANGER:
            assert outcome.name == "org.varlink.service.PermissionDenied"
        elif client in self.locks:
            assert outcome.name == NAME + "AlreadyInhibits"
        elif before == "running" or (before == "quiescing" and mode == "delay"):
            assert outcome.parameters == {"state": before}
            self.locks[client] = mode
            if before == "quiescing":
                self.waited.add(client)
        else:
            assert outcome.name == NAME + "OperationInProgress"

    @stateful.rule(client=clients)
    def prepare(self, client):
        if client.call is not None:
            return
        outcome = self.ask(client, "Prepare")
        if self.locks.get(client) != "delay":
            assert outcome.name == NAME + "NotInhibiting"
        elif self.state() == "running":
            assert outcome is None
        else:
            assert 0 <= outcome.parameters["seconds"] <= DELAY_MAX

    @stateful.rule(client=clients, errors=st.sampled_from([[], [], ["ValueError: no"]]))
    def ready(self, client, errors):
        if client.call is not None:
            return
        outcome = self.ask(client, "Ready", errors=errors)
        if self.locks.get(client) != "delay":
            assert outcome.name == NAME + "NotInhibiting"
            return
        assert outcome.parameters == {}
        self.errors |= bool(errors) and client in self.waited
        self.drop(client)

    @stateful.rule(client=stateful.consumes(clients))
    def go(self, client):
        client.call = None
        self.snapshots.gone(client)
        if client is self.orchestrator:
            self.orchestrator, self.waited = None, set()
            assert self.state() == "running"
        self.drop(client)

    def drop(self, client):
        self.locks.pop(client, None)
        if client in self.waited:
            self.waited.discard(client)
            if not self.waited:
                self.settled([])

    def settled(self, late):
        client, self.orchestrator = self.orchestrator, None
        outcome = client.outcome
        assert client.call is None
        if self.errors:
            assert outcome.name == NAME + "CallbackFailed"
            assert self.state() == "running"
            return
        assert isinstance(outcome, Reply)
        assert sorted(one["who"] for one in outcome.parameters["late"]) == sorted(late)
        assert self.state() == "quiesced"
        self.since = self.clock.now

    @stateful.rule(
        client=clients, timeout=st.sampled_from([None, 0, 1.5, 5.0, 1e6]), hold=st.sampled_from([None, False, True])
    )
    def quiesce(self, client, timeout, hold):
        if client.call is not None:
            return
        before, holders = self.state(), [one for one, mode in self.locks.items() if mode == "delay"]
        blocked = [f"w{one.pid}" for one, mode in self.locks.items() if mode == "block"]
        outcome = self.ask(client, "Quiesce", timeout=timeout, hold=hold)
        if client.uid == STRANGER:
            assert outcome.name == "org.varlink.service.PermissionDenied"
        elif before != "running":
            assert (outcome.name, outcome.parameters) == (NAME + "OperationInProgress", {"state": before})
        elif blocked:
            assert outcome.name == NAME + "BlockedByInhibitor"
            assert outcome.parameters["who"] == blocked[0]
        else:
            self.timeout = min(DELAY_MAX, DELAY_MAX if timeout is None else timeout)
            self.waited, self.errors, self.orchestrator = set(holders), False, client
            self.since, self.hold = self.clock.now, bool(hold)
            for one in holders:
                assert one.call is None or one.call.method != NAME + "Prepare"  # announced
            if not holders:
                self.settled([])

    @stateful.rule(client=clients, restored=st.sampled_from([None, False, True]))
    def unquiesce(self, client, restored):
        if client.call is not None:
            return
        before, generation = self.state(), self.restores.generation
        told = self.restores.moved or restored
        outcome = self.ask(client, "Unquiesce", restored=restored)
        if client.uid == STRANGER:
            assert outcome.name == "org.varlink.service.PermissionDenied"
        elif before == "running":
            assert outcome.name == NAME + "NotQuiesced"
        elif before == "quiescing":
            assert outcome.name == NAME + "OperationInProgress"
        else:
            assert self.state() == "running"
            if told:
                assert outcome.parameters["restored"] is True
                assert self.restores.generation > generation or self.held_restore
            self.held_restore = False

    held_restore = False

    @stateful.rule()
    def source_moves(self):
        """Seen when somebody looks."""
        self.restores.moved = True

    @stateful.rule()
    def restore_is_noticed(self):
        before = self.state()
        self.restores.moved = True
        self.restores.look()
        self.snapshots.restored()
        if before == "quiesced":
            assert self.state() == ("quiesced" if self.hold else "running")
            self.held_restore = self.hold
            if self.hold:
                self.since = self.clock.now  # the time for Unquiesce begins in the clone

    @stateful.rule(client=clients)
    def monitor(self, client):
        if client.call is not None:
            return
        assert self.ask(client, "Monitor") is None
        assert client.told[-1]["state"] == self.state()

    @stateful.rule(seconds=st.sampled_from([0.0, 0.5, 1.5, 5.0, 59.0, 60.0]))
    def wait(self, seconds):
        waited = {f"w{one.pid}" for one in self.waited}
        orchestrator, was, since = self.orchestrator, self.state(), self.since
        self.clock.pass_by(seconds)
        if was == "quiescing" and self.clock.now >= since + self.timeout:
            assert orchestrator is not None
            self.waited, self.since = set(), since + self.timeout
            self.orchestrator = None
            outcome = orchestrator.outcome
            if self.errors:
                assert outcome.name == NAME + "CallbackFailed"
                was = "running"
            else:
                assert {one["who"] for one in outcome.parameters["late"]} == waited
                was = "quiesced"
        if was == "quiesced" and self.clock.now >= self.since + QUIESCED_MAX:
            assert self.state() == "running"
            self.held_restore = False
        else:
            assert self.state() == was

    @stateful.invariant()
    def the_file_tells(self):
        file, told = self.file(), self.snapshots.describe()
        assert (file["state"], file["snapshot"]) == (told["state"], told["snapshot"])
        assert file["state"] in ("running", "quiescing", "quiesced")
        limit = {"quiescing": self.timeout, "quiesced": QUIESCED_MAX}.get(file["state"])
        assert file["until"] == (0 if not limit else pytest.approx(self.since + limit + 1e9, abs=0.01))
        assert os.listdir(self.folder) == ["state"]

    @stateful.invariant()
    def nobody_waits_for_ever(self):
        assert (self.state() == "quiescing") == bool(self.waited)
        assert len([one for one in self.clock.timers if one.function is not None]) == (self.state() != "running")
        for client in self.locks:
            if client.call is not None and client.call.method == NAME + "Quiesce":
                assert self.clock.now <= client.began + DELAY_MAX

    @stateful.invariant()
    def locks_are_those_of_who_is_here(self):
        listed = self.methods[NAME + "ListInhibitors"](Call("", {}, False, False, Client(0, 0))).parameters
        found = {(one["pid"], one["mode"], one["uid"]) for one in listed["inhibitors"]}
        assert found == {(client.pid, mode, client.uid) for client, mode in self.locks.items()}
        assert all(len(one["why"]) <= snapshots.TEXT_MOST and one["why"].isprintable() for one in listed["inhibitors"])


def test_whatever_happens(monkeypatch):
    monkeypatch.setattr(snapshots, "time", snapshots.time)  # put back, whoever sets it
    stateful.run_state_machine_as_test(
        Machine,
        settings=hypothesis.settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            database=None,
        ),
    )
