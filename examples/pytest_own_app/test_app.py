"""Tests that an application can be snapshotted and cloned, without a virtual machine.

    pytest examples/pytest_own_app
    SNAPSAFE=0 pytest examples/pytest_own_app       (without protection: the first test fails)

Look at: `run_clones` makes clones of this very process, with the same memory and the same pid. `prepare` runs once, in
the process that is cloned: it stands for what a program did before the snapshot. The body runs in each clone.
"""

import tempfile

import app
import pytest

import snapsafe_rt
from snapsafe_rt.publish import FileSource
from snapsafe_rt.testing.clones import run_clones

CLONES = 20


@pytest.fixture
def source():
    """A counter that run_clones() changes for each clone, as a hypervisor does. This process watches it."""
    # On a tmpfs: elsewhere a program may not see the file change.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        source = FileSource(f"{folder}/vmclock0").create()
        snapsafe_rt.deactivate()  # `snapsafe run pytest` has activated this process with another source
        snapsafe_rt.activate(source.uri)
        yield source
        snapsafe_rt.deactivate()


def test_no_code_is_handed_out_twice(source):
    made = run_clones(CLONES, lambda number: app.invitation().encode(), prepare=app.invitation, source=source)
    assert len(set(made)) == CLONES, "clones hand out the same codes"


def test_sample_rows_stay_the_same(source):
    """A chosen seed is left alone."""
    made = run_clones(CLONES, lambda number: str(app.sample_rows()).encode(), source=source)
    assert set(made) == {str(app.sample_rows()).encode()}
