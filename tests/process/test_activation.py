"""Activation through PYTHONPATH and by call: idempotent, exactly undone, silent, and never in the program's way."""

import os
import py_compile
import shutil
import subprocess
import sys
import textwrap
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import snapsafe_rt
from tests.conftest import FOLDER, PACKAGE

pytestmark = pytest.mark.internals

UNDONE = """
    import gc, inspect, json, os, pickle, sys
    names = "random _random uuid ssl _ssl sqlite3 _sqlite3 os posix _imp secrets tempfile".split()
    modules = [__import__(name) for name in names]
    import snapsafe_rt

    def picture():
        '''Every attribute of the modules and of their classes, by identity; and each function's code.'''
        seen = {}
        for module in modules:
            for name, value in vars(module).items():
                seen[module.__name__, name] = value
                if isinstance(value, type) and value.__module__ in names:
                    for attribute, inner in vars(value).items():
                        seen[value, attribute] = inner
        seen.update({(key, "code"): value.__code__ for key, value in list(seen.items()) if inspect.isfunction(value)})
        seen["meta_path"] = list(sys.meta_path)
        return seen

    def same(one, other):
        assert one.keys() == other.keys()
        return [key for key in one if one[key] is not other[key] and one[key] != other[key]]
"""


def test_undo_is_exact(run_python, source_file):
    script = """
    before = picture()
    for _ in range(3):
        snapsafe_rt.activate(sys.argv[1])
        assert snapsafe_rt.status().protected
        different = same(before, picture() | {"meta_path": before["meta_path"]})
        assert all(key[-1] == "code" for key in different), different     # objects stay, also while active
        snapsafe_rt.deactivate()
        assert not same(before, picture())
        assert not snapsafe_rt.status().active
    """
    run_python(UNDONE + script, source_file.uri, activated=False)


def test_undone_is_unguarded(run_python, source_file):
    """The twin of exactness: after deactivate() a restore is not seen, after activate() again the gap counts."""
    script = """
    import os, random, struct
    snapsafe_rt.activate(sys.argv[1])
    snapsafe_rt.deactivate()
    state = random.getstate()
    fd = os.open(sys.argv[1].partition(":")[2], os.O_WRONLY)
    os.pwrite(fd, struct.pack("<Q", 77), 0x68)
    assert random.getstate() == state and snapsafe_rt.epoch() == 0
    snapsafe_rt.activate(sys.argv[1])
    assert random.getstate() != state and snapsafe_rt.epoch() == 1
    state = random.getstate()
    snapsafe_rt.deactivate()
    snapsafe_rt.activate(sys.argv[1])
    assert random.getstate() == state and snapsafe_rt.epoch() == 1      # the same page, the same number: no gap
    """
    run_python(UNDONE + script, source_file.uri, activated=False)


def test_restored_while_activating_again(run_python, source_file):
    """The restore comes after the source was found to show the number that was left, and before it is watched."""
    script = """
    import os, struct
    from snapsafe_rt.core import native
    snapsafe_rt.activate(sys.argv[1])
    snapsafe_rt.deactivate()
    look = native.describe_source
    def restored(slot):
        seen = look(slot)
        if sys._getframe(1).f_code.co_name == "watch_first":
            fd = os.open(sys.argv[1].partition(":")[2], os.O_WRONLY)
            os.pwrite(fd, struct.pack("<Q", 77), 0x68)
            os.close(fd)
        return seen
    native.describe_source = restored
    snapsafe_rt.activate(sys.argv[1])
    assert snapsafe_rt.epoch() == 1
    """
    run_python(UNDONE + script, source_file.uri, activated=False)


def test_nothing_heavy_is_imported(run_python, source_file):
    """What start-up pays for: our own modules, and no library that the program did not ask for."""
    script = """
    import sys
    print(*sorted(sys.modules))
    """
    activated = set(run_python(script, env=source_file.env, dev=False).split())
    stock = set(run_python(script, activated=False, dev=False).split())
    assert {name for name in activated - stock if not name.startswith("snapsafe_rt")} <= {
        "sitecustomize",
        "_snapsafe_start",
        "time",
        "cython_runtime",
    }
    assert not {"snapsafe_rt.report.status", "snapsafe_rt.cli.main", "snapsafe_rt.guards.random"} & activated


def test_signatures_sources_and_pickles_are_stocks(run_python, source_file):
    script = """
    import inspect, pickle, random, uuid, os, ssl, sqlite3
    for function in (
        random.Random.gauss, uuid.uuid1, uuid.uuid4, uuid.getnode, random.random, random.getrandbits, os.urandom,
        random.Random.seed, sqlite3.Cursor.execute, ssl.RAND_bytes,
    ):
        try:
            signature = inspect.signature(function)
        except ValueError:
            signature = None
        source = inspect.getsource(function) if inspect.isfunction(function) else ""
        print(function.__name__, getattr(function, "__qualname__", None),
              getattr(function, "__module__", None), signature,
              function.__doc__, len(source), hash(source) and source.splitlines()[:3])
        try:
            print("pickles", pickle.loads(pickle.dumps(function)) == function)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            print(type(error).__name__)
    print(type(random.random), type(os.urandom), random.random.__self__ is random._inst)
    """
    environment = {"PYTHONHASHSEED": "0"}
    assert run_python(script, env={**source_file.env, **environment}) == run_python(
        script, env=environment, activated=False
    )


def test_mocks_see_their_mock(run_python, source_file):
    script = """
    import os, random, uuid
    from unittest import mock
    with mock.patch("os.urandom", return_value=bytes(16)) as urandom:
        assert str(uuid.uuid4()) == "00000000-0000-4000-8000-000000000000"
        urandom.assert_called_once_with(16)
    with mock.patch("random.random", return_value=0.25):
        assert random.random() == 0.25
    with mock.patch.object(random.Random, "gauss", return_value=7):
        assert random.Random().gauss(0, 1) == 7
    with mock.patch.object(uuid, "UUID") as cls:
        assert uuid.uuid4() in (cls.return_value, cls._from_int.return_value)
    with mock.patch("uuid.uuid4", return_value=1):
        assert uuid.uuid4() == 1
    assert uuid.uuid4() != uuid.uuid4()
    """
    run_python(script, env=source_file.env)


def test_switched_off(run_python, source_file):
    script = """
    import sys, snapsafe_rt
    snapsafe_rt.activate()
    status = snapsafe_rt.status()
    assert not status.active and status.why_not == "SNAPSAFE=0" and not status.protected
    """
    run_python(script, env={**source_file.env, "SNAPSAFE": "0"})
    run_python("import sys; assert not any(n.startswith('snapsafe') for n in sys.modules)", env={"SNAPSAFE": "0"})


@pytest.mark.parametrize("option", ["-E", "-I"])
def test_isolated_mode_ignores_the_environment(run_python, source_file, option):
    script = f"""
    import sys
    assert not any(name.startswith("snapsafe") for name in sys.modules)
    sys.path.insert(0, {str(PACKAGE.parent)!r})
    import snapsafe_rt
    snapsafe_rt.activate()
    assert [c["source"] for c in snapsafe_rt.status().candidates] == [
        "vmclock:/dev/vmclock0", "sysgenid:/dev/sysgenid", "vmclock:/run/snapsafe/vmclock0"]
    """
    run_python(script, env={**source_file.env, "SNAPSAFE_STRICT": "1"}, options=[option])


def chained(tmp_path, body):
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(body))
    return {"PYTHONPATH": f"{FOLDER}:{PACKAGE.parent}:{tmp_path}"}


def test_next_sitecustomize_runs(run_python, source_file, tmp_path):
    environment = chained(tmp_path, "import snapsafe_rt, sys\nran = snapsafe_rt.status().active, __file__\n")
    script = """
    import sitecustomize, sys
    assert sitecustomize.ran == (True, sys.argv[1]) and sitecustomize.__file__ == sys.argv[1]
    assert sys.modules["sitecustomize"].__spec__.name == "sitecustomize"
    """
    run_python(script, tmp_path / "sitecustomize.py", env={**source_file.env, **environment})


@pytest.mark.parametrize("form", ["py", "pyc", "package", "namespace", "zip", "extension", "link", "none"])
def test_next_sitecustomize_of_any_form(run_python, source_file, tmp_path, form):
    """The twin is the same path without ours at its head. Around it are folders and entries without one."""
    home = tmp_path / "home"
    home.mkdir()
    text = "import sys; print(sys.modules['sitecustomize'].__name__, 'ran')\n"
    path = [tmp_path / "absent", tmp_path / "empty", home]
    (tmp_path / "empty").mkdir()
    if form == "py":
        (home / "sitecustomize.py").write_text(text)
    elif form == "pyc":
        (home / "source.py").write_text(text)
        py_compile.compile(str(home / "source.py"), str(home / "sitecustomize.pyc"))
    elif form == "package":
        (home / "sitecustomize").mkdir()
        (home / "sitecustomize" / "__init__.py").write_text(text)
    elif form == "namespace":
        (home / "sitecustomize").mkdir()
    elif form == "zip":
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("sitecustomize.py", text)
        path[-1] = tmp_path / "all.zip"
    elif form == "extension":
        (home / f"sitecustomize{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    elif form == "link":
        (home / "other.py").write_text(text)
        (home / "sitecustomize.py").symlink_to("other.py")
    said = []
    for folders in ([], [FOLDER, PACKAGE.parent]):
        environment = {"PYTHONPATH": os.pathsep.join(map(str, [*folders, *path]))}
        script = "import sys; m = sys.modules.get('sitecustomize'); print(m and m.__spec__.origin)"
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **source_file.env, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        # Where there is none to run, ours keeps the name.
        out = done.stdout.replace(str(FOLDER / "sitecustomize.py"), "None")
        said.append((done.returncode, out, done.stderr.count("file too short")))
    assert said[0] == said[1]
    assert ("ran" in said[0][1]) == (form not in ("none", "namespace", "extension"))


def test_next_sitecustomize_of_a_path_hook(run_python, source_file, tmp_path):
    """Such as editable installations put there: its folder looks empty."""
    script = """
    import runpy, sys
    from importlib.machinery import ModuleSpec
    class Hook:
        def __init__(self, entry):
            if entry != sys.argv[1]:
                raise ImportError
        def find_spec(self, name, target=None):
            return ModuleSpec(name, self) if name == "sitecustomize" else None
        def create_module(self, spec):
            return None
        def exec_module(self, module):
            print("ran")
    sys.path_importer_cache.clear()
    sys.path_hooks.insert(0, Hook)
    runpy.run_path(sys.argv[2])
    """
    environment = {"PYTHONPATH": f"{FOLDER}:{PACKAGE.parent}:{tmp_path}"}
    said = run_python(script, tmp_path, FOLDER / "sitecustomize.py", env={**source_file.env, **environment})
    assert said == "ran\n"


def test_next_sitecustomize_raises(run_python, source_file, tmp_path):
    """Reported by site as without us, and we stay active."""
    environment = chained(tmp_path, "raise ValueError('theirs')\n")
    script = "import snapsafe_rt, sys; print(snapsafe_rt.status().active); sys.exit(3)"
    text = run_python(script, env={**source_file.env, **environment}, status=3, stream="stderr")
    assert "Error in sitecustomize" in text
    assert "ValueError: theirs" in text
    assert run_python(script, env={**source_file.env, **environment}, status=3) == "True\n"


def test_another_python_is_left_alone(run_python, tmp_path):
    """The folder on the path of an interpreter that the core was not built for: silent, unless strict."""
    copy = tmp_path / "snapsafe_rt"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__", "sitecustomize", "packaging"))
    (copy / "sitecustomize").mkdir()
    for file in FOLDER.glob("*.py"):
        (copy / "sitecustomize" / file.name).write_text(file.read_text())
    environment = {"PYTHONPATH": f"{copy / 'sitecustomize'}:{tmp_path}"}
    script = """
    import random, snapsafe_rt
    status = snapsafe_rt.status()
    assert not status.active and "no native core" in status.why_not, status.why_not
    assert snapsafe_rt.epoch() == 0 and len(snapsafe_rt.entropy(4)) == 4 and snapsafe_rt.per_generation(int)() == 0
    assert snapsafe_rt.notify_restored() == 0 and not status.protected
    assert random.Random(42).random() == 0.6394267984578837
    """
    # The interpreter below the virtual environment: there nobody installed the package, nor a finder for it.
    bare = sys._base_executable
    run_python(script, env=environment, executable=bare)
    line = run_python(script, executable=bare, env={**environment, "SNAPSAFE_STRICT": "1"}, status=78, stream="stderr")
    assert line.count("\n") == 1
    assert "no native core" in line
    assert "install snapsafe-rt with this interpreter" in line


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8", "3.9"])
def test_a_python_too_old_for_us_runs_as_without_it(version, tmp_path):
    """PYTHONPATH may be set for all that a machine runs."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    python = next(root.glob(f"versions/{version}.*/bin/python"), None) or shutil.which(f"python{version}")
    if python is None:
        pytest.skip("no such Python here")
    script = "import sys; print(sys.modules['sitecustomize'].__file__, sys.path[2:])"

    def said(*folders):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [python, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    empty = tmp_path / "empty"
    theirs = tmp_path / "theirs"
    empty.mkdir()
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("print('theirs')\n")
    assert said(FOLDER, theirs) == said(empty, theirs).replace(str(empty), str(FOLDER))
    assert said(theirs, FOLDER) == said(theirs, empty).replace(str(empty), str(FOLDER))
    assert str(FOLDER) in said(FOLDER)  # no other is there: ours stays, and does nothing


def test_beside_the_folder(run_python, source_file, tmp_path):
    """Only the folder is on the path, as for a venv in which the package is not installed."""
    environment = {**source_file.env, "PYTHONPATH": str(FOLDER)}
    script = """
    import sys, snapsafe_rt
    assert snapsafe_rt.status().protected and (sys.argv[1] not in sys.path or 'site-packages' in sys.argv[1])
    """
    run_python(script, PACKAGE.parent, env=environment, options=["-P"] if sys.version_info >= (3, 11) else ["-B"])


LEGACY_OR_ISOLATED = """
    import os
    from subinterpreters import *
"""


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_subinterpreters(run_python, source_file, kind):
    """A legacy one is activated in full; in one with a GIL of its own (3.12) the C guards work, silently."""
    script = f"""
    failure = run({kind!r}, code)
    assert failure is None, failure
    state = random.getstate()
    epoch = snapsafe_rt.epoch()
    assert epoch == 2
    assert snapsafe_rt.status().protected
    """
    in_full = kind == "legacy" or sys.version_info < (3, 12)
    assert run_python(LEGACY_OR_ISOLATED + script, source_file.path, env=source_file.env) == str(in_full)


def test_a_free_threaded_build_that_is_newer_than_the_proved_ones(run_python, source_file):
    """No core is built for it; what tells such a build is one letter."""
    script = """
    import sys
    sys.abiflags = "t"
    sys.version_info = (3, 14, 0, "final", 0)
    sys.modules["snapsafe_rt._core"] = None
    import snapsafe_rt
    snapsafe_rt.activate(sys.argv[1])
    status = snapsafe_rt.status()
    assert not status.active and not status.protected
    assert "knows free-threaded CPython up to 3.13; look for a newer one" in status.why_not, status.why_not
    """
    run_python(script, source_file.uri, activated=False)


def test_other_sources_named_while_active_are_a_problem(run_python, source_file):
    script = """
    import sys, snapsafe_rt
    snapsafe_rt.activate(sys.argv[1])
    snapsafe_rt.activate()
    assert snapsafe_rt.status().problems == []
    snapsafe_rt.activate("vmclock:/no/such")
    assert "vmclock:/no/such" in snapsafe_rt.status().problems[0]
    assert snapsafe_rt.status().source["source"] == sys.argv[1]
    """
    run_python(script, source_file.uri, env=source_file.env)


def test_public_names():
    assert set(snapsafe_rt.__all__) <= set(dir(snapsafe_rt))


@pytest.mark.parametrize("threshold", range(1, 25))
def test_import_survives_the_collector(run_python, threshold):
    """Collected at any moment of its import: module state and types are visited half-made."""
    script = f"""
    import gc
    gc.set_threshold({threshold}, 1, 1)
    import snapsafe_rt
    gc.set_threshold(700)
    assert snapsafe_rt.status().why_not == "activate() was not called"
    """
    run_python(script, activated=False, dev=False)


def test_fork_where_two_interpreters_imported_the_core(run_python, source_file):
    """The fork handlers are the process's: registered by each interpreter they would wait for themselves."""
    script = (
        LEGACY_OR_ISOLATED
        + """
    assert run("legacy", "import snapsafe_rt; assert snapsafe_rt.status().active") is None
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os._exit(snapsafe_rt.epoch())
        assert os.waitpid(pid, 0)[1] == 0
    """
    )
    run_python(script, env=source_file.env, timeout=20)


def test_who_looks_for_a_source_while_another_thread_deactivates(run_python, source_file):
    """The lock is another's at first, and when it is free there is nothing to look for."""
    script = """
    import snapsafe_rt
    from snapsafe_rt.source import probe
    from snapsafe_rt.state import state
    from snapsafe_rt.core import native
    class Late:
        def __enter__(self):
            state.lock = lock
            snapsafe_rt.deactivate()
            lock.acquire()
        def __exit__(self, *_):
            lock.release()
    lock = state.lock
    state.lock = Late()
    probe.probe(now=True)
    assert state.lock is lock and state.watched is None
    assert native.epoch() == 0 and native.inspect_epoch().source == -1
    """
    run_python(script, env=source_file.env)


def test_a_start_that_fails_half_way_is_undone(run_python, source_file):
    """Python does all of it then: no half of it counts as active."""
    script = """
    import sys
    class Once(list):
        failed = False
        def insert(self, *arguments):
            if not Once.failed:
                Once.failed = True
                raise MemoryError
            list.insert(self, *arguments)
    sys.meta_path = Once(sys.meta_path)
    sys.path.insert(0, sys.argv[1])
    import _snapsafe_start
    _snapsafe_start.activate()
    core = sys.modules["snapsafe_rt._core"]
    assert Once.failed and core.active() and core.started() is None
    import snapsafe_rt, uuid
    assert snapsafe_rt.status().protected, snapsafe_rt.status()
    """
    run_python(script, str(FOLDER), env=source_file.env, activated=False)


def test_what_came_while_the_package_could_not_be_imported(run_python, source_file):
    """It is called unprotected at once, and guarded as soon as the package can be."""
    script = """
    import sys
    class Bars:
        def find_spec(self, name, path=None, target=None):
            if name == "snapsafe_rt.activation":
                raise PermissionError(13, "no")
    bars = Bars()
    sys.meta_path.insert(0, bars)
    import uuid
    assert [row for row in sys.modules["snapsafe_rt._core"].page_lines("row") if row[:2] == ("uuid", "unprotected")]
    sys.meta_path.remove(bars)
    import snapsafe_rt
    assert {row.name: row.protection for row in snapsafe_rt.status().rows}["uuid"] == "guarded"
    """
    run_python(script, env=source_file.env, dev=False)


def test_settings_are_those_of_the_start(run_python, source_file):
    """Also where Python of ours is imported later, and the program has changed its environment by then."""
    script = """
    import os, sys
    assert "snapsafe_rt" not in sys.modules
    os.environ.update(SNAPSAFE_STRICT="1", SNAPSAFE_SEEDED="reseed", SNAPSAFE_SOURCES="vmclock:/nowhere")
    import random
    from snapsafe_rt.state import state
    assert not state.settings.strict and not state.settings.reseed_kept
    assert state.settings.changed() == [("SNAPSAFE_SOURCES", f"vmclock:{state.watched.path}")]
    """
    run_python(script, env=source_file.env, dev=False)
