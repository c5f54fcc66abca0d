"""quiesce and unquiesce as hooks of an orchestrator, by a stand-in that follows the texts of several."""

import sys

import pytest

from ..conftest import PACKAGE
from ..helpers.managed import Client, starting
from ..helpers.orchestrator import Aborted, Hook, Orchestrator

pytestmark = pytest.mark.any_python

# Nothing that a login would have set.
ENVIRON = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PACKAGE.parent)}


@pytest.fixture
def start(shm_path, outer):
    yield from starting(shm_path, outer.uri)


def command(one, name, *options):
    return [sys.executable, "-W", "error", "-m", "snapsafe_rt", name, "--socket", one.socket, *options]


def orchestrator(one, pre=("--late-ok",), post=("--restored", "--late-ok"), **more):
    return Orchestrator(Hook(command(one, "quiesce", *pre), **more), Hook(command(one, "unquiesce", *post)), ENVIRON)


def hold(one, mode="delay"):
    client = Client(one.socket)
    assert "parameters" in client.call("Inhibit", who="holder", why="a test", mode=mode)
    return client


def test_one_pause_and_clones(start):
    one = start()
    sandbox = orchestrator(one)
    before = one.describe()["published"]
    sandbox.pause()
    assert one.describe()["state"] == "quiesced"
    sandbox.resume()
    assert (one.describe()["state"], one.describe()["published"]) == ("running", before + 1)
    sandbox.call("postResume")  # again, as some do after a failure of their own
    assert one.describe()["published"] == before + 2, "unknown counts as a restore"
    twin = orchestrator(one, post=("--restored",))
    with pytest.raises(Aborted, match="nothing is quiesced") as error:
        twin.resume()
    assert error.value.code == 1


def test_the_original_goes_on(start):
    one = start()
    sandbox = orchestrator(one, post=("--late-ok",))
    before = one.describe()["published"]
    sandbox.pause()
    sandbox.resume()
    sandbox.resume()
    assert one.describe()["published"] == before


def test_who_is_late_does_not_abort(start):
    one = start("--inhibit-delay-max", "0.2")
    with hold(one):
        sandbox = orchestrator(one)
        sandbox.pause()
        sandbox.resume()
        twin = orchestrator(one, pre=())
        with pytest.raises(Aborted, match=r"waited 0\.2 s in vain for holder") as error:
            twin.pause()
        assert (error.value.code, twin.state) == (75, "Running")


def test_after_an_abort_the_programs_go_on(start):
    """Where late is to abort: what nobody will end is ended by the hook itself (docs/orchestrators.md)."""
    one = start("--inhibit-delay-max", "0.2")
    quiesce, unquiesce = (" ".join(map(str, command(one, name))) for name in ("quiesce", "unquiesce"))
    hook = ["sh", "-c", f"{quiesce} || {{ code=$?; [ $code != 75 ] || {unquiesce}; exit $code; }}"]
    with hold(one):
        with pytest.raises(Aborted) as error:
            Orchestrator(Hook(hook), None, ENVIRON).pause()
        assert error.value.code == 75
        assert one.describe()["state"] == "running"


def test_a_hook_that_is_killed_takes_the_announcement_back(start):
    one = start()
    with hold(one) as client:
        client.send({"method": "org.snapsafe.Manager.Prepare", "parameters": {}})
        sandbox = orchestrator(one, timeout=1)
        with pytest.raises(Aborted, match="timed out"):
            sandbox.pause()
        told = one.until(lambda now: now["state"] == "running")
        assert told["lastSnapshot"]["ended"] == "abandoned"


def test_what_must_not_be_taken(start):
    one = start()
    with hold(one, "block"):
        with pytest.raises(Aborted, match="blocked by holder") as error:
            orchestrator(one).pause()
        assert error.value.code == 79
        assert one.describe()["state"] == "running"
    sandbox = orchestrator(one)
    one.end()
    with pytest.raises(Aborted, match="no manager at") as error:
        sandbox.pause()
    assert error.value.code == 69
    Orchestrator(Hook(sandbox.hooks["prePause"].command, policy="Continue"), None, ENVIRON).pause()


def test_overdue_and_restored(start):
    """A snapshot of a machine that ran on: the clone's hook publishes the restore all the same."""
    one = start("--quiesced-max", "0.1")
    sandbox = orchestrator(one)
    before = one.describe()["published"]
    sandbox.pause()
    one.until(lambda now: now["state"] == "running")
    sandbox.resume()
    assert one.describe()["published"] == before + 1
