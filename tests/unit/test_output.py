"""What the commands print: it fits a terminal, it is the same with and without rich, and no stream ends them."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from snapsafe_rt.cli import metrics, output, processes
from snapsafe_rt.report import procfs, remote

from ..conftest import PACKAGE
from ..helpers.terminal import ESCAPE, FOLDER, environment, on_terminal

pytestmark = pytest.mark.any_python

LONG = "/".join(["", *("a-folder-of-a-name-that-is-long" + str(number) for number in range(5)), "source"])
PLAIN = "raise ImportError('as if it was not installed')"

STATES = {
    "nothing": {},
    "invalid": {"SNAPSAFE_SOURCES": f"vmclock:{LONG},nonsense,sysgenid:/dev/null"},
    "strict": {"SNAPSAFE_STRICT": "1", "SNAPSAFE_SOURCES": f"vmclock:{LONG}", "PYTHONPATH": str(PACKAGE.parent)},
    "off": {"SNAPSAFE": "0"},
}


@pytest.fixture
def long_source(shm_path):
    """A source whose path has 150 characters."""
    folder = shm_path / ("f" * 60) / ("g" * (150 - len(str(shm_path)) - 70))
    folder.mkdir(parents=True)
    made = subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", "trigger", "--create", "--path", folder / "source"],
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    assert made.returncode == 0
    return {"SNAPSAFE_SOURCES": f"vmclock:{folder}/source"}


def without_rich(tmp_path):
    (tmp_path / "rich.py").write_text(PLAIN)
    return os.pathsep.join([str(tmp_path), str(FOLDER), str(PACKAGE.parent)])


def settled(text):
    """Without colours and progress, in the same number of columns."""
    return re.sub(r"\r[^\n]*\r", "", ESCAPE.sub("", text))


def said(text):
    """The words, without what differs from one moment to the next. How long a look takes moves the breaks of lines."""
    words = " ".join(settled(text).split())
    return re.sub(r"\d+ s left", "N s left", re.sub(r"\d+\.\d ns", "N.N ns", words))


@pytest.mark.parametrize("time", ["9.8 ns", "10.3 ns", "10.3\nns", "104.0 ns"])
def test_what_is_said_has_no_time(time):
    assert said(f"A look takes {time}.") == "A look takes N.N ns."


@pytest.mark.parametrize(
    ("columns", "command"),
    [
        (80, ["status"]),
        (120, ["status"]),
        (80, ["status", "--pid"]),
        (80, ["status", "--all"]),
        (120, ["status", "--all"]),
        (80, ["doctor"]),
    ],
    ids=str,
)
def test_it_fits_with_a_long_path(long_source, living, command, columns):
    if command[-1] == "--pid":
        command = [*command, str(living(env=long_source).pid)]
    elif command[-1] == "--all":
        living(env=long_source)
    shown = settled(on_terminal(columns, *command, env=long_source))
    # A command to copy that has a word longer than the screen, such as an interpreter's path, stays whole.
    assert not [line for line in shown.splitlines() if len(line) > columns and not line.startswith("  ")], shown
    if command[0] == "status" and command[-1] != "--all":  # nothing of it is missing where all is told
        assert long_source["SNAPSAFE_SOURCES"] in "".join(shown.split())


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("state", STATES)
def test_it_fits_in_every_state_and_says_nothing_twice(state, columns):
    shown = settled(on_terminal(columns, "status", env=STATES[state]))
    assert not [line for line in shown.splitlines() if len(line) > columns], shown
    assert "NOT protected" in shown
    said = " ".join(shown.split())
    for sentence in ("a restore is seen only if notify_restored() is called", "is not activated"):
        assert said.count(sentence) <= 1, sentence


def test_a_note_of_several_rows_is_said_once(capsys):
    from snapsafe_rt.cli import status

    note = "renewed when the moon is full"
    rows = [
        {"name": name, "covers": [f"{name}.draw"], "protection": "refreshed", "note": note} for name in ("a", "b", "c")
    ]
    rows.append({"name": "d", "covers": [], "protection": "unexamined", "note": "x; SNAPSAFE_TRUST=d accepts it"})
    rows.append({"name": "e", "covers": [], "protection": "unexamined", "note": "y; SNAPSAFE_TRUST=e accepts it"})
    status._show_subsystems(rows)
    shown = capsys.readouterr().out
    assert shown.count(note) == 1
    assert f"a, b, c: {note}." in shown
    assert shown.count("SNAPSAFE_TRUST=") == 1
    assert "SNAPSAFE_TRUST=d,e\n" in shown
    assert output.once(["x", "x", "", "", "y", "x"]) == ["x", "the same", "", "", "y", "x"]
    assert output.reasons([("a", "is not"), ("b", "is not"), ("c", "is")]) == "a, b: is not; c is"


@pytest.mark.parametrize(
    ("columns", "command"), [(80, ["status"]), (45, ["status"]), (80, ["status", "--all", "--user", "65533"])], ids=str
)
def test_rich_and_plain_say_the_same(tmp_path, long_source, command, columns):
    pytest.importorskip("rich")
    env = {**long_source, "PYTHONPATH": os.pathsep.join([str(FOLDER), str(PACKAGE.parent)])}
    rich = on_terminal(columns, *command, env=env)
    plain = on_terminal(columns, *command, env={**env, "PYTHONPATH": without_rich(tmp_path)})
    assert "\x1b" not in plain
    assert said(rich) == said(plain)
    if command == ["status"]:
        assert "\x1b" in rich


@pytest.mark.parametrize(
    ("env", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)],
    ids=str,
)
def test_colour_on_a_terminal(env, coloured):
    pytest.importorskip("rich")
    assert ("\x1b" in on_terminal(80, "status", env={**STATES["invalid"], **env})) == coloured


def status_through_a_pipe(*options, **env):
    command = [sys.executable, *options, "-m", "snapsafe_rt", "status"]
    return subprocess.run(command, env=environment(**env), capture_output=True, timeout=60)


def test_colour_in_a_pipe_is_asked_for():
    pytest.importorskip("rich")
    plain = status_through_a_pipe(**STATES["invalid"])
    forced = status_through_a_pipe(**STATES["invalid"], FORCE_COLOR="1", TERM="xterm")
    assert b"\x1b" not in plain.stdout
    assert b"\x1b[" in forced.stdout
    assert said(forced.stdout.decode()) == said(plain.stdout.decode())


def test_a_pipe_has_whole_lines(long_source):
    shown = status_through_a_pipe(**long_source).stdout.decode()
    assert re.search(rf"^{re.escape(long_source['SNAPSAFE_SOURCES'])} +yes$", shown, re.MULTILINE)


@pytest.mark.parametrize("command", [["status"], ["doctor"], ["--help"], ["nonsense\udcff"]], ids=ascii)
def test_a_locale_that_knows_ascii_alone(command, tmp_path):
    """And a path that is in no encoding."""
    env = environment(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0")
    env["SNAPSAFE_SOURCES"] = "vmclock:/\udcff/\xe4\u4e2d\x1b[31m"
    done = subprocess.run([sys.executable, "-m", "snapsafe_rt", *command], env=env, capture_output=True, timeout=60)
    assert b"Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert b"\x1b" not in done.stdout
    assert done.returncode in (0, 1, 2)
    if command == ["status"]:
        assert b"\\xe4" in done.stdout or b"\\udcc3" in done.stdout
    if command == ["status"]:
        terminal = on_terminal(80, *command, env=env)
        assert "Traceback" not in terminal
        assert "\\x1b[31m" in "".join(terminal.split())


def shown(capsys, columns, tell):
    """What a terminal of that width would get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "_width", lambda stream: columns)
        tell()
    return capsys.readouterr().out


def test_wide_letters_take_two_columns(capsys):
    rows = [["\u4e2d\u6587\u8def\u5f84" * 10, "no", "x"], ["plain", "no", "y"]]
    lines = shown(capsys, 60, lambda: output.table(["source", "usable", "why"], rows)).splitlines()
    assert max(map(output._columns, lines)) <= 60
    assert len({output._columns(line.partition("no")[0]) for line in lines if "no" in line}) == 1


def test_nothing_moves_the_cursor(capsys):
    output.say("a path: /x\x1b[2J\r")
    output.table(["what"], [["/y\x1b[31m\n"]])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "\\x1b[2J\\r" in printed


@pytest.mark.parametrize("room", [40, 80])
@pytest.mark.parametrize(
    "text",
    [
        "/usr/bin/python3 -m venv ~/snapsafe && ~/snapsafe/bin/pip install snapsafe-rt   # then ~/snapsafe/bin/it",
        "mkdir -p /etc/criu && echo 'action-script   /usr/libexec/snapsafe-criu' >>/etc/criu/default.conf",
        "echo a\\ b 'c  d' \"e  f\"   # it's what it says, over and over and over again, and then some more of it",
    ],
)
def test_a_command_that_goes_on_is_the_same_for_a_shell(capsys, text, room):
    printed = shown(capsys, room, lambda: output.command(text))
    assert subprocess.run(["sh", "-n", "-c", printed], capture_output=True, timeout=60).stderr == b""
    assert shlex.split(printed.replace("\\\n", ""), comments=True) == shlex.split(text, comments=True)
    if max(map(len, text.split())) < room - 8 and "'action" not in text:
        assert max(map(len, printed.splitlines())) <= room


def test_a_path_is_shortened_in_its_middle():
    assert output.shorten("vmclock:" + LONG, 40).startswith("vmclock:/a-f")
    assert output.shorten("vmclock:" + LONG, 40).endswith("/source")
    assert len(output.shorten("vmclock:" + LONG, 40)) == 40
    assert output.shorten("short", 40) == "short"


def test_words_that_are_too_long_are_broken_and_none_is_lost():
    for most in (7, 20, 79):
        for text in (f"Watching {LONG}, a file", "x" * 100, "a b c", "", "\u4e2d" * 50):
            lines = output.wrap(text, most)
            assert max(map(output._columns, lines)) <= most
            assert "".join("".join(lines).split()) == "".join(text.split())
    assert output.wrap("one " + "x" * 30, 10, whole=True) == ["one", "x" * 30]


# ---- the manager is no program that lacks protection ----


def outside(pid, source=None):
    one = remote.Outside(procfs.Process(pid, 0, False, "python snapsafe manager"), [])
    one.is_python = one.recorded = one.active = True
    one.source = source
    return one


def test_the_manager_is_not_counted_as_unprotected():
    """Where it watches VMGenID, which is no source. Another process that looks like it is counted."""
    found = [outside(4711), outside(4712)]
    made = list(metrics.samples(found, 0, 0, {"state": "running", "pid": 4711}))
    assert [labels["pid"] for name, labels, _ in made if name == "snapsafe_protected"] == ["4712"]
    counted = {labels["state"]: value for name, labels, value in made if name == "snapsafe_processes"}
    assert counted == {"protected": 0, "unprotected": 1, "not activated": 0}
    twin = list(metrics.samples(found, 0, 0, None))
    assert len([1 for name, *_ in twin if name == "snapsafe_protected"]) == 2


def test_status_all_leaves_the_manager_out(monkeypatch, capsys):
    from snapsafe_rt.cli import main

    monkeypatch.setattr(processes, "find_all", lambda quiet=False: ([outside(4711)], 0, []))
    monkeypatch.setattr("snapsafe_rt.cli.status.of_machine", lambda: {"state": "running", "pid": 4711})
    assert main.main(["status", "--all"]) == 0
    assert "process 4711" in capsys.readouterr().out
    monkeypatch.setattr("snapsafe_rt.cli.status.of_machine", lambda: None)
    assert main.main(["status", "--all"]) == 1
