"""The hot loop: threads draw at full speed while the snapshot is taken; what each clone drew first is compared."""

from typing import NamedTuple

import pytest

from tests.helpers.surfaces import select
from tests.vm.compare import by_surface
from tests.vm.lab import MORE, Machine

NUMPY = ("numpy", "pcg64", "generator")
TORCH = ("torch", "random_", "dropout", "generator")
KERNELS = [one.words for one in select("urandom", "uuid4", "token_bytes")]
MEMORYS = [one.words for one in select("getrandbits", "ssl", *NUMPY, *TORCH)]
LONG = 20_000  # values of each surface, in each clone; the longer run takes so many everywhere
EACH = LONG if MORE > 1 else 5_000


class Setup(NamedTuple):
    words: str
    options: dict
    snapshots: int
    clones: int
    user: int = 0
    real_time: int = 0
    values: int = EACH
    names: str = ""  # of the surfaces, if not those of the program
    twins: tuple = (4, 2)  # snapshots of the twin, and clones of each


SETUPS = [
    Setup("1 vCPU, RDRAND", {}, 5, 10, real_time=1, values=LONG),
    Setup(
        "2 vCPUs, RDRAND, VMClock as Firecracker's, Python 3.15",
        {"cpus": 2, "generation": True, "python": "3.15"},
        5,
        10,
    ),
    Setup("1 vCPU, no RDRAND, root", {"rdrand": False}, 5, 10, real_time=1),
    Setup("2 vCPUs, no RDRAND, user 1000", {"rdrand": False, "cpus": 2}, 4, 4, user=1000, real_time=1),
    Setup("1 vCPU, numpy", {"libraries": "numpy"}, 5, 10, names=",".join(NUMPY)),
    Setup(
        "1 vCPU, torch and numpy, Python 3.11",
        {"libraries": "torch", "python": "3.11"},
        *(2, 10),
        values=2_000,  # in software emulation importing torch takes a minute, and so do 10,000 draws
        names=",".join(TORCH),
        twins=(1, 2),
    ),
]


def run(lab, chance, setup, protected, snapshots, clones):
    """The result of each surface, and the reports of all clones."""
    threads = setup.options.get("cpus", 1)
    settings = {
        "THREADS": threads,
        "COUNT": setup.values // threads,
        "RUN_AS": setup.user,
        "REAL_TIME": setup.real_time,
        **({"NAMES": setup.names} if setup.names else {}),
    }
    machine = Machine("hot", protected, settings=settings, **setup.options)
    name = f"hot-{SETUPS.index(setup) + 1}-{'with' if protected else 'without'}"
    generation = 2 if setup.options.get("generation") else None
    answers = lab.clones_of(name, machine, chance, snapshots, clones, generation=generation)
    reports = [report for snapshot in answers for report in snapshot]
    return by_surface(reports), reports


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.words.replace(" ", "-"))
def test_hot_loop(lab, results, chance, setup):
    plain, _ = run(lab, chance, setup, False, *setup.twins)
    ours, reports = run(lab, chance, setup, True, setup.snapshots, setup.clones)
    degraded = reports[0]["status"]["fence"]["state"] == "degraded"
    for surface, result in ours.items():
        results.add(
            "hot loop",
            setup.words,
            surface,
            clones=len(reports),
            values=result["values"],
            without=plain[surface]["repeated"],
            last=plain[surface]["last"],
            ours=result["repeated"],
            note="degraded" if degraded else "",
        )
    assert {report["status"]["epoch"] for report in reports} == {1}
    for surface in plain.keys() & set(MEMORYS):
        assert plain[surface]["repeated"] >= setup.values, "the twin repeated nothing: this shows nothing"
    if setup.real_time and setup.options.get("cpus", 1) == 1:
        assert sum(plain[surface]["repeated"] for surface in KERNELS) > 0, "the kernel of the twin repeated nothing"
    assert degraded is (not setup.options.get("rdrand", True))
    if not setup.user:
        assert {surface: result["repeated"] for surface, result in ours.items()} == dict.fromkeys(ours, 0)
