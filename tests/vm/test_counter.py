"""The counter as QEMU and as Firecracker give it: what is an event, what is not, and how soon a sleeper is told."""

import time

import pytest

from tests.vm.compare import Names
from tests.vm.lab import Machine

LONG = 4  # seconds; a watcher that has to look by itself does so once a second
CLONES = 4


def idle(lab, chance, name, protected=True, generation=None, firecracker=False, **settings):
    """For each clone: seconds until the callback or None, what it told, and what the program then says."""

    def body(guest):
        begun = guest.run()
        call = None if guest.silent(LONG) else guest.message()
        seconds = guest.heard - begun if call else None
        asked = time.monotonic()
        guest.tell()
        return {"seconds": seconds, "call": call, "asked": asked, **guest.message()}

    machine = Machine("idle", protected, generation=firecracker, settings=settings)
    (reports,) = lab.clones_of(name, machine, chance, 1, CLONES, body, generation)
    return reports


def figures(reports):
    names = Names()
    for report in reports:
        names.add({"random": report["random"], "ssl": report["ssl"]})
    return {key: result["repeated"] for key, result in names.result().items()}


def stood_still(reports, clock):
    """How much of the time that the snapshot lay a clone's clock has missed: 1 all of it, 0 nothing. The clones of one
    snapshot began at different times."""
    first, *_, last = sorted(reports, key=lambda report: report["asked"])
    return 1 - (last["clocks"][clock] - first["clocks"][clock]) / (last["asked"] - first["asked"])


@pytest.fixture(scope="session")
def plain(lab):
    """The twin: the same program, switched off."""
    import random

    return idle(lab, random.Random(), "idle-plain", protected=False)


def test_clocks_after_a_restore(lab, results, plain):
    """What docs/time.md says of machines that nobody sets the clock of."""
    for clock in plain[0]["clocks"]:
        missed = stood_still(plain, clock)
        results.add("idle program", "clocks of clones of one snapshot", f"{clock}, missed", ours=f"{missed:.0%}")
        if lab.accel != "kvm":
            assert 0.8 < missed < 1.2


def test_the_twin_repeats_and_hears_nothing(plain):
    assert figures(plain) == {"random": len(plain), "ssl": len(plain)}
    assert [report["call"] for report in plain] == [None] * len(plain)


@pytest.mark.parametrize("kind", ["qemu", "firecracker"])
def test_a_restore_wakes_an_idle_process(lab, results, chance, plain, kind):
    firecracker = kind == "firecracker"
    reports = idle(lab, chance, f"idle-{kind}", firecracker=firecracker, generation=2 if firecracker else None)
    told = {"cause": "generation" if firecracker else "disruption", "callback": 1}
    assert [{k: report["call"][k] for k in told} for report in reports] == [told] * len(reports)
    repeated = figures(reports)
    slowest = max(report["seconds"] for report in reports)
    how = reports[0]["status"]["watching"]["how"]
    words = "VMClock as Firecracker's" if firecracker else "VMClock as QEMU's"
    share = {"clones": len(reports), "values": len(reports), "without": len(plain)}
    for key, number in repeated.items():
        results.add("idle program", words, key, **share, ours=number)
    note = f"by {how}, slowest of {len(reports)}"
    results.add("idle program", words, "seconds from the restore to the callback", ours=round(slowest, 2), note=note)
    assert repeated == {"random": 0, "ssl": 0}
    assert {report["status"]["epoch"] for report in reports} == {1}


def test_a_moved_marker_alone_is_no_event_where_there_is_a_generation(lab, results, chance):
    """A live migration moves the marker. Nothing is renewed then, as nothing was copied."""
    reports = idle(lab, chance, "idle-migrated", firecracker=True)
    assert [(r["call"], r["calls"], r["status"]["epoch"]) for r in reports] == [(None, 0, 0)] * len(reports)
    assert figures(reports) == {"random": len(reports), "ssl": len(reports)}
    words = "marker moved, generation not"
    results.add("idle program", words, "callbacks", clones=len(reports), ours=0, note="no restore")


def test_disruption_reseed_renews_and_tells_nobody(lab, results, chance, plain):
    reports = idle(lab, chance, "idle-reseed", SNAPSAFE_DISRUPTION="reseed")
    assert [(r["call"], r["calls"]) for r in reports] == [(None, 0)] * len(reports)
    repeated = figures(reports)
    words = "VMClock as QEMU's, SNAPSAFE_DISRUPTION=reseed"
    share = {"clones": len(reports), "values": len(reports), "without": len(plain)}
    for key, number in repeated.items():
        results.add("idle program", words, key, **share, ours=number)
    assert repeated == {"random": 0, "ssl": 0}
