"""Tests that an application can be snapshotted and cloned, without a virtual machine.

    pytest examples/pytest_own_app
    SNAPSAFE=0 pytest examples/pytest_own_app       (without protection: the first test fails)

Look at: a test with the mark runs in clones of this very process, with the same memory and the same pid, and returns
what no two of them may return alike. docs/testing.md tells more.
"""

import app
import pytest

# The application is protected in all of these tests.
pytestmark = pytest.mark.usefixtures("snapsafe_source")


@pytest.mark.clone_safe(clones=20)
def test_no_code_is_handed_out_twice():
    return app.invitation()


def test_sample_rows_stay_the_same(snapsafe_clones):
    """A chosen seed is left alone."""
    assert snapsafe_clones(20, app.sample_rows) == [app.sample_rows()] * 20
