"""A level is what is looked at, not what was once put there: from inside and from outside, whoever asks first."""

import json

import pytest

from ..conftest import PROGRAMS
from ..programs.in_place import HARMLESS, INSIDE, WAYS

# Not seen from outside before the process looks again; the last is no harm, but looks from there as if it were.
UNTOLD = ("mocks", "the module", "tempfile", "another module", "a method of the program's own")


@pytest.mark.parametrize("asked", [[], ["inside"]], ids=["outside first", "inside first"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_puts_in_the_place_of_a_guard(run_python, source_file, way, asked):
    out = run_python(PROGRAMS / "in_place.py", source_file.path, way, *asked, env=source_file.env, dev=False)
    outside, inside = map(json.loads, out.splitlines())
    row = inside["row"]
    for said in (outside, inside):
        assert said["protected"] == (row == ""), said
        assert set(said["unprotected"]) == ({row} if row else set()), said


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
