"""A level is what is looked at, not what was once put there: from inside and from outside, whoever asks first."""

import json

import pytest

from ..conftest import PROGRAMS
from ..programs.in_place import WAYS


@pytest.mark.parametrize("asked", [[], ["inside"]], ids=["outside first", "inside first"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_puts_in_the_place_of_a_guard(run_python, source_file, way, asked):
    out = run_python(PROGRAMS / "in_place.py", source_file.path, way, *asked, env=source_file.env, dev=False)
    outside, inside = map(json.loads, out.splitlines())
    row = inside["row"]
    for said in (outside, inside):
        assert said["protected"] == (row == ""), said
        assert set(said["unprotected"]) == ({row} if row else set()), said
