"""The pytest plugin and its twins for unittest and the shell: they find what clones draw alike, and raise no alarm
where a program is protected."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from snapsafe_rt.testing import clones

from ..conftest import PACKAGE, PROGRAMS, need
from ..helpers.running import SNAPSAFE_RUN

PYTEST = [
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "-p",
    "no:ddtrace",  # where it is installed it makes threads anew after each fork, at some time
    "-c",
    "pytest.ini",
    "-rA",
]
RUNS = int(os.environ.get("SNAPSAFE_TEST_ALARMS", "2"))  # 20 were run by hand

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(
        not any(
            entry.value == "snapsafe_rt.testing.plugin" for entry in importlib.metadata.entry_points(group="pytest11")
        ),
        reason="the package is not installed, so that pytest does not find its plugin",
    ),
]


@pytest.fixture
def run(tmp_path):
    """run(command, ...) -> (exit code, what it printed): in a folder of its own, not protected by the environment."""
    shutil.copytree(PROGRAMS / "apps", tmp_path, dirs_exist_ok=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(*command, timeout=200, **env):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTEST"))}
        done = subprocess.run(
            [*map(str, command)],
            env={**clean, "PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1", **env},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def own(run, tmp_path):
    """own(text, *options, under=...) -> outcomes of the tests of that text by their names, and all that was printed."""

    def own(text, *options, under=(), **env):
        (tmp_path / "test_own.py").write_text(text)
        _, said = run(*under, *PYTEST, *options, "test_own.py", **env)
        return outcomes(said), said

    return own


def outcomes(said):
    found = re.findall(
        r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL)[^\n]*?\.py::((?:\w+::)?\w+(?:\[\w+\])?)", said, re.MULTILINE
    )
    return {name: outcome for outcome, name in found}


QUIETLY = [*SNAPSAFE_RUN, "--quiet"]


@pytest.mark.parametrize("options", [[], ["-n", "2"], ["--forked"]], ids=["", "xdist", "forked"])
@pytest.mark.parametrize("protected", [True, False], ids=["", "twin"])
def test_each_way_to_draw(run, protected, options):
    for name in ("xdist", "pytest_forked"):
        need(name)
    if options == ["--forked"] and "1 passed" not in run(*PYTEST, *options, "forked_tests.py")[1]:
        pytest.skip("this pytest-forked does not work with this pytest")
    code, said = run(*(QUIETLY if protected else []), *PYTEST, *options, "plugin_tests.py")
    found = outcomes(said)
    assert code == 1
    planted = found.pop("test_planted")
    assert planted == "FAILED"
    assert len(found) == 7, said
    assert set(found.values()) == {"PASSED" if protected else "FAILED"}, said
    assert re.search(r"^\['kept'\] +all 8 +0\.\d+$", said, re.MULTILINE)
    assert bool(re.search(r"^\['drawn'\] +all 8 +0\.\d+$", said, re.MULTILINE)) is not protected
    assert ("Nothing protects this process" in said) is not protected


@pytest.mark.parametrize("protected", [True, False], ids=["", "twin"])
def test_on_the_loops_of_other_plugins(run, protected):
    need("anyio")
    need("pytest_asyncio")
    code, said = run(*(QUIETLY if protected else []), *PYTEST, "loops_tests.py")
    found = outcomes(said)
    assert code == 1
    for name, outcome in found.items():
        expected = "PASSED" if protected and "planted" not in name else "FAILED"
        assert outcome in (expected, "SKIPPED"), said
    assert {"test_drawn[asyncio]", "test_planted[asyncio]", "test_drawn_after_a_thread"} <= found.keys(), said


@pytest.mark.parametrize("protected", [True, False], ids=["", "twin"])
def test_by_unittest_alone(run, protected, tmp_path):
    (tmp_path / "own.py").write_text(
        "import random, unittest\nfrom snapsafe_rt.testing.safe import clone_safe\n"
        "class Own(unittest.TestCase):\n"
        "    @clone_safe(clones=3)\n    def test_it(self):\n        return random.random()\n"
        "    @clone_safe()\n    def test_skipped(self):\n        self.skipTest('not here')\n"
    )
    code, said = run(*(QUIETLY if protected else []), sys.executable, "-m", "unittest", "own")
    assert code == (0 if protected else 1), said
    assert ("3 clones of this process: 1 value came out alike" in said) is not protected
    assert "skipped=1" in said
    assert "safe.py" not in said  # the traceback ends where the user's code does


@pytest.mark.parametrize(("application", "others"), [("flask", 1), ("fastapi", 2), ("celery", 1)])
def test_a_planted_duplicate_in_an_application(run, application, others):
    """That was not written for it. No false alarm with protection; the twin fails in every test."""
    need(application)
    if application == "fastapi":
        need("httpx")
    tests = f"{application}_tests.py"
    for _ in range(RUNS):
        code, said = run(*QUIETLY, *PYTEST, tests)
        assert code == 1, said
        assert f"1 failed, {others} passed" in said, said
        assert outcomes(said)["test_planted"] == "FAILED"
    code, said = run(*PYTEST, tests)
    assert f"{others + 1} failed" in said, said


AGAIN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):  # as pytest-rerunfailures
    for _ in range(3):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def test_a_test_that_is_run_again_is_compared_again(own, tmp_path):
    (tmp_path / "conftest.py").write_text(AGAIN)
    found, said = own("""
import secrets, pytest
@pytest.mark.clone_safe(clones=3)
class TestIt:
    def test_alike(self): return "same"
    def test_new(self): return secrets.token_hex()
@pytest.mark.clone_safe(clones=3)
def test_alone(): return "same"
@pytest.mark.clone_safe(clones=3)
def test_alone_new(): return secrets.token_hex()
""")
    assert found == {
        "TestIt::test_alike": "FAILED",
        "TestIt::test_new": "PASSED",
        "test_alone": "FAILED",
        "test_alone_new": "PASSED",
    }
    assert said.count("3 clones of this process: 1 value came out alike") >= 2, said
    assert "another plugin" not in said


def test_the_line_that_makes_it_green(own, tmp_path):
    text = "import random, pytest\n@pytest.mark.clone_safe\ndef test_it():\n    return random.random()\n"
    found, said = own(text)
    assert found == {"test_it": "FAILED"}
    assert "usefixtures = snapsafe_source" in said
    found, _ = own(text, "-o", "usefixtures=snapsafe_source")
    assert found == {"test_it": "PASSED"}
    found, said = own(text, "-o", "usefixtures=snapsafe_source", SNAPSAFE="0")
    assert found == {"test_it": "FAILED"}
    assert "SNAPSAFE=0" in said


def test_a_restore_of_the_process_itself(own):
    found, said = own("""
import random, snapsafe_rt
called = []
def test_it(snapsafe_restore):
    snapsafe_rt.register_after_restore(called.append, 1)
    random.seed()
    state, before = random.getstate(), snapsafe_rt.epoch()
    assert snapsafe_restore() == before + 1
    random.random()
    assert called == [1]
    snapsafe_rt.unregister(called.append)
def test_not_active_any_more():
    assert not snapsafe_rt.status().active
""")
    assert set(found.values()) == {"PASSED"}, said


def test_callbacks_run_in_each_clone_and_nowhere_else(own):
    """A program with callbacks has a watcher; that of the template would renew it for the later clones."""
    text = """
import random, pytest, snapsafe_rt
called, node = [], random.random()
@snapsafe_rt.register_after_restore
def renew():
    global node
    called.append(1)
    node = random.random()
@pytest.mark.clone_safe(clones=12, warm_up=False)
def test_renewed():
    assert called == [1]
    return node
def test_not_here():
    assert called == []
@pytest.mark.clone_safe(clones=12, at_once=True)
def test_at_once():
    assert called == []
    return node
"""
    found, said = own(text, under=QUIETLY)
    assert found == {"test_renewed": "PASSED", "test_not_here": "PASSED", "test_at_once": "FAILED"}, said


def test_settings_of_the_service_hold_in_the_test(own, source_file):
    """SNAPSAFE_STRICT is its affair at its start; what a program sees of the settings is as it was."""
    text = """
import os, random, pytest
@pytest.mark.clone_safe
def test_it():
    assert "SNAPSAFE_WATCH" not in os.environ
    random.seed(1)
    return random.random()
@pytest.mark.clone_safe
def test_strict():
    assert os.environ["SNAPSAFE_STRICT"] == "1"
    return random.random()
"""
    env = source_file.env | {"SNAPSAFE_STRICT": "1"}
    found, said = own(text, under=QUIETLY, **env)
    assert found == {"test_it": "FAILED", "test_strict": "PASSED"}, said
    assert "random is kept: " in said
    renewed = text.replace("random.seed(1)", "random.seed()")
    assert own(renewed, under=QUIETLY, **env)[0] == {"test_it": "PASSED", "test_strict": "PASSED"}


def test_it_never_passes_without_having_compared(own):
    found, said = own("""
import os, threading, time, unittest, pytest
pytestmark = pytest.mark.clone_safe
def test_nothing(): pass
def test_empty(): return []
def test_object(): return object()
def test_raises(): assert 1 == 2
def test_skips(): pytest.skip("not here")
def test_xfails(): pytest.xfail("not yet")
@pytest.mark.clone_safe(clones=1)
def test_one(): return 1
@pytest.mark.clone_safe(copies=3)
def test_unknown(): return 1
@pytest.mark.clone_safe(timeout=1, warm_up=False)
def test_hangs(): time.sleep(60)
@pytest.mark.clone_safe(timeout="long")
def test_no_time(): return 1
@pytest.mark.clone_safe(warm_up=False)
def test_leaves(): os._exit(0)
def test_leaves_at_once(): os._exit(0)
def test_partly(): return {"codes": [], "at": time.time_ns()}
def test_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="stays").start()
    return time.time_ns()
class TestCase(unittest.TestCase):
    def test_case(self): return 1
""")
    skipped = {"test_skips", "test_xfails"}
    assert {name for name, outcome in found.items() if outcome != "FAILED"} <= skipped, said
    assert len(found.keys() - skipped) == 13
    assert "During handling" not in said  # each is told once
    for text in (
        "it returned nothing",
        "it returned a object",
        "assert 1 == 2",
        "clones=1 is no whole number from 2 on",
        "unexpected keyword argument 'copies'",
        "did not finish in time",
        "timeout='long' is no number of seconds",
        "ended before it answered: something in it called os._exit()",
        "the call before the clones are made died",
        "it returned an empty list as ['codes']",
        "began threads that went on: stays",
        "snapsafe_rt.testing.safe.clone_safe",
        "not here",
    ):
        assert text in said, text


def test_without_namespaces_it_says_so(own):
    found, said = own("""
import random, pytest
from snapsafe_rt.testing import clones
def refuse(flags):
    if flags:
        raise PermissionError(1, "Operation not permitted")
clones._unshare = refuse
@pytest.mark.clone_safe
def test_it():
    return random.random()
""")
    assert found == {"test_it": "FAILED"}
    assert "(plain clones: the kernel permits no namespaces here" in said
    assert "snapsafe: 1 test had plain clones" in said
    assert clones.WAYS["none"] == 0


def test_a_run_that_does_not_use_it_pays_for_nothing(own):
    found, said = own("""
import sys
def test_it():
    ours = {name for name in sys.modules if name.startswith("snapsafe_rt.testing")}
    assert ours == {"snapsafe_rt.testing", "snapsafe_rt.testing.plugin"}
    assert not {name for name in sys.modules if name.startswith(("snapsafe_rt.cli", "snapsafe_rt.report"))}
    import snapsafe_rt
    assert "PYTEST_DONT_REWRITE" in snapsafe_rt.__doc__
""")
    assert found == {"test_it": "PASSED"}, said


def test_pytest_warns_of_nothing_where_it_was_imported_before(own):
    quiet = "-W", "error", "-p", "no:asyncio"  # which warns where a setting is missing
    found, said = own("def test_it():\n    pass\n", *quiet, under=QUIETLY)
    assert found == {"test_it": "PASSED"}, said
    assert "arning" not in said


# ---- from a shell ----


@pytest.mark.parametrize(("kept", "code"), [(False, 0), (True, 1)])
def test_demo_of_a_program(run, tmp_path, kept, code):
    (tmp_path / "beside.py").write_text("import random\nTOKEN = random.random()\n")
    (tmp_path / "app.py").write_text(
        "import os, random, beside\nprint('what it prints', end='')\n"
        "def draw():\n    return {'code': random.random(), 'key': os.urandom(8)"
        f"{', **{beside.__name__: beside.TOKEN}' if kept else ''}}}\n"
    )
    ended, said = run(sys.executable, "-m", "snapsafe_rt", "demo", "--program", "app.py", "--clones", 10)
    assert ended == code, said
    assert re.search(r"^draw\(\)\['code'\] +10 of 10 +none +fixed$", said, re.MULTILINE), said
    assert re.search(r"^draw\(\)\['key'\] +none +none +unique anyway \(4\)$", said, re.MULTILINE)
    assert bool(re.search(r"^draw\(\)\['beside'\] +10 of 10 +10 of 10 +REPEATED$", said, re.MULTILINE)) is kept
    assert ("snapsafe_rt.per_generation" in said.replace("\n", " ")) is kept
    ended, said = run(sys.executable, "-m", "snapsafe_rt", "demo", "--program", "app.py", "--clones", 4, "--json")
    assert ended == code
    assert json.JSONDecoder().raw_decode(said)[0]["rows"][0] == {
        "name": "['code']",
        "words": "draw()['code']",
        "root": "program",
        "must_repeat": False,
        "without": 4,
        "with": 0,
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "app.py: no such file"),
        ("", "has no function draw(), which returns what must differ in each clone"),
        ("def draw(): pass", "it returned nothing"),
        ("def draw(): raise OSError('no database')", "OSError: no database"),
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"),
        ("def draw(): import os; os._exit(3)", "died"),
    ],
)
def test_demo_of_a_program_that_cannot_be_cloned(run, tmp_path, text, says):
    if text is not None:
        (tmp_path / "app.py").write_text(text)
    ended, said = run(sys.executable, "-m", "snapsafe_rt", "demo", "--program", "app.py", "--clones", 3)
    assert ended == 1
    assert says in said
