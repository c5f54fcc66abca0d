"""What a program sees that looks at the interpreter is what stock Python shows, before a restore and after it."""

import sys

import pytest

from ..conftest import PROGRAMS
from ..programs.like_stock import WAYS

pytestmark = pytest.mark.internals

AGAIN = ("clocks",)  # asked once more after a restore


@pytest.mark.parametrize("way", WAYS)
def test_what_stock_shows(run_python, source_file, way):
    path = [source_file.path] if way in AGAIN else []
    ours, stock = (
        run_python(PROGRAMS / "like_stock.py", way, *path, env=source_file.env, activated=activated, dev=False)
        for activated in (True, False)
    )
    assert ours == stock


def test_coverage_counts_no_file_of_ours(run_python, source_file):
    pytest.importorskip("coverage")
    script = """
    import coverage
    measured = coverage.Coverage(data_file=None, cover_pylib=True)
    measured.start()
    import colorsys, uuid, ssl, secrets
    measured.stop()
    print([name for name in measured.get_data().measured_files() if "snapsafe" in name])
    """
    assert run_python(script, env=source_file.env, dev=False).strip() == "[]"


def test_an_asynchronous_exception_reaches_its_thread(run_python, source_file):
    """Also where a thread state of ours stands ready for the next event, in a program and in a child of it."""
    script = """
    import ctypes, os, threading
    import snapsafe_rt
    from restored import restore
    snapsafe_rt.register_after_restore(lambda: None)
    def reached():
        raises, here = ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.c_ulong(threading.get_ident())
        try:
            assert raises(here, ctypes.py_object(ZeroDivisionError)) == 1
            for _ in range(10**6): pass
        except ZeroDivisionError:
            return True
        return False
    assert reached()
    assert restore() == [] and reached()
    pid = os.fork()
    if pid == 0: os._exit(not reached())
    assert os.waitpid(pid, 0)[1] == 0 and reached()
    """
    run_python(script, source_file.path, env=source_file.env)


# ---- whatever door it came through, it is guarded ----

DOORS = {
    "another name": """
        spec = importlib.util.spec_from_file_location("another", random.__file__)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
    """,
    "twice": """
        del sys.modules["random"]
        import random as made
    """,
    "reloaded": """
        made = importlib.reload(random)
    """,
    "_random again": """
        del sys.modules["random"], sys.modules["_random"]
        import random as made
    """,
    "a finder in front": """
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                return importlib.machinery.PathFinder.find_spec(name, path) if name == "random" else None
        sys.meta_path.insert(0, Finder)
        del sys.modules["random"]
        import random as made
    """,
    "no exec()": """
        import ctypes
        run = ctypes.pythonapi.PyImport_ExecCodeModule
        run.argtypes, run.restype = [ctypes.c_char_p, ctypes.py_object], ctypes.py_object
        made = run(b"another", random.__spec__.loader.get_code("random"))
        snapsafe_rt.status()
    """,
    "before activation": """
        sys.modules["another"] = made = BEFORE
    """,
}


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
@pytest.mark.parametrize("door", DOORS)
def test_gauss_by_whatever_door_its_module_came(run_python, source_file, door, activated):
    """gauss() keeps a second value, and is Python: the clones repeat it where it is not exchanged."""
    early = door == "before activation"
    script = f"""
import importlib.machinery, importlib.util, random, sys
import snapsafe_rt
from drawing import distinct
BEFORE = random
if {early and activated}:
    snapsafe_rt.activate("vmclock:" + sys.argv[1])
if True:
{DOORS[door]}
print(distinct(lambda: repr(made.gauss(0, 1)).encode(), prepare=lambda: made.gauss(0, 1), count=20))
"""
    env = {"SNAPSAFE_WATCH": "0"} | (source_file.env if activated and not early else {})
    found = run_python(script, source_file.path, env=env, activated=activated and not early, dev=False)
    assert int(found) == (20 if activated else 1)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="os.setns came with 3.12")
def test_a_namespace_is_entered_with_a_refresher_at_work(run_python, source_file):
    """A process of several threads may not enter a mount namespace."""
    pytest.importorskip("cryptography")
    script = """
    import os, sys
    import cryptography.hazmat.bindings._rust
    try:
        os.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY))
    except PermissionError:
        sys.exit(77)
    """
    run_python(script, env=source_file.env, dev=False)
