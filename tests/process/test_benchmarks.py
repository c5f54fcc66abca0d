"""The benchmarks measure what they say, or nothing."""

from xml.etree import ElementTree

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not part of the package")

from benchmarks import instructions, page, pairs, report
from benchmarks.case import Case

pytestmark = pytest.mark.any_python

CASE = Case("nothing", "int()", stays="fence() is True")


def measured(case, *, active):
    with pairs.environments(case.source) as both:
        worker = pairs.Worker(case, both[active], case.setup, expected=True)
        try:
            return min(worker.measure(100) for _ in range(3))  # one of them not held off the CPU
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


def curve(*points, why=""):
    return {"name": "draw", "axis": "threads", "why": why, "points": list(points)}


def test_a_curve_is_flat_only_if_what_we_add_does_not_grow():
    assert report.course(curve([1, 20, 25], [10, 20, 26])) == "flat"
    assert report.course(curve([1, 20, 25], [10, 200, 250])) == "grows no more than without"
    assert report.course(curve([1, 20, 25], [10, 20, 50])) == "grows"
    assert "nobody knows why" in report.growth_table([curve([1, 20, 25], [10, 20, 50])])


def run(version, **rows):
    found = [
        {
            "name": name,
            "unit": "ns",
            "bar": "",
            "without": 20,
            "with": 20 * ratio,
            "ratio": ratio,
            "more": 20 * ratio - 20,
        }
        for name, ratio in rows.items()
    ]
    facts = {"python": f"CPython {version}, GCC", "cpu": "", "openssl": "", "libc": "", "load": "0", "peers": ""}
    return {"machine": facts, "rows": [{**row, "quartiles": [1, 1], "ok": row["ratio"] < 2} for row in found]}


def test_runs_are_kept_by_version_and_part_of_one_measured_anew(tmp_path):
    page.add(run("3.14.2", draw=1.5, seed=3.0), str(tmp_path), whole=True)
    page.add(run("3.11.7", draw=1.25), str(tmp_path), whole=True)
    page.add(run("3.14.2", draw=1.75), str(tmp_path), whole=False)
    page.add_growth(
        {"machine": run("3.11.7")["machine"], "curves": [curve([1, 20, 25], [10, 20, 26])]}, str(tmp_path), whole=True
    )
    text = (tmp_path / "performance.md").read_text()
    assert "| what | 3.11 | 3.14 |" in text
    assert "| draw | x 1.250, +5 ns | x 1.750, +15 ns |" in text
    assert "| seed |  | **x 3.000, +40 ns** |" in text
    for picture in ("performance.svg", "performance-growth.svg"):
        assert ElementTree.parse(tmp_path / picture).getroot().tag.endswith("svg")
