"""For tests of libraries with generators of their own: what clones of a program drew, and the library's row.

The program prints what tell_clones() of drawing.py does."""

import json

import pytest

from snapsafe_rt.report import remote

from ..conftest import PROGRAMS


def drawn(run_python, program, source, count, *how, activated=True, **options):
    """Of each clone: what it drew, by surface; of each kept sequence, is it stock's; the row."""
    given = {"env": source.env | {"SNAPSAFE_WATCH": "0"}, "dev": False, "timeout": 900} | options
    said = run_python(PROGRAMS / program, source.path, count, *how, activated=activated, **given)
    same_pid, clones = json.loads(said)
    if not same_pid:
        pytest.skip("this kernel lets nobody make pid namespaces")
    assert len(clones) == count
    return clones


def check_guarded(clones, surfaces, kept):
    """No clone drew what another one drew, and what is kept is stock's; at least so many of each."""
    assert len(clones[0][0]) >= surfaces
    for name in clones[0][0]:
        assert len({clone[0][name] for clone in clones}) == len(clones), name
    assert len(clones[0][1]) >= kept
    for name in clones[0][1]:
        assert all(clone[1][name] for clone in clones), name
    level, note = clones[0][2]
    assert level == "guarded", note


def row_outside(one, name):
    """Level and note of that row, as another process sees them."""
    return next((row.protection, row.note) for row in remote.inspect(one.pid).rows if row.name == name)


def check_exchanged(program, name, code, says, inside_first):
    """`code` takes a guard out in that program, which has row(): seen outside before and after it is seen inside."""
    if inside_first:
        assert program("answer = row()")[0] == "guarded"
    program(code)
    assert row_outside(program, name)[0] == "unprotected"
    level, note = program("answer = row()")
    assert level == "unprotected"
    assert says in note
    assert row_outside(program, name)[0] == "unprotected"
