"""The benchmarks measure what they say, or nothing."""

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not part of the package")

from benchmarks import instructions, pairs
from benchmarks.case import Case

CASE = Case("nothing", "int()", stays="fence() is True")


def measured(case, *, active):
    with pairs.environments(case.source) as both:
        worker = pairs.Worker(case, both[active], case.setup, expected=True)
        try:
            return worker.measure(100)
        finally:
            worker.close()


def test_an_activated_process_is_measured():
    assert 0 < measured(CASE, active=True) < 1e6


def test_a_process_that_is_not_activated_is_not_taken_for_one():
    with pytest.raises(pairs.Failed, match="not active"):
        measured(CASE, active=False)


def test_another_state_than_the_named_one_is_told():
    with pytest.raises(pairs.Failed, match="what was to be measured was not"):
        measured(Case("nothing", "int()", stays="fence() is False"), active=True)


def test_a_bar_of_two_parts_holds_by_either():
    case = Case("both", "int()", ratio=1.1, more=2.0, most=25)
    assert case.holds(1.2, 1.9, 24)
    assert case.holds(1.05, 9.0, 24)
    assert not case.holds(1.2, 2.1, 24)
    assert not case.holds(1.0, 0.0, 26)
    assert Case("none", "int()").holds(9, 9, 9) is None


@pytest.mark.parametrize(
    ("now", "code"),
    [({"own": 51.0, "out": 1.0}, 0), ({"own": 53.0, "out": 1.0}, 1), ({"own": 51.0, "out": 2.0}, 1), (None, 1)],
)
def test_a_longer_path_fails(now, code, capsys):
    bounds = {"draw": {"own": 51.0, "out": 1.0, "added": 60}}
    counts = {"draw": {**now, "added": 60}} if now else {}
    assert instructions.compare(counts, bounds, "this build") == code
    assert ("LONGER" in capsys.readouterr().out) == (code == 1 and now is not None)
