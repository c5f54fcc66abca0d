"""The host outlives us: an interpreter initialised again is protected, and no lack of memory ends the process."""

import os
import subprocess
import sys
import sysconfig

import pytest

from ..conftest import FOLDER, HELPERS, NATIVE, PACKAGE, PROGRAMS
from ..helpers.builds import FREE_THREADED

pytestmark = pytest.mark.internals

LIFE = """
import os, random, sys, uuid
import snapsafe_rt
sys.argv = ["", os.environ["LIVES_SOURCE"]]
from stage import bump
status = snapsafe_rt.status()
assert status.active and status.protected, status.as_dict()
called, began = [], snapsafe_rt.epoch()
snapsafe_rt.register_after_restore(called.append, 1)
states = [random.getstate()]
uuid.uuid4()
bump()
states.append(random.getstate())
assert snapsafe_rt.check() == began + 1 and called == [1] and states[0] != states[1]
status = snapsafe_rt.status()
assert status.protected and status.watching["how"] != "off", status.as_dict()
print(began)
"""


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("this Python has no shared library to embed")
    target = tmp_path_factory.mktemp("lives") / "lives"
    folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDLIBRARY")
    include = sysconfig.get_paths()["include"]
    library = [f"-L{folder}", f"-l:{name}", f"-Wl,-rpath,{folder}"]
    subprocess.run(["cc", "-Wall", "-Wextra", "-I", include, NATIVE / "lives.c", "-o", target, *library], check=True)
    return target


def test_each_life_is_protected(lives, source_file):
    """What happens between two lives nobody sees, so it counts as a restore."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    env |= source_file.env | {"LIVES_SOURCE": str(source_file.path), "PYTHONHOME": sys.base_prefix}
    env["PYTHONPATH"] = os.pathsep.join(map(str, [FOLDER, PACKAGE.parent, HELPERS]))
    done = subprocess.run([lives, LIFE, LIFE, LIFE], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["0", "2", "4"], "")


OPERATIONS = ("random", "gauss", "urandom", "uuid4", "uuid1", "RAND_bytes", "seed", "check")


@pytest.mark.parametrize("span", [1, 100_000])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_process_outlives_a_lack_of_memory(run_python, source_file, operation, span):
    """In whatever runs the restore and its event. PyGILState_Ensure() ends a process that has none for that."""
    pytest.importorskip("_testcapi")
    if operation == "check" and (3, 12) <= sys.version_info < (3, 14):
        pytest.skip("these CPythons do not outlive it themselves, in any code that is Python")
    script = PROGRAMS / "no_memory.py"
    run_python(script, source_file.path, operation, span, env=source_file.env, dev=False)


@pytest.mark.skipif(FREE_THREADED, reason="there CPython frees by two different allocators' halves: docs/design.md")
def test_tracemalloc_stops_while_an_event_begins(run_python, source_file):
    """What allocates without the GIL then ends the process (CPython gh-128679): the thread of the event did."""
    assert run_python(PROGRAMS / "traced_memory.py", source_file.path, env=source_file.env).split() == ["True"]
