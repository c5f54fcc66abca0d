"""`snapsafe metrics`: of real processes; what a hostile one says breaks neither the format nor another's numbers."""

import os
import subprocess
import sys
import time

import pytest

from snapsafe_rt.cli import metrics, status
from snapsafe_rt.report import procfs, prometheus, remote

from ..conftest import PACKAGE
from ..helpers.prometheus import of, parse

pytestmark = pytest.mark.any_python


@pytest.fixture
def run(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "snapsafe_rt", "metrics", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_of_processes_that_run(run, living, source_file, tmp_path):
    one = living(env=source_file.env)
    bare = living(env={"SNAPSAFE_SOURCES": "vmclock:/no/such"})
    off = living(env={"SNAPSAFE": "0"})
    one("import snapsafe_rt; snapsafe_rt.register_after_restore(id, 1)")
    source_file.bump()
    one("snapsafe_rt.check()")
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    found = parse(done.stdout)
    pids = {name: str(process.pid) for name, process in (("one", one), ("bare", bare), ("off", off))}
    assert of(found, "snapsafe_protected", pid=pids["one"]) == [1]
    assert of(found, "snapsafe_restores_total", pid=pids["one"]) == [1]
    [when] = of(found, "snapsafe_last_restore_timestamp_seconds", pid=pids["one"], cause="generation")
    assert abs(time.time() - when) < 300
    assert of(found, "snapsafe_last_event_callbacks", pid=pids["one"]) == [1]
    assert of(found, "snapsafe_last_event_errors", pid=pids["one"]) == [0]
    assert of(found, "snapsafe_source_info", pid=pids["one"], source=source_file.uri, synchronous="false") == [1]
    assert of(found, "snapsafe_protected", pid=pids["bare"]) == [0]
    assert of(found, "snapsafe_subsystem", pid=pids["bare"], name="os", level="unprotected") == [1]
    assert of(found, "snapsafe_source_info", pid=pids["bare"]) == []
    assert of(found, "snapsafe_active", pid=pids["off"]) == [0]
    assert of(found, "snapsafe_epoch", pid=pids["off"]) == []
    assert sum(of(found, "snapsafe_processes")) == len(of(found, "snapsafe_protected"))
    done = run("--output", tmp_path / "snapsafe.prom")
    assert (done.returncode, done.stdout) == (0, "")
    assert of(parse((tmp_path / "snapsafe.prom").read_text()), "snapsafe_protected", pid=pids["one"]) == [1]
    assert [one.name for one in tmp_path.glob("snapsafe.prom*")] == ["snapsafe.prom"]


def test_a_file_that_cannot_be_written_is_named(run, tmp_path):
    for name, why in (("no/such/file", "No such file or directory"), ("link", "is no regular file")):
        path = tmp_path / name
        if name == "link":
            path.symlink_to("/dev/stdout")
        done = run("--output", path)
        assert (done.returncode, done.stderr) == (1, f"snapsafe metrics: {path}: {why}\n")
    done = run("--output", "/dev/full")
    assert (done.returncode, done.stderr) == (1, "snapsafe metrics: /dev/full: is no regular file\n")
    assert [one.name for one in tmp_path.iterdir()] == ["link"]


def test_without_a_place_for_the_numbers_it_fails():
    command = f"{sys.executable} -m snapsafe_rt metrics >&-"
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, shell=True, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("snapsafe metrics: stdout is closed")


def hostile(pid):
    one = remote.Outside(procfs.Process(pid, 0, False, 'python "} 1\nsnapsafe_protected{pid="1"} 1 --password x'), [])
    one.is_python = one.recorded = one.active = True
    evil = '"} 1\nsnapsafe_protected{pid="1"} 1\\'
    one.source = {
        "source": evil,
        "what": evil,
        "synchronous": False,
        "value": 1,
        "stuck": False,
        "via": "",
        "deserted": False,
        "distrust": "",
        "check_ns": None,
    }
    one.epoch = 1 << 64
    one.restores = {"count": 10**400, "last_cause": evil, "last_time": float("nan")}
    one.fence = {**one.fence, "state": "\udcff" * 1000}
    one.callbacks = -(10**400)
    one.last_event = {
        "epoch": 1,
        "cause": evil,
        "began": float("-inf"),
        "ended": float("inf"),
        "callbacks": 10**4000,
        "errors": [evil],
    }
    one.lifecycle = {**one.lifecycle, "phase": evil}
    one.rows = [remote.status.Row(f"{evil}{number}", (), "unprotected", "") for number in range(1000)]
    one.rows += [remote.status.Row("twice", (), "unprotected", "")] * 2
    return one


def test_a_hostile_process_speaks_of_itself_alone():
    made = metrics.samples([hostile(4711), hostile(4712)], 3, 0, {"state": 'qui"esced', "pid": 4713})
    text = prometheus.render(metrics.METRICS, made)
    found = parse(text)
    assert of(found, "snapsafe_protected", pid="1") == []
    assert of(found, "snapsafe_protected", pid="4711") == [0]
    assert of(found, "snapsafe_processes_not_permitted") == [3]
    assert of(found, "snapsafe_machine_phase_info") == [1]
    assert len(of(found, "snapsafe_subsystem", pid="4712")) <= metrics.ROWS_MOST
    assert of(found, "snapsafe_epoch", pid="4711") == []  # no number that a u64 holds
    assert len(text) < 200_000
    assert "password" not in text


def test_the_twin_without_escaping_is_broken(monkeypatch):
    monkeypatch.setattr(prometheus, "_label", str)
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        parse(prometheus.render(metrics.METRICS, metrics.samples([hostile(4711)], 0, 0, None)))


LAST = {
    "number": 1,
    "at": 1.0,
    "ended": "",
    "late": [],
    "quiesceSeconds": 1.0,
    "quiescedSeconds": None,
    "unquiesceSeconds": 2.0,
}
HOLDER = {"who": "db", "pid": 1, "uid": 0, "why": "it writes", "mode": "delay"}


@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        ({"state": "running", "snapshot": None, "lastSnapshot": LAST, "inhibitors": [HOLDER]}, "running"),
        ({"state": "running", "snapshot": None, "lastSnapshot": None, "inhibitors": []}, "running"),
        ({}, None),
        ({"state": "running", "snapshot": None, "lastSnapshot": None}, None),
        ({"state": "running", "inhibitors": []}, None),
        ({"state": {"a": 1}, "snapshot": None, "lastSnapshot": None, "inhibitors": []}, None),
        ({"state": "\x1b[31m", "snapshot": None, "lastSnapshot": None, "inhibitors": []}, None),
        ({"state": "running", "snapshot": None, "lastSnapshot": 7, "inhibitors": []}, None),
        ({"state": "running", "snapshot": None, "lastSnapshot": {**LAST, "at": "x"}, "inhibitors": []}, None),
        ({"state": "running", "snapshot": None, "lastSnapshot": {}, "inhibitors": []}, None),
        ({"state": "running", "snapshot": None, "lastSnapshot": None, "inhibitors": [1]}, None),
        ({"state": "running", "snapshot": None, "lastSnapshot": None, "inhibitors": "x"}, None),
        ({"state": "running", "snapshot": None, "lastSnapshot": None, "inhibitors": [{**HOLDER, "uid": "x"}]}, None),
    ],
)
def test_a_manager_that_answers_otherwise_is_none(monkeypatch, answer, phase):
    """One of another version, or something else that listens there: neither metrics nor doctor ends by it."""

    class Manager:
        pid = 4711

        def __init__(self, **given):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def call(self, method):
            return answer

    monkeypatch.setattr(status, "Manager", Manager)
    told = status.of_machine()
    assert (told and told["state"]) == phase
    found = parse(prometheus.render(metrics.METRICS, metrics.samples([], 0, 0, told)))
    assert of(found, "snapsafe_manager_up") == [phase is not None]
    if told is not None:
        status._show_machine(told)


def test_words_of_another_process_are_shown_without_an_import(run_python):
    """Whose privileges fell may not be able to import a codec any more."""
    said = run_python(
        r"""
        import sys
        from snapsafe_rt.report.procfs import printable
        sys.meta_path.clear()
        print(ascii(printable("a\x1b\udcff\n'\\")))
        """,
        activated=False,
    )
    assert said.strip() == ascii(r"a\x1b\udcff\n'" + "\\")
