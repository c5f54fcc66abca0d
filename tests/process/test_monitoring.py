"""What a fleet is watched by: the manager's file and its words for the journal, the rules, the dashboard."""

import errno
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from snapsafe_rt.cli import metrics
from snapsafe_rt.cli.manager import PRINTED
from snapsafe_rt.cli.shipped import shipped
from snapsafe_rt.manager import journal
from snapsafe_rt.manager import metrics as of_manager

from ..conftest import PACKAGE
from ..helpers.managed import Manager
from ..helpers.prometheus import of, parse

pytestmark = pytest.mark.any_python

PROMTOOL = os.environ.get("SNAPSAFE_PROMTOOL") or shutil.which("promtool")
NAMES = {one.name for one in (*metrics.METRICS, *of_manager.METRICS)}
ENV = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}


@pytest.fixture
def manager(shm_path, outer):
    started = []

    def start(path, **more):
        started.append(Manager(shm_path, outer.uri, options=["--metrics-file", path], **more))
        return started[-1]

    yield start
    for one in started:
        one.close()


def command(one, *arguments):
    subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", *arguments, "--socket", one.socket], env=ENV, check=True, timeout=60
    )


def test_the_managers_file_follows_it(manager, shm_path, outer):
    path = shm_path / "manager.prom"
    one = manager(path)
    found = parse(path.read_text())
    restores = of(found, "snapsafe_manager_restores_total")[0]
    assert of(found, "snapsafe_manager_info", source=outer.uri) == [1]
    assert of(found, "snapsafe_manager_phase_info", phase="running") == [1]
    outer.bump()
    one.until(lambda told: told["published"] == restores + 1)
    command(one, "quiesce")
    found = parse(path.read_text())
    assert of(found, "snapsafe_manager_restores_total") == [restores + 1]
    assert of(found, "snapsafe_manager_last_restore_timestamp_seconds")
    assert of(found, "snapsafe_manager_phase_info", phase="quiesced") == [1]
    command(one, "unquiesce")
    found = parse(path.read_text())
    assert of(found, "snapsafe_manager_snapshots_total") == [1]
    assert of(found, "snapsafe_manager_last_snapshot_info", ended="unquiesced") == [1]
    assert {dict(labels).get("step") for name, labels in found if name.endswith("_snapshot_seconds")} == set(
        of_manager.STEPS
    )
    assert {name for name, _ in found} <= NAMES
    assert not {one.name for one in metrics.METRICS} & {one.name for one in of_manager.METRICS}, "two files of one host"
    assert one.end() == (0, "", "")
    assert not path.exists(), "nobody keeps it any more"


def test_a_file_that_cannot_be_written_is_said_at_the_start(shm_path, outer):
    path = shm_path / "no" / "file"
    one = Manager(shm_path, outer.uri, options=["--metrics-file", path], wait=False)
    code, _, error = one.wait()
    one.close()
    assert code == 1
    assert error == f"snapsafe manager: {path}: No such file or directory\n"


def test_a_file_that_cannot_be_written_any_more_is_a_problem(manager, shm_path):
    folder = shm_path / "there"
    folder.mkdir()
    one = manager(folder / "manager.prom")
    folder.rename(shm_path / "away")  # at once: the manager may be about to write
    command(one, "quiesce")
    command(one, "unquiesce")
    assert any("the numbers are not written" in text for text in one.describe()["problems"])
    folder.mkdir()
    command(one, "quiesce")
    command(one, "unquiesce")
    assert one.until(lambda told: not any("numbers" in text for text in told["problems"]))
    assert parse((folder / "manager.prom").read_text())


# ---- the journal ----


def fields(message):
    """{name: value} of a datagram of the journal's protocol."""
    found = {}
    while message:
        line, _, message = message.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            [size] = struct.unpack("<Q", message[:8])
            value, message = message[8 : 8 + size], message[9 + size :]
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """What a journal would have got."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(str(tmp_path / "journal"))
    peer.settimeout(10)
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "journal"))
    yield lambda: fields(peer.recv(65536))
    peer.close()


def read_by_systemd(monkeypatch):
    """Our stderr, as it is from here on: pytest captures a test's in another file than its fixtures'."""
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")


def test_fields_for_the_journal(heard, monkeypatch, capfd):
    read_by_systemd(monkeypatch)
    journal.say("two\nlines")
    told = heard()
    assert (told["MESSAGE"], told["PRIORITY"], told["SYSLOG_IDENTIFIER"]) == ("two\nlines", "4", "snapsafe")
    assert journal.note("restore 1 published", SNAPSAFE_SOURCE='a\n=b"', SNAPSAFE_RESTORES=1)
    told = heard()
    assert told["SNAPSAFE_SOURCE"] == 'a\n=b"', "a value forges no other field"
    assert (told["SNAPSAFE_RESTORES"], told["PRIORITY"]) == ("1", "6")
    assert capfd.readouterr().err == ""


def test_without_a_journal_problems_are_on_stderr(monkeypatch, capsys):
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")  # inherited from who was started by systemd
    journal.say("a problem")
    assert not journal.note("a restore")
    assert capsys.readouterr().err == "snapsafe manager: a problem\n"


def test_without_a_descriptor_problems_are_on_stderr(monkeypatch, capfd):
    read_by_systemd(monkeypatch)

    def full(*arguments):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(journal.socket, "socket", full)
    journal.say("a problem")
    assert not journal.note("a restore")
    assert capfd.readouterr().err == "snapsafe manager: a problem\n"


# ---- rules, dashboard ----


@pytest.mark.parametrize("name", ["snapsafe-alerts.yml", "snapsafe-dashboard.json"])
def test_they_ask_for_what_there_is(name):
    command = [sys.executable, "-m", "snapsafe_rt", "manager", "--print", name]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True)
    asked = set(re.findall(r"snapsafe_\w+", done.stdout))
    assert asked
    assert asked <= NAMES, asked - NAMES
    if name.endswith(".json"):
        json.loads(done.stdout)


needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian's package prometheus)")


def promtool(*arguments, text=None):
    return subprocess.run(
        [PROMTOOL, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=120, check=False
    )


@needs_promtool
def test_promtool_takes_what_metrics_writes(living, source_file):
    living(env=source_file.env)
    text = subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", "metrics"], env=ENV, capture_output=True, text=True, check=True
    ).stdout
    done = promtool("check", "metrics", text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert promtool("check", "metrics", text=text.replace('version="', 'version="a"')).returncode, "the twin"


@needs_promtool
def test_promtool_takes_the_managers_file(manager, shm_path, outer):
    path = shm_path / "manager.prom"
    one = manager(path)
    command(one, "quiesce")
    command(one, "unquiesce")
    done = promtool("check", "metrics", text=path.read_text())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_promtool
def test_promtool_tries_the_rules(tmp_path):
    name = "snapsafe-alerts.yml"
    rules = shipped("packaging", *PRINTED[name].split("/"))
    done = promtool("check", "rules", rules)
    assert done.returncode == 0, done.stdout + done.stderr
    own = 'pid="7",program="python app.py",uid="0",cgroup="/",instance="a",job="node"'
    series = {
        f"snapsafe_protected{{{own}}}": "0x30",
        f'snapsafe_source_info{{{own},source="vmclock:/x",doubtful="true"}}': "1x30",
        f'snapsafe_fence_info{{{own},state="degraded"}}': "1x30",
        f"snapsafe_last_event_errors{{{own}}}": "2x30",
        f"snapsafe_last_event_seconds{{{own}}}": "9x30",
        'node_textfile_mtime_seconds{file="/x/snapsafe.prom",instance="a",job="node"}': "0x30",
        'snapsafe_manager_up{instance="a",job="node"}': "1x5 0x24",
        'snapsafe_manager_problems{instance="a",job="node"}': "1x30",
        'snapsafe_manager_kernel_reseeded{instance="a",job="node"}': "0x30",
        'snapsafe_manager_last_snapshot_late{instance="a",job="node"}': "1x30",
        'snapsafe_manager_phase_info{instance="a",job="node",phase="quiesced"}': "1x30",
        # the twin: nothing is wrong there
        'snapsafe_protected{pid="8",instance="b",job="node"}': "1x30",
        'snapsafe_manager_up{instance="b",job="node"}': "0x30",
        'snapsafe_manager_phase_info{instance="b",job="node",phase="running"}': "1x30",
    }
    alerts = re.findall(r"alert: (\w+)", Path(rules).read_text())
    expressions = [
        {"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing",instance="a"}})', "eval_time": "29m"}
        | {"exp_samples": [{"labels": "{}", "value": 1}]}
        for alert in alerts
    ]
    expressions.append({"expr": 'count(ALERTS{instance="b"})', "eval_time": "29m", "exp_samples": []})
    test = {
        "rule_files": [rules],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": expressions,
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(test))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
