"""Programs are asked before a snapshot and told after it: through QEMU's guest agent, and by systemd-logind."""

import contextlib
import pathlib

import jeepney
import pytest

from tests.vm.compare import Names
from tests.vm.lab import scaled
from tests.vm.manager import described
from tests.vm.qemu import Trouble
from tests.vm.sequence import HOST, Recording
from tests.vm.system import SNAPSAFE, System, document

SITE = "/opt/app/lib/python3.13/site-packages"
CLONES = scaled(20)
BEFORE = ["second before", "first before"]
IN_ORIGINAL = ["first in original", "second in original"]
IN_CLONE = ["first in clone", "second in clone"]
PROGRAMS = {"service": (), "users": ("User=lab",)}


@pytest.fixture(scope="module")
def hooked(lab, managed):
    """With the guest agent's hook as the document says, and the programs, of which all hold a lock."""
    commands = document("orchestrators.md", "## QEMU's guest agent")
    with managed("hooked") as guest:
        guest.do("sh", "-euc", f"PATH=$PATH:/opt/app/bin\n{commands}")
        described(guest)
        for name, lines in PROGRAMS.items():
            guest.start(name, "phases", *lines)
        guest.start("monitor", "monitor")
        described(guest, lambda found: found["published"] == 2 and found["inhibitors"] == len(PROGRAMS))
        guest.agent("guest-ping")
        snapshot = guest.snapshot("with-hook", resume=False)
    yield lambda name: lab.copy(name, System(), snapshot)
    lab.forget(snapshot)


def request(guest, name, seconds=30.0):
    guest.tell_program(name, str(seconds).encode())
    return guest.hear(name)


def called(report):
    return [what for what, _ in report["calls"]]


def settled(guest):
    """This guest is a copy of a copy itself, and its manager may still be about to say so."""
    described(guest, lambda found: found["published"] == 3 and found["inhibitors"] == len(PROGRAMS))
    return {name: request(guest, name) for name in PROGRAMS}


class Seen:
    """A guest's part of the recording; its lanes are "manager" and "program", of a clone with that in front."""

    def __init__(self, record, guest, generation, calls, of=""):
        """`generation`, and the number of `calls`, before it."""
        self.record, self.guest, self.generation, self.calls, self.of = record, guest, generation, calls, of

    def ask(self):
        return request(self.guest, "service")

    def thaw(self):
        self.record.add(HOST, "guest-fsfreeze-thaw", to=f"{self.of}manager")
        self.guest.agent("guest-fsfreeze-thaw")

    def end(self, snapshot):
        """The first request, and what the guest has to say of the time before it."""
        self.record.add(HOST, "the first request", to=f"{self.of}program")
        report = self.ask()
        offset = self.record.offset(self.ask)
        for what, at in report["calls"][self.calls :]:
            self.record.add(f"{self.of}program", what, at + offset)
        self.record.add(f"{self.of}program", "answered", report["request"]["ended"] + offset, HOST)
        heard = [self.guest.hear("monitor")]
        while (heard[-1]["state"], heard[-1]["snapshot"]) != ("running", snapshot):
            heard.append(self.guest.hear("monitor"))
        heard = [state for state in heard if state["snapshot"] == snapshot]
        self.record.states(f"{self.of}manager", heard, offset, self.generation)


def test_of_the_agent(lab, hooked, results):
    """Frozen and thawed by the host around a snapshot: the original goes on as it was, each clone as another."""
    record = Recording()
    with hooked("freezing") as guest:
        first = settled(guest)
        done = {name: len(report["calls"]) for name, report in first.items()}
        generation = described(guest)["generation"]
        seen = Seen(record, guest, generation, done["service"])
        record.add(HOST, "guest-fsfreeze-freeze", to="manager")
        assert guest.agent("guest-fsfreeze-freeze") > 0
        record.add("manager", "file systems are frozen", to=HOST)
        told = described(guest)
        assert told["state"] == "quiesced"
        record.add(HOST, "the snapshot is taken")
        snapshot = guest.snapshot("quiesced")
        record.add(HOST, "the original runs")
        seen.thaw()
        last = described(guest, lambda found: found["inhibitors"] == len(PROGRAMS))["lastSnapshot"]
        assert (last["ended"], last["restored"], last["late"]) == ("unquiesced", False, [])
        seen.end(told["snapshot"])
        for name in PROGRAMS:
            report = request(guest, name)
            assert called(report)[done[name] :] == BEFORE + IN_ORIGINAL
            assert report["epoch"] == first[name]["epoch"]

    with lab.clone("recorded", System(), snapshot) as clone:
        record.add(HOST, "a clone runs", to="clone's manager")
        clone.run()
        seen = Seen(record, clone, generation, done["service"] + len(BEFORE), "clone's ")
        seen.thaw()
        seen.end(told["snapshot"])
    results.facts["sequence"] = record.result()

    def body(clone):
        clone.run()
        waiting = {name: request(clone, name, 0.0) for name in PROGRAMS}
        clone.agent("guest-fsfreeze-thaw")
        last = described(clone, lambda found: found["state"] == "running")["lastSnapshot"]
        return waiting, {name: request(clone, name) for name in PROGRAMS}, last

    (answers,) = lab.run_clones("quiesced", System(), [snapshot], CLONES, body).values()
    drawn = Names()
    for waiting, after, last in answers:
        assert (last["ended"], last["restored"]) == ("unquiesced", True)
        for name in PROGRAMS:
            assert called(waiting[name])[done[name] :] == BEFORE
            assert "end of a snapshot" in waiting[name]["request"]["late"]
            assert called(after[name])[done[name] :] == BEFORE + IN_CLONE
            assert after[name]["epoch"] == first[name]["epoch"] + 1
        # Also before it is told of the restore, which its device shows at once.
        reports = {"standing still": waiting, "after it": after}
        drawn.add({(name, when): reports[when][name]["request"]["random"] for name in PROGRAMS for when in reports})
    for name, found in drawn.result().items():
        assert found["repeated"] == 0, name
    results.add("phases", "QEMU's guest agent", "asked and told", clones=CLONES, values=CLONES * len(PROGRAMS), ours=0)


def test_the_twin(lab, hooked, results):
    """Switched off: the file systems are frozen, and nobody is asked; the clones' programs go on before the thaw."""
    with hooked("unasked") as guest:
        done = {name: len(report["calls"]) for name, report in settled(guest).items()}
        guest.do("rm", "/etc/snapsafe/fsfreeze.conf")
        assert guest.agent("guest-fsfreeze-freeze") > 0
        assert described(guest)["state"] == "running"
        snapshot = guest.snapshot("unasked-0", resume=False)

    def body(clone):
        clone.run()
        return {name: request(clone, name) for name in PROGRAMS}

    (answers,) = lab.run_clones("unasked", System(), [snapshot], scaled(2, protected=False), body).values()
    for reports in answers:
        assert [called(report)[done[name] :] for name, report in reports.items()] == [IN_CLONE] * len(PROGRAMS)
    values = len(answers) * len(PROGRAMS)
    results.add("phases", "switched off", "asked and told", clones=len(answers), values=values, without=values)


def test_a_lock(hooked):
    """It stops no backup, unless that is asked for, of an agent that runs our script itself."""
    with hooked("locked") as guest:
        settled(guest)
        guest.do("systemd-run", SNAPSAFE, "inhibit", "--why", "a migration", "sleep", "infinity")
        described(guest, lambda found: found["inhibitors"] == len(PROGRAMS) + 1)
        assert guest.agent("guest-fsfreeze-freeze") > 0
        assert described(guest)["state"] == "running"
        assert guest.agent("guest-fsfreeze-thaw") > 0
        assert "a migration" in guest.do("cat", "/var/log/qga-fsfreeze-hook.log")
        guest.put("/etc/snapsafe/fsfreeze.conf", "ask=required\n")
        guest.put("/etc/qemu/qemu-ga.conf", "[general]\nfsfreeze-hook=/etc/qemu/fsfreeze-hook.d/snapsafe.sh\n")
        guest.do("systemctl", "restart", "qemu-guest-agent")
        with pytest.raises(Trouble, match="hook"):
            guest.agent("guest-fsfreeze-freeze")
        assert guest.agent("guest-fsfreeze-status") == "thawed"


def lines(guest):
    """What the service has told on the console: a callback, the epoch and a draw each time."""
    console = (guest.folder / "console").read_text(errors="replace").splitlines()
    return [line.split(":")[1:] for line in console if line.startswith("phases:")]


def told(guest, last):
    """Up to that: the callbacks, the epochs and the draws."""

    def look():
        found = lines(guest)
        return found if found and found[-1][0] == last else None

    return list(zip(*guest.until(look), strict=True))


def is_suspended(guest):
    return guest.qmp.command("query-status")["status"] == "suspended"


def suspend(guest):
    """Returns the epoch. After it no virtio serial port works here any more (QEMU 11.1): the console remains."""
    package = pathlib.Path(jeepney.__file__).parent
    for file in package.rglob("*.py"):
        guest.put(f"{SITE}/jeepney/{file.relative_to(package)}", file.read_text())
    # A guest that shares its CPUs may need more than the 5 s that logind waits, and the kernel's messages break lines.
    guest.put("/etc/systemd/logind.conf.d/patient.conf", "[Login]\nInhibitDelayMaxSec=100\n")
    guest.do("systemctl", "restart", "systemd-logind")
    guest.do("dmesg", "--console-off")
    guest.start("service", "phases", SNAPSAFE_LIFECYCLE="logind", CONSOLE="/dev/ttyS0")
    guest.until(lambda: "phases.py" in guest.do("systemd-inhibit", "--list"))
    epoch = str(request(guest, "service")["epoch"])
    guest.do("systemctl", "suspend", "--no-block")
    guest.until(lambda: is_suspended(guest) or len(lines(guest)) > len(BEFORE))
    guest.until(lambda: len(lines(guest)) >= len(BEFORE))
    return epoch


@contextlib.contextmanager
def suspended(system, name):
    """A guest, and the epoch in it. One that wakes by itself (seen twice, why is not known) is replaced by another."""
    for number in range(3):
        with system(f"{name}-{number}") as guest:
            epoch = suspend(guest)
            if is_suspended(guest) and len(lines(guest)) == len(BEFORE):
                assert told(guest, BEFORE[-1])[:2] == [tuple(BEFORE), (epoch, epoch)]
                yield guest, epoch
                return
    raise Trouble("no guest stays suspended")


def test_of_logind(lab, system, results):
    """The host suspends the machine to snapshot it."""
    with suspended(system, "asleep") as (guest, epoch):
        guest.qmp.command("system_wakeup")
        assert told(guest, IN_ORIGINAL[-1])[:2] == [tuple(BEFORE + IN_ORIGINAL), (epoch,) * 4]
    with suspended(system, "asleep-again") as (guest, epoch):
        snapshot = guest.snapshot("suspended", resume=False)

    def body(clone):
        clone.run()
        clone.qmp.command("system_wakeup")
        return told(clone, IN_CLONE[-1])

    (answers,) = lab.run_clones("suspended", System(), [snapshot], scaled(3), body).values()
    for callbacks, epochs, _ in answers:
        assert callbacks == tuple(IN_CLONE)
        assert set(epochs) == {str(int(epoch) + 1)}
    assert len({draw for *_, draws in answers for draw in draws}) == len(IN_CLONE) * len(answers)
    results.add("phases", "systemd-logind", "asked and told", clones=len(answers), values=len(answers), ours=0)
