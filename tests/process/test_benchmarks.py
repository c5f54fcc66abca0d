"""The benchmarks measure what they say, or nothing."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not part of the package")

from benchmarks import instructions, outside, outside_report, page, pairs, report
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


def whole_programs(**ratios):
    figures = {
        what: {"stock": 100, "more": [1, 2, 3], "twin": [-1, 0, 1]} for what in ("imported", "exit", "peak", "private")
    }
    rows = [outside.row(name, [[(1.0, ratio, 1.0)] * 3] * 4) for name, ratio in ratios.items()]
    return {
        "machine": {**run("3.11.7")["machine"], "date": "2026-11-29", "on": "CPU 1 alone"},
        "pyperformance": {
            "rows": [{**row, "first": row["ratio"]} for row in rows],
            "absent": [["dask", "is for Python >=3.12"]],
            "minutes": 1,
            "versions": "pyperformance 1",
        },
        "instructions": {"chaos": [1000, 1001, 10]},
        "applications": {
            "rows": [{"name": "flask", "rank": 181, "version": "flask 3", "groups": 3, **figures}],
            "absent": [],
        },
    }


def test_a_ratio_is_of_the_quieter_rounds_and_to_both_stocks():
    quiet, loud = (1.0, 1.1, 1.21), (9.0, 90.0, 9.0)
    ours, twin = outside.ratios([loud, quiet, quiet, loud, quiet])
    assert (round(ours, 6), round(twin, 6)) == (1.0, 1.21)


def test_a_row_has_the_quartiles_of_its_groups_and_the_mean_is_geometric():
    row = outside.row("nbody", [[(1.0, ratio, 1.0)] for ratio in (1.0, 1.01, 1.02, 1.03, 1.08)])
    assert row["ratio"] == [1.01, 1.02, 1.03]
    assert row["twin"] == [1.0, 1.0, 1.0]
    assert outside.quartiles([1.5]) == [1.5] * 3
    assert outside.geometric_mean([{"first": [0, 0.5, 9]}, {"first": [0, 2.0, 9]}], "first") == pytest.approx(1)


@pytest.mark.parametrize(
    ("ratios", "verdict"), [([1.001, 1.002], "held"), ([1.009, 1.01], "missed"), ([0.99, 1.01], "within the noise")]
)
def test_noise_decides_nothing(ratios, verdict):
    assert outside.verdict([{"first": [0, ratio, 2]} for ratio in ratios]) == verdict


def test_whole_programs_get_a_part_of_the_page(tmp_path):
    page.add(run("3.11.7", draw=1.25), str(tmp_path), whole=True)
    page.add_outside(whole_programs(nbody=1.001, chaos=1.05), str(tmp_path), whole=True)
    text = (tmp_path / "performance.md").read_text()
    assert "geometric mean of 2 ratios: **1.0252** ± 0.0239, the twin's 1.0000 ± 0.0000" in text
    assert "the bar is 1.003: within the noise" in text
    assert "| chaos | 1 s | 1.050 | 1.050 to 1.050 | 1.000 | 1.000 to 1.000 | 4 | x 1.0010 | 1.00% |" in text
    assert "geometric mean **1.0010**; 1 of them run" in text
    assert "- dask: is for Python >=3.12" in text
    assert "| flask 3 (181) | 100.0 ms | +2.0 (1.0 to 3.0), twin +0.0 |" in text
    page.add_outside(whole_programs(chaos=1.001), str(tmp_path), whole=False)
    text = (tmp_path / "performance.md").read_text()
    assert "geometric mean of 2 ratios: **1.0010**" in text
    assert ElementTree.parse(tmp_path / "performance-outside.svg").getroot().tag.endswith("svg")


TINY = str(Path(__file__).parents[1] / "programs" / "tiny_benchmark" / "run_benchmark.py")


def test_a_benchmark_runs_in_groups_of_three():
    found = outside.benchmark(sys.executable, [TINY, "--size", "10"], seconds=0)
    assert list(found) == ["tiny", "tiny_command"]
    assert {len(groups) for groups in found.values()} == {outside.LEAST_GROUPS}
    assert all(seconds > 0 for groups in found.values() for rounds in groups for one in rounds for seconds in one)
    assert "x " in outside.words(found)
    assert outside_report.pyperformance_table([outside.row("tiny", found["tiny"])], {})


@pytest.mark.parametrize("expected", [False, True])
def test_a_benchmark_that_is_not_as_expected_is_not_measured(expected, tmp_path):
    with pairs.environments("file") as both:
        env = outside.environments(both, 0)[not expected]
        process = outside.Process([sys.executable], [TINY], env, expected, str(tmp_path))
        try:
            assert process.said() == "tiny"
            with pytest.raises(pairs.Failed, match=f"is {'not ' if expected else ''}active here"):
                process.ask(1)
        finally:
            process.close()


def test_a_benchmark_that_cannot_run_says_why(tmp_path):
    (tmp_path / "broken.py").write_text("import pyperf, a_library_that_is_not_here")
    (tmp_path / "pyperf.py").write_bytes((Path(TINY).parent / "pyperf.py").read_bytes())
    with pytest.raises(pairs.Failed, match="No module named 'a_library_that_is_not_here'"):
        outside.benchmark(sys.executable, [str(tmp_path / "broken.py")], seconds=0)


@pytest.mark.parametrize("expected", [False, True])
def test_the_figures_of_an_application(expected, tmp_path):
    with pairs.environments("file") as both:
        envs = outside.environments(both, 0)
        figures = outside.start(sys.executable, "import json", envs[expected], expected, str(tmp_path))
        with pytest.raises(pairs.Failed, match="active here"):
            outside.start(sys.executable, "import json", envs[not expected], expected, str(tmp_path))
    imported, ended, peak, private = figures
    assert 0 < imported < ended
    assert peak > private > 1000
