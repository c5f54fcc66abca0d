"""The manager in a sandbox of gVisor's, whose file on checkpoints is the only sign of a restore."""

import os

import pytest

from ..helpers.gvisor_file import GvisorFile
from ..helpers.managed import Container, Manager

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to mount what stands in for gVisor's file"),
]


@pytest.fixture
def gvisor(tmp_path):
    try:
        file = GvisorFile(tmp_path)
    except OSError as error:
        pytest.skip(f"no FUSE to stand in for gVisor's file: {error}")
    yield file
    file.close()


@pytest.fixture
def manager(shm_path, gvisor):
    """manager(path) -> one that is ready, in a container without VMGenID, and follows this file."""
    run = shm_path / "run" / "snapsafe"
    run.mkdir(parents=True)
    container = Container(shm_path / "dev", run.parent, vmgenid=False)  # now, so that it has the mounted file as well
    made = []

    def start(path):
        sources = "vmclock:/dev/vmclock0,vmclock:/run/snapsafe/vmclock0"
        made.append(Manager(run, sources, under=container.under, at="/run/snapsafe", options=["--gvisor", path]))
        return made[-1]

    yield start
    for one in made:
        one.close()
    container.close()


def test_a_restore_alone_moves_the_file(manager, gvisor):
    one = manager(gvisor.path)
    before = one.describe()
    assert (before["source"], before["how"], before["published"]) == (None, "gvisor", 1)
    for answer in (b"resume\n", b"error\n", b"restore\n", b"resume\n", b"restore\n"):
        gvisor.wait_for_reader()
        assert gvisor.checkpoint(answer) == 1, "one open, registered in time"
        if answer == b"restore\n":
            after = one.until(lambda now, known=before: now["published"] > known["published"])
            assert after["published"] == before["published"] + 1
            assert after["generation"] > before["generation"]
            before = after
        else:
            gvisor.wait_for_reader()
            assert one.describe()["published"] == before["published"], "this is the one that was checkpointed"
    assert not any("gVisor" in problem for problem in before["problems"])


def test_without_the_file_nothing_is_published(manager, tmp_path):
    """The twin: what the other test sees comes of the file alone."""
    found = manager(tmp_path / "none").describe()
    assert (found["how"], found["generation"]) == ("off", None)
    assert "nothing tells this machine of a restore" in found["problems"][0]


def test_one_that_starts_anew_counts_what_it_missed(manager, gvisor):
    one = manager(gvisor.path)
    before = one.describe()
    one.end()
    gvisor.wait_for_nobody()
    assert gvisor.checkpoint(b"restore\n") == 0, "nobody was there to hear of it"
    after = manager(gvisor.path).describe()
    assert after["generation"] > before["generation"]


def test_a_file_that_cannot_be_opened_again_is_said(manager, gvisor):
    one = manager(gvisor.path)
    before = one.describe()
    gvisor.wait_for_reader()
    gvisor.refuses = True
    gvisor.checkpoint(b"resume\n")
    after = one.until(lambda now: now["how"] != "gvisor")
    assert any("cannot be opened" in problem for problem in after["problems"])
    assert after["generation"] == before["generation"], "it said resume"
