"""`snapsafe demo`: shows what repeats and what does not, and fails when it has shown nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snapsafe_rt.cli import demo, demo_program, main

from ..conftest import PACKAGE


@pytest.fixture
def run_demo(tmp_path):
    """run_demo("--clones", 20) -> CompletedProcess."""

    def run(*arguments, env=None, timeout=120):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
        return subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-m", "snapsafe_rt", "demo", *map(str, arguments)],
            env={**clean, "PYTHONPATH": str(PACKAGE.parent), **(env or {})},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


def told(done):
    return json.loads(done.stdout)


def test_nothing_is_drawn_twice_with_protection_and_much_without(run_demo):
    done = run_demo("--clones", 60, "--json")
    rows = {row["name"]: row for row in told(done)["rows"]}
    assert done.returncode == 0, done.stdout + done.stderr
    assert told(done)["ok"] is True
    assert {"random", "instance", "gauss", "shuffle", "uuid1_identity", "getnode", "msgid", "ssl", "tls", "ec"} <= set(
        rows
    )
    for row in rows.values():
        assert row["with"] == 0
        if row["must_repeat"]:
            assert row["without"] == 60
    assert rows["random"]["must_repeat"]
    assert rows["ssl"]["must_repeat"] == told(done)["same_pid"]
    assert not rows["urandom"]["must_repeat"]


def test_for_a_person(run_demo):
    done = run_demo("--clones", 40)
    assert re.search(r"^random\.random\(\) +40 of 40 +none +fixed$", done.stdout, re.MULTILINE)
    assert re.search(r"^os\.urandom\(\) +none +none +unique anyway \(1\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^80 clones in [0-9.]+ s \(\d+ a second\)", done.stdout, re.MULTILINE)
    assert "share the live kernel" in done.stdout
    assert "snapsafe run python app.py" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("count", [2, 3])
def test_two_clones_are_enough_to_repeat_each_other(run_demo, count):
    done = run_demo("--clones", count, "--json")
    assert {row["without"] for row in told(done)["rows"] if row["must_repeat"]} == {count}


def test_it_fails_where_protection_is_taken_out(run_demo, tmp_path):
    """An activation that calls itself active and guards nothing."""
    broken = tmp_path / "broken"
    broken.mkdir()
    script = f"""
import sys
from snapsafe_rt.cli import main, demo
demo.activation_folder = lambda: {str(broken)!r}
sys.exit(main.main(["demo", "--clones", "4"]))
"""
    (broken / "sitecustomize.py").write_text(
        "import os\nif os.environ.get('SNAPSAFE') != '0':\n"
        "    from snapsafe_rt import state\n    from snapsafe_rt.source import probe"
        "\n    state.state.active = True\n    probe.probe = lambda now=False: None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^random\.random\(\) +4 of 4 +4 of 4 +REPEATED$", done.stdout, re.MULTILINE), done.stderr
    assert "FAILED: drawn twice with protection: random.random()" in done.stdout


def test_a_run_that_was_not_protected_is_not_called_protected(run_demo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "activation_folder", lambda: str(tmp_path))
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    monkeypatch.chdir(tmp_path)
    assert main.main(["demo", "--clones", "2"]) == 1
    assert "the run with protection had none: activate() was not called" in capsys.readouterr().err


def phase(isolation, **drawn):
    surfaces = {key: (key, root) for key, (root, _) in drawn.items()}
    clones = [
        dict(zip(drawn, values, strict=True)) for values in zip(*(values for _, values in drawn.values()), strict=True)
    ]
    return demo.Phase(surfaces, clones, isolation, 1.0)


@pytest.mark.parametrize(
    ("isolation", "root", "without", "protected", "code", "verdict"),
    [
        ("namespace", "memory", "aa", "bc", 0, "fixed"),
        ("namespace", "memory", "ab", "cd", 1, "NOTHING SHOWN"),
        ("namespace", "memory", "aa", "bb", 1, "REPEATED"),
        ("namespace", "kernel", "ab", "cd", 0, "unique anyway (1)"),
        ("namespace", "kernel", "ab", "cc", 1, "REPEATED"),
        ("namespace", "clock", "ab", "cd", 0, "unique anyway (2)"),
        ("namespace", "clock", "aa", "cd", 0, "fixed"),
        ("user", "pid", "ab", "cd", 1, "NOTHING SHOWN"),
        ("none", "pid", "ab", "cd", 0, "unique anyway (3)"),
        ("none", "memory", "ab", "cd", 1, "NOTHING SHOWN"),
    ],
)
def test_the_verdict(monkeypatch, capsys, isolation, root, without, protected, code, verdict):
    phases = phase(isolation, row=(root, without)), phase(isolation, row=(root, protected))
    monkeypatch.setattr(demo, "_phases", lambda count, file: phases)
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    assert main.main(["demo"]) == code
    shown = capsys.readouterr().out
    assert re.search(rf"^row .*{re.escape(verdict)}$", shown, re.MULTILINE), shown
    assert ("FAILED" in shown) == bool(code)


def test_every_surface_is_the_first_to_draw_in_some_clones_and_never_alone():
    for kinds in (1, 7, 17):
        for count in (2, 3, 2 * kinds, 2 * kinds + 1, 200):
            firsts = [demo_program.first_of(number, count, kinds) for number in range(count)]
            if count >= 2 * kinds:
                assert set(firsts) == set(range(kinds))
            assert all(firsts.count(first) >= 2 for first in firsts)


@pytest.mark.parametrize("count", ["0", "1", "abc", "-5", "1e3", "", "1000000000", "\N{SUPERSCRIPT TWO}"])
def test_a_wrong_number_is_wrong_usage(run_demo, count):
    done = run_demo("--clones", count)
    assert done.returncode == 2
    assert "argument --clones" in done.stderr


def test_a_protected_user_gets_the_same_demo(run_demo, source_file):
    """Under `snapsafe run`, and with settings of the user's own."""
    env = {**source_file.env, "SNAPSAFE_SEEDED": "reseed", "SNAPSAFE_STRICT": "1"}
    activation = demo.activation_folder()
    env["PYTHONPATH"] = os.pathsep.join([activation, str(PACKAGE.parent)])
    rows = {row["name"]: row for row in told(run_demo("--clones", 4, "--json", env=env))["rows"]}
    assert rows["random"]["without"] == 4
    assert rows["random"]["with"] == 0


def test_modules_in_the_current_folder_are_not_the_demos(run_demo, tmp_path):
    (tmp_path / "uuid.py").write_text("raise SystemExit('not me')")
    (tmp_path / "random.py").write_text("raise SystemExit('nor me')")
    done = run_demo("--clones", 2, "--json", env={"PYTHONSAFEPATH": "1"})
    if sys.version_info < (3, 11):
        pytest.skip("-m itself puts the current folder first")
    assert told(done)["clones"] == 2


def test_without_a_folder_for_the_source_it_says_which_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(demo, "private_folders", list)
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    assert main.main(["demo"]) == 1
    assert "tmpfs" in capsys.readouterr().err


def descendants(pid):
    """Of a process, as long as each is there."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):  # it has just ended
            children = (task / "children").read_text().split()
            found += [*children, *(one for child in children for one in descendants(child))]
    return found


def test_told_to_end_it_leaves_nothing_behind(tmp_path, shm_path):
    with subprocess.Popen(
        [sys.executable, "-m", "snapsafe_rt", "demo", "--clones", "20000"],
        # The first folder that it takes, and nobody else's demo does.
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "XDG_RUNTIME_DIR": str(shm_path)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        until = time.monotonic() + 60
        while len(descendants(child.pid)) < 4:  # the program, the keeper, the template, and clones of it
            assert time.monotonic() < until
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=30)
    assert child.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in said
    assert list(shm_path.iterdir()) == []
