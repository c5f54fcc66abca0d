"""Keys, TLS, identifiers and names made first thing after the restore, and threads that lived through the snapshot."""

import pytest

from tests.helpers.surfaces import TABLE, repeats
from tests.vm.compare import Names
from tests.vm.lab import Machine

# Without us: by the kernel's own reseed, or because the time is part of it.
MAY_DIFFER = {one.words for one in TABLE if not repeats(one.kind, machine=True)} | {"TLS session tickets"}
# Of a Python that lacks nothing, as Debian's does, with cryptography.
EXPECTED = {one.words for one in TABLE if one.shown and one.library in ("", "cryptography")} - {"TLS", "uuid7"}


def run(lab, chance, python, protected, snapshots, each):
    name = f"first-{python}-{'with' if protected else 'without'}"
    machine = Machine("first", protected, python, network=True)
    answers = lab.clones_of(name, machine, chance, snapshots, each)
    found = {}
    for reports in answers:
        assert len({report["first"] for report in reports}) == 1, "clones of one snapshot began otherwise"
    names = Names()
    for reports in answers:
        for report in reports:
            names.add(report["drawn"])
    for key, result in names.result().items():
        found[key] = result["repeated"]
    return found, [report for reports in answers for report in reports]


@pytest.mark.parametrize(("python", "snapshots", "each"), [("3.13", 6, 4), ("3.15", 4, 3)])
def test_first_things(lab, results, chance, python, snapshots, each):
    plain, twins = run(lab, chance, python, False, 2, 3)
    ours, reports = run(lab, chance, python, True, snapshots, each)
    for key, number in ours.items():
        share = f"{plain[key]} of {len(twins)}" if plain[key] else 0
        figures = {"clones": len(reports), "values": len(reports), "without": share, "ours": number}
        results.add("first thing after", f"1 vCPU, Python {python}", key, **figures)
    assert python == "3.15" or set(ours) >= EXPECTED
    assert {key for key, number in plain.items() if not number} <= MAY_DIFFER, "these repeated nothing in the twin"
    assert {key: number for key, number in ours.items() if number} == {}
    assert all(report["status"]["protected"] for report in reports)
