"""The command as a user meets it: what it prints where, and its exit codes."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snapsafe_rt.cli import main

from ..conftest import FOLDER, PACKAGE
from ..helpers.terminal import ESCAPE, environment, on_terminal

pytestmark = pytest.mark.any_python


@pytest.fixture
def snapsafe(tmp_path):
    """snapsafe("status", "--json", env={...}) -> CompletedProcess, through pipes."""

    def run(*arguments, env=None, timeout=60, **more):
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "snapsafe_rt", *map(str, arguments)]
        more.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(
            command,
            env=environment(**env or {}),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            **more,
        )

    return run


# ---- the table of commands ----


def test_without_a_command_the_usage_is_shown(snapsafe):
    done = snapsafe()
    assert done.returncode == 2
    assert done.stdout == ""
    for command in main.COMMANDS:
        assert re.search(rf"^ +{command.name}\s", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("name", [command.name for command in main.COMMANDS])
def test_each_command_explains_itself(snapsafe, name):
    done = snapsafe(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: snapsafe {name}")
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["status", "more"], ["trigger", "--nonsense"]])
def test_wrong_usage_is_2(snapsafe, arguments):
    done = snapsafe(*arguments)
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_version(snapsafe):
    import snapsafe_rt

    assert snapsafe("--version").stdout == f"snapsafe-rt {snapsafe_rt.__version__}\n"


def test_a_protected_program_imports_nothing_of_the_command(run_python):
    run_python("""
        import random, sys, snapsafe_rt
        snapsafe_rt.status()
        ours = {name.partition("snapsafe_rt.")[2].partition(".")[0] for name in sys.modules if "snapsafe_rt." in name}
        assert not ours & {"cli", "commands", "demo", "demo_program", "output", "publish", "testing"}, ours
        assert not {"argparse", "rich", "typing", "dataclasses"} & set(sys.modules)
    """)


# ---- run ----


def test_run_gives_the_programs_exit_code(snapsafe):
    assert snapsafe("run", "sh", "-c", "exit 7").returncode == 7
    assert snapsafe("run", "--", "sh", "-c", "kill -9 $$").returncode == -9


def test_run_leaves_the_programs_arguments_alone(snapsafe):
    arguments = ["--help", "--", "-x", "", "a b"]
    done = snapsafe("run", sys.executable, "-c", "import sys; print(sys.argv[1:])", *arguments)
    assert done.stdout == f"{arguments}\n"


def test_run_activates_and_keeps_the_rest_of_the_path(snapsafe, source_file):
    script = "import os, sys, snapsafe_rt; print(snapsafe_rt.status().source['source'], os.environ['PYTHONPATH'])"
    env = {**source_file.env, "PYTHONPATH": f"{PACKAGE.parent}{os.pathsep}/somewhere"}
    done = snapsafe("run", sys.executable, "-c", script, env=env)
    source, path = done.stdout.split()
    assert source == source_file.uri
    folder, *rest = path.split(os.pathsep)
    assert os.path.exists(os.path.join(folder, "sitecustomize.py"))
    assert rest == [str(PACKAGE.parent), "/somewhere"]
    twice = snapsafe("run", sys.executable, "-m", "snapsafe_rt", "run", "printenv", "PYTHONPATH", env=env)
    assert twice.stdout.strip() == path


@pytest.mark.parametrize(
    ("program", "code", "why"),
    [
        ("no-such-program", 127, "not found"),
        ("/no/such", 127, "not found"),
        ("/etc/passwd", 126, "ermission"),
        ("/", 126, ""),
    ],
)
def test_run_says_as_shells_do_that_it_cannot(snapsafe, program, code, why):
    done = snapsafe("run", program)
    assert done.returncode == code
    assert re.fullmatch(rf"snapsafe run: {program}: .*{why}.*\n", done.stderr)


@pytest.mark.parametrize("arguments", [["run"], ["run", "--"], ["run", ""], ["run", "-x", "true"]])
def test_run_without_a_program_is_wrong_usage(snapsafe, arguments):
    done = snapsafe(*arguments)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_run_hands_over_signals_and_locale_as_they_were(snapsafe):
    """Python ignores SIGPIPE and, in the C locale, sets LC_CTYPE: both for itself."""
    done = snapsafe("run", "sh", "-c", "grep SigIgn /proc/$$/status; echo lc=${LC_CTYPE-unset}", env={"LC_ALL": ""})
    ignored = int(re.search("SigIgn:\t([0-9a-f]+)", done.stdout)[1], 16)
    assert not ignored & 1 << signal.SIGPIPE - 1
    assert f"lc={os.environ.get('LC_CTYPE', 'unset')}" in done.stdout


# ---- status ----


def test_status_with_a_source_is_0(snapsafe, source_file):
    done = snapsafe("status", env=source_file.env)
    assert done.returncode == 0, done.stdout
    assert f"Watching {source_file.uri}, a file with a generation" in " ".join(done.stdout.split())
    assert re.search(r"^random +guarded ", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    unloaded = re.search(r"^Not loaded, and guarded or renewed as soon as they are: (.*?)\.$", done.stdout, re.M | re.S)
    rows = json.loads(snapsafe("status", "--json", env=source_file.env).stdout)["subsystems"]
    names = [row["name"] for row in rows if row["protection"] == "not loaded"]
    assert " ".join(unloaded[1].split()) == ", ".join(names)
    assert len(names) > 5
    assert not re.search(r"^\S+ +not loaded ", done.stdout, re.MULTILINE)


def test_status_without_a_source_is_1_and_tells_the_reasons(snapsafe):
    done = snapsafe("status", env={"SNAPSAFE_SOURCES": "vmclock:/no/such,sysgenid:/dev/null"})
    assert done.returncode == 1
    assert re.search(r"^vmclock:/no/such +no +does not exist$", done.stdout, re.MULTILINE)
    assert "sysgenid:/dev/null" in done.stdout
    assert "NOT protected" in done.stdout
    assert "snapsafe trigger --create" in done.stdout


@pytest.mark.parametrize("env", [{"SNAPSAFE": "0"}, {"SNAPSAFE_STRICT": "1", "SNAPSAFE_SOURCES": "vmclock:/no/such"}])
def test_status_reports_where_nothing_is_active_or_a_program_would_be_refused(snapsafe, env):
    done = snapsafe("status", env={**env, "PYTHONPATH": str(PACKAGE.parent)})
    assert done.returncode == 1
    assert "NOT protected" in done.stdout
    assert done.stderr == ""


def test_status_where_a_plain_python_is_not_activated(snapsafe, source_file):
    """What is measured then is what it would get, and must not be taken for what it has."""
    env = {**source_file.env, "PYTHONPATH": str(PACKAGE.parent)}
    done = snapsafe("status", env=env)
    assert done.returncode == 1
    assert "NOT protected by itself" in done.stdout
    assert "snapsafe run" in done.stdout
    assert "\nProtected" not in done.stdout
    done = snapsafe("status", "--json", env=env)
    assert done.returncode == 1
    assert json.loads(done.stdout)["by_itself"] is False
    nothing = snapsafe("status", env={**env, "SNAPSAFE_SOURCES": "vmclock:/no/such"}).stdout
    assert "NOT protected by itself" in nothing
    assert "NOT protected: no source" in nothing, nothing
    assert snapsafe("run", sys.executable, "-m", "snapsafe_rt", "status", env=env).returncode == 0


def test_status_for_programs(snapsafe, source_file):
    done = snapsafe("status", "--json", env=source_file.env)
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["protected"] is True
    assert told["source"]["source"] == source_file.uri
    assert set(told) == {
        *("version", "python", "pid", "active", "why_not", "protected", "epoch", "restores", "source", "candidates"),
        *("fence", "callbacks", "watching", "subsystems", "last_event", "lifecycle", "problems", "limits", "by_itself"),
        *("machine", "reasons", "unexamined", "clock"),
    }


# ---- trigger ----


def test_trigger_moves_the_file_that_programs_watch(snapsafe, source_file):
    done = snapsafe("trigger", env={"SNAPSAFE_SOURCES": f"vmclock:/dev/no-such,{source_file.uri}"})
    old, new = map(int, re.fullmatch(r"(\d+) -> (\d+)\n", done.stdout).groups())
    assert done.returncode == 0
    assert old == 1
    assert struct.unpack_from("<Q", source_file.path.read_bytes(), 0x68)[0] == new


def test_trigger_makes_a_file_and_its_folder_when_told_to(snapsafe, shm_path):
    path = shm_path / "new" / "vmclock0"
    done = snapsafe("trigger", "--path", path)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "--create" in done.stderr
    for _ in range(2):
        assert snapsafe("trigger", "--path", path, "--create").returncode == 0
    assert snapsafe("status", env={"SNAPSAFE_SOURCES": f"vmclock:{path}"}).returncode == 0


def test_trigger_claims_that_programs_are_frozen_only_when_told_to(snapsafe, shm_path):
    path = shm_path / "vmclock0"
    # As create(synchronous=True) writes it: u32 at 0x808. Without the option the claim stays as it is.
    for option, claim in (([], 0), (["--frozen"], 1), ([], 1), (["--no-frozen"], 0)):
        assert snapsafe("trigger", "--path", path, "--create", *option).returncode == 0
        assert struct.unpack_from("<I", path.read_bytes(), 0x808) == (claim,)


@pytest.mark.parametrize("create", [[], ["--create"]])
def test_trigger_leaves_other_files_alone(snapsafe, shm_path, create):
    (shm_path / "mine").write_text("precious" * 1000)
    done = snapsafe("trigger", "--path", shm_path / "mine", *create)
    assert done.returncode == 1
    assert "layout" in done.stderr
    assert (shm_path / "mine").read_text() == "precious" * 1000


def as_nobody(run_python, *arguments):
    """`trigger` as a user without rights, in whose reach the interpreter itself may not be."""
    return run_python(
        """
        import os, sys
        from snapsafe_rt.cli import main
        main.main(["trigger", "--path", "/dev/null"])  # imports what could not be imported later
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        sys.exit(main.main(["trigger", *sys.argv[1:]]))
        """,
        *arguments,
        status=77,
        stream="stderr",
        activated=False,
    )


def test_trigger_without_the_right_is_77(run_python, source_file):
    source_file.path.chmod(0o444)
    said = as_nobody(run_python, "--path", source_file.path)
    assert re.search(rf"^snapsafe trigger: {source_file.path}: not permitted to user \d+ .*--path$", said, re.MULTILINE)
    source_file.path.parent.chmod(0o555)
    said = as_nobody(run_python, "--path", source_file.path.parent / "new" / "vmclock0", "--create")
    source_file.path.parent.chmod(0o755)
    assert f"{source_file.path.parent}/new: not permitted" in said


def test_trigger_with_entropy_claims_a_reseed_only_if_there_was_one(
    snapsafe, source_file, run_python, tmp_path, shm_path
):
    seed = shm_path / "seed"
    seed.write_bytes(os.urandom(64))
    seed.chmod(0o644)
    shm_path.chmod(0o777)
    source_file.path.chmod(0o666)
    said = as_nobody(run_python, "--path", source_file.path, "--entropy", seed)
    page = source_file.path.read_bytes()
    generation = struct.unpack_from("<Q", page, 0x68)[0]
    assert "CAP_SYS_ADMIN" in said
    assert generation > 1  # a restore is told all the same
    assert struct.unpack_from("<Q", page, 0x800)[0] == 0
    if os.geteuid() == 0:
        done = snapsafe("trigger", "--path", source_file.path, "--entropy", seed)
        if done.returncode == 77:
            pytest.skip("root without CAP_SYS_ADMIN")
        assert done.returncode == 0, done.stderr
        page = source_file.path.read_bytes()
        assert struct.unpack_from("<Q", page, 0x68) == struct.unpack_from("<Q", page, 0x800) != (generation,)


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_trigger_with_bad_entropy_does_nothing(snapsafe, source_file, tmp_path, content):
    if content is not None:
        (tmp_path / "seed").write_bytes(content)
    done = snapsafe("trigger", "--path", source_file.path, "--entropy", tmp_path / "seed")
    assert done.returncode == 1
    assert str(tmp_path / "seed") in done.stderr
    assert "nothing was done" in done.stderr
    assert "--create" not in done.stderr  # it makes the source, no seed
    assert struct.unpack_from("<Q", source_file.path.read_bytes(), 0x68)[0] == 1


def test_trigger_takes_entropy_from_a_pipe_or_socket_to_its_end(snapsafe, source_file):
    """A guest agent hands on what its host sends, in pieces."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for piece in (b"a" * 7, b"b" * 9):
            ours.sendall(piece)
        ours.shutdown(socket.SHUT_WR)
        done = snapsafe("trigger", "--path", source_file.path, "--entropy", "-", stdin=theirs)
        assert done.returncode in (0, 77), done.stderr  # 16 bytes in all are enough; 77: this user may not reseed
        assert re.fullmatch(r"1 -> \d+\n", done.stdout)
        done = snapsafe("trigger", "--path", source_file.path, "--entropy", "-", stdin=subprocess.DEVNULL)
        assert "standard input: holds 0 bytes" in done.stderr
        assert done.returncode == 1
        assert done.stdout == ""


# ---- where output goes ----


@pytest.mark.parametrize("columns", [80, 50, 30])
@pytest.mark.parametrize("plain", [False, True], ids=["rich", "plain"])
def test_a_terminal_of_any_width_holds_the_lines(source_file, tmp_path, columns, plain):
    if plain:
        (tmp_path / "rich.py").write_text("raise ImportError('as if it was not installed')")
    env = {**source_file.env, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(FOLDER), str(PACKAGE.parent)])}
    shown = ESCAPE.sub("", on_terminal(columns, "status", env=env))
    assert "Protected" in shown
    long = [line for line in shown.splitlines() if len(line) > columns and " " in line.strip()[:columns]]
    assert not long, shown


def test_a_tables_rule_is_as_wide_as_its_columns_on_a_narrow_terminal(tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('as if it was not installed')")
    env = {"SNAPSAFE_SOURCES": "vmclock:/no/such/path/at/all", "PYTHONPATH": f"{tmp_path}:{PACKAGE.parent}"}
    lines = on_terminal(60, "status", env=env).splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("source"))
    assert lines[head + 1].startswith("-" * len("vmclock:/no/such/path/at/all") + "  ---"), lines[head : head + 3]


def test_no_color_is_honoured(source_file):
    pytest.importorskip("rich")
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", on_terminal(80, "status", env=source_file.env))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", on_terminal(80, "status", env={**source_file.env, "NO_COLOR": "1"}))


def test_a_reader_that_went_away_is_no_error(snapsafe, source_file):
    reader, writer = os.pipe()
    os.close(reader)
    done = snapsafe("status", env=source_file.env, stdout=writer)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""


def test_a_full_disk_is_one_line(snapsafe, source_file):
    with open("/dev/full", "w") as full:
        done = snapsafe("status", "--json", env=source_file.env, stdout=full)
    assert done.returncode == 1
    assert re.fullmatch(r"snapsafe status: the output cannot be written: No space left on device\n", done.stderr)


SLOW_MACHINE = re.compile(r"^processes looked at: \d+ of \d+\n", re.MULTILINE)


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("words", ["status", "status --all", "trigger --path /no/such", "nonsense"])
def test_closed_streams_change_neither_the_exit_code_nor_the_other_stream(source_file, closed, words):
    words = f"{sys.executable} -m snapsafe_rt {words}"
    closing = " ".join(f"{fd}>&-" for fd in closed)
    env = environment(**source_file.env)
    expected = subprocess.run(words, shell=True, env=env, capture_output=True, text=True, timeout=60)
    done = subprocess.run(f"{words} {closing}", shell=True, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == expected.returncode
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (bool(expected.stdout) and 1 not in closed)
    said, wanted = (SLOW_MACHINE.sub("", one.stderr) for one in (done, expected))
    assert bool(said) == (bool(wanted) and 2 not in closed)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wait-restored", "--since", "abc"], "invalid generation value: 'abc'"),
        (["demo", "--clones", "-3"], "-3: must be from 2 to"),
        (["demo", "--clones", "many"], "'many' is not a whole number"),
        (["trigger", "--path", "/dev/shm"], "/dev/shm: is a folder; --path takes the file in it"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(snapsafe, arguments, says):
    done = snapsafe(*arguments)
    assert done.returncode in (main.USAGE, main.FAILED)
    assert says in done.stderr


def test_ctrl_c_is_130_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "snapsafe_rt", "demo", "--clones", "20000"]
    with subprocess.Popen(
        command,
        env=environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        while child.poll() is None and not children.read_text():  # it is at work
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert out == b""
    assert b"Traceback" not in err
