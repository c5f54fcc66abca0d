"""Services of several processes, a process that may not open the device, and a kernel that has none."""

import os
import struct

import pytest

from tests.vm.compare import Names, Values
from tests.vm.lab import Machine


def run(lab, chance, name, protected, clones, **settings):
    """What the harness tells each clone differs, as an orchestrator's entropy would."""

    def body(guest):
        guest.run()
        guest.tell(os.urandom(32))
        return guest.message()

    machine = Machine("several", protected, settings=settings)
    (reports,) = lab.clones_of(name, machine, chance, 1, clones, body)
    return reports


def across(reports):
    """Values that stand twice among all processes of all clones, by surface; and what they were."""
    found = {}
    for surface in reports[0]["values"][0]:
        values = Values()
        for report in reports:
            for drawn in report["values"]:
                values.add(struct.pack(f"<{len(drawn[surface])}Q", *drawn[surface]))
        found[surface] = values.result()
    return found


def outsider(reports):
    """The process without a source: (repeated uuid4s, random before and after notify_restored)."""
    uuids, random = Values(), Names()
    for report in reports:
        uuids.add(b"".join(bytes.fromhex(text)[:8] for text in report["uuids"]))
        random.add({"before": str(report["before"]), "after": str(report["renewed"])})
    return uuids.result()["repeated"], random.result()


@pytest.fixture(scope="session")
def plain(lab):
    import random

    return run(lab, random.Random(), "several-without", False, 4)


def test_forked_workers_and_pool(lab, results, chance, plain):
    reports = run(lab, chance, "several-with", True, 8, DEVICE_MODE="600")
    without, ours = across(plain), across(reports)
    for surface, result in ours.items():
        figures = {"values": result["values"], "without": without[surface]["repeated"], "ours": result["repeated"]}
        results.add("several processes", "7 draws of 5 processes", surface, clones=len(reports), **figures)
    assert without["getrandbits"]["repeated"] > 0
    assert without["ssl"]["repeated"] > 0
    assert {surface: result["repeated"] for surface, result in ours.items()} == dict.fromkeys(ours, 0)
    for report in reports:
        assert all(state["protected"] and state["epoch"] == 1 for state in report["states"])
    check_outsider(results, plain, reports, "device of mode 0600", "may not be opened by this user")


def test_kernel_without_the_driver(lab, results, chance, plain):
    reports = run(lab, chance, "blind-with", True, 4, VMCLOCK=0)
    for report in reports:
        for state in report["states"]:
            assert (state["source"], state["protected"], state["epoch"]) == (None, False, 0)
            assert all(row["protection"] != "guarded" for row in state["subsystems"])
    check_outsider(results, plain, reports, "no driver", "does not exist")


def check_outsider(results, plain, reports, words, reason):
    stock, _ = outsider(plain)
    uuids, random = outsider(reports)
    figures = {"clones": len(reports), "values": 2000 * len(reports)}
    results.add("process without a source", words, "uuid4", **figures, without=stock, ours=uuids)
    told = {"clones": len(reports), "values": len(reports)}
    for when, name in (("before", "random"), ("after", "random after notify_restored()")):
        results.add("process without a source", words, name, **told, ours=random[when]["repeated"])
    for report in reports:
        assert (report["stranger"]["source"], report["stranger"]["protected"]) == (None, False)
        assert reason in report["stranger"]["candidates"][0]["reason"]
    assert random["before"]["repeated"] == len(reports), "without a source nothing can be renewed"
    assert random["after"]["repeated"] == 0
    assert uuids <= stock


def test_strict_refuses_without_a_source(lab, chance):
    machine = Machine("several", settings={"DEVICE_MODE": "600"})
    with lab.boot("strict", machine) as guest:
        code, said = guest.ready["strict"]
    assert code == 78, said
    assert said.startswith("snapsafe: refusing to start (SNAPSAFE_STRICT=1)")
    assert said.count("\n") == 1
