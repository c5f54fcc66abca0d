"""A level is what is looked at, not what was once put there: from inside and from outside, whoever asks first."""

import _random
import json

import pytest

from ..conftest import PROGRAMS
from ..programs.in_place import HARMLESS, INSIDE, WAYS

pytestmark = pytest.mark.internals

# Not seen from outside before the process looks again; the last is no harm, but looks from there as if it were.
UNTOLD = ("mocks", "tempfile, by its sequence", "the class of", "a method of the program's own")


@pytest.mark.parametrize("asked", [[], ["inside"]], ids=["outside first", "inside first"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_puts_in_the_place_of_a_guard(run_python, source_file, way, asked):
    out = run_python(PROGRAMS / "in_place.py", source_file.path, way, *asked, env=source_file.env, dev=False)
    outside, inside = map(json.loads, out.splitlines())
    row = inside["row"]
    for said in (outside, inside):
        assert said["protected"] == (row == ""), said
        # random._urandom is the same object: from outside, that it is called otherwise is seen wherever it stands
        also = {"random"} if said is outside and way == "os.urandom, how it is called" else set()
        assert set(said["unprotected"]) == ({row} if row else set()) | also, said


@pytest.mark.parametrize("way", [*INSIDE, *HARMLESS])
def test_what_a_program_puts_in_the_place_of_stocks_own(run_python, source_file, way):
    """What the native core does not guard, but what is guarded is reached by; the twins change none of it."""
    out = run_python(PROGRAMS / "in_place.py", source_file.path, way, env=source_file.env, dev=False)
    row = INSIDE[way][1] if way in INSIDE else ""
    outside, inside = map(json.loads, out.splitlines())
    assert inside["protected"] == (row == ""), inside
    assert row in inside["unprotected"] if row else not inside["unprotected"], inside
    if not way.startswith(UNTOLD):
        assert outside["protected"] == inside["protected"], outside


TAKEN = """
    import random, sys
    sys.path.append(sys.argv[1])
    from in_place import exchanged
    if sys.argv[2] == "taken":
        exchanged(random.Random.random, dict.keys)
    import snapsafe_rt
    snapsafe_rt.activate()
    status = snapsafe_rt.status()
    print(status.unprotected, *status.reasons, flush=True)
    import os
    os._exit(0)
"""


@pytest.mark.parametrize("way", ["taken", "twin"])
def test_what_was_there_before_us_is_no_original(run_python, source_file, way):
    """A method that calls what is not of its library, as it was found: it is told, and not made the original."""
    if way == "taken" and not hasattr(_random, "__file__"):
        pytest.skip("_random is built into this Python, as is what the method calls: by the file nobody can tell")
    out = run_python(TAKEN, PROGRAMS, way, activated=False, env=source_file.env, dev=False)
    assert out.startswith("['random'] " if way == "taken" else "[]"), out
    assert ("methods of _random.Random were made to call" in out) == (way == "taken")


DRIVER = """
    import sys
    sys.path.insert(0, sys.argv[2])
    if sys.argv[3] == "first":
        import drv._sqlite3
    import sqlite3
    import snapsafe_rt
    from drawing import distinct
    import drv._sqlite3
    cls = drv._sqlite3.Cursor
    assert "__next__" not in vars(cls)
    try:
        next(cls())
    except TypeError as error:
        assert "not an iterator" in str(error), error
    else:
        raise AssertionError
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select hex(randomblob(8)) from n"
    connection = sqlite3.connect(":memory:")
    rows = connection.execute(endless)
    draw = lambda: [next(rows)[0].encode() for _ in range(3)][2]  # _sqlite3 may be a row ahead
    print(distinct(draw, draw, 8), snapsafe_rt.status().protected)
    connection.close()
"""


@pytest.mark.parametrize(("order", "activated"), [("first", True), ("last", True), ("first", False)])
@pytest.mark.parametrize("body", ["pass", "def execute(self): pass"])
def test_a_programs_own_module_of_an_extensions_name(run_python, source_file, tmp_path, order, activated, body):
    """It is no reference for what is guarded, and it is left as it is. Without us the rows repeat: the twin."""
    (tmp_path / "drv").mkdir()
    (tmp_path / "drv/__init__.py").touch()
    (tmp_path / "drv/_sqlite3.py").write_text(f"class Cursor:\n    {body}\n")
    arguments = (source_file.path, tmp_path, order)
    said = run_python(DRIVER, *arguments, activated=activated, env=source_file.env if activated else None)
    assert said.split() == (["8", "True"] if activated else ["1", "False"])


LAZY = """
    import importlib.util, pathlib, sys
    folder = pathlib.Path(sys.argv[2])
    (folder / "quits.py").write_text("import sys; sys.exit(9)")
    sys.path.insert(0, str(folder))
    waiting = ["tempfile", "secrets", "uuid", "quits"]
    for name in waiting:
        sys.modules.pop(name, None)
        spec = importlib.util.find_spec(name)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    def pending():
        return [name for name in waiting if type(sys.modules[name]).__name__ == "_LazyModule"]
    if sys.argv[3] == "looked at":
        import ssl, random, snapsafe_rt
        from snapsafe_rt.source.vmclock_file import publish
        assert snapsafe_rt.status().active
        publish(sys.argv[1])
        snapsafe_rt.check()
        snapsafe_rt.status()
    else:
        vars(sys.modules["uuid"])
    print(*pending())
"""


@pytest.mark.parametrize("how", ["looked at", "twin"])
def test_no_look_runs_what_a_lazy_loader_put_off(run_python, source_file, tmp_path, how):
    """importlib.util.LazyLoader executes a module at its first attribute; vars() is one."""
    said = run_python(LAZY, source_file.path, tmp_path, how, env=source_file.env).split()
    assert ("uuid" in said) == (how == "looked at")
    assert how == "twin" or said == ["tempfile", "secrets", "uuid", "quits"]
