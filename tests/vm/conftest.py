"""One lab and one table of results for the whole run. SNAPSAFE_VM_RESULTS: the JSON file (default: in the cache)."""

import contextlib
import functools
import os
import random
import subprocess
import sys

import pytest

from tests.vm.lab import Lab, say
from tests.vm.manager import described
from tests.vm.results import Results
from tests.vm.system import System, document

_run = {}


@pytest.fixture(scope="session")
def lab():
    _run["lab"] = lab = Lab()
    return lab


@pytest.fixture(scope="session")
def results(lab):
    ask = [*lab.qemu, "--version"]
    qemu = subprocess.run(ask, env=os.environ | lab.environment, capture_output=True, text=True).stdout.split("\n")[0]
    facts = {"qemu": qemu, "kernel": (lab.tree / "kernel/version").read_text().strip(), "accel": lab.accel}
    _run["results"] = results = Results(facts)
    return results


@pytest.fixture(scope="session")
def system(lab, results):
    """`with system(name) as guest`: a running copy of a machine that has just booted, with systemd and no manager."""
    with lab.boot("system", System()) as guest:
        results.facts["systemd"] = guest.ready["systemd"]
        assert (guest.ready["state"], guest.ready["units"]) == ("running", "")
        booted = guest.snapshot("system-booted", resume=False)
    yield functools.partial(lab.copy, machine=System(), snapshot=booted)
    lab.forget(booted)


@pytest.fixture(scope="session")
def managed(lab, system):
    """Like `system`, with the manager installed as docs/manager.md says, and ready."""
    commands = document("manager.md", "## Install")
    with system("install") as guest:
        guest.do("sh", "-euc", f"PATH=$PATH:/opt/app/bin\n{commands}")
        snapshot = guest.snapshot("managed", resume=False)

    @contextlib.contextmanager
    def copy(name):
        """Once its manager has told of the restore that made the copy: a program that starts before may be told too."""
        with lab.copy(name, machine=System(), snapshot=snapshot) as guest:
            described(guest, lambda found: found["published"] == 2)
            yield guest

    yield copy
    lab.forget(snapshot)


@pytest.fixture
def chance():
    """Random moments and orders; the seed is printed."""
    seed = int(os.environ.get("SNAPSAFE_VM_SEED") or random.SystemRandom().getrandbits(32))
    say(f"SNAPSAFE_VM_SEED={seed}")
    return random.Random(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed and "lab" in _run:
        _run["lab"].failed = True


def pytest_terminal_summary(terminalreporter):
    lab, results = _run.get("lab"), _run.get("results")
    if results is None:
        return
    path = os.environ.get("SNAPSAFE_VM_RESULTS") or lab.home / "results.json"
    results.facts["pythons"] = sorted(lab.pythons)
    results.write(path, lab.clones)
    terminalreporter.write_sep("=", f"{lab.clones} clones in {results.facts['seconds']} s; all figures: {path}")
    for line in results.table():
        terminalreporter.write_line(line)
    lab.close()


def pytest_configure(config):
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.exit("tests/vm needs Linux on x86-64: its guests are of that kind")
