"""The recipes that `status` gives for libraries which it only names, done word by word in clones of a machine whose
kernel repeats itself too; and the twin, in which nothing is done."""

import pytest

from snapsafe_rt.guards import libraries

from ..conftest import need

CLONES = 20
# What a program did before the snapshot, and what it draws after it.
DRAWS = {
    "sentencepiece": None,  # its generator is reached through a trained model alone
    "numba": (
        "import numba, numpy\nseed = numba.njit(lambda n: numpy.random.seed(n))\nseed(1)\n"
        "drawn = numba.njit(lambda: numpy.random.random())\n"
        "draw = lambda: repr(drawn()).encode()"
    ),
}
GUARDS = [guard for guard in libraries.GUARDS if guard.recipe and DRAWS.get(guard.name)]

SCRIPT = """
import sys
from drawing import distinct
import snapsafe_rt
{draws}
recipe = {recipe!r}
if sys.argv[2] == "done":
    snapsafe_rt.register_after_restore(lambda: exec(recipe, globals()))
def after():
    snapsafe_rt.check()
    return draw()
print(distinct(after, draw, {clones}))
"""


@pytest.mark.parametrize("done", ["done", "twin"])
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_recipe_renews_while_the_kernel_repeats(run_python, source_file, machine, guard, done):
    module = guard.triggers[0].partition(".")[0]
    need(module)
    text = SCRIPT.format(draws=DRAWS[guard.name], recipe=guard.recipe, clones=CLONES)
    env = source_file.env | machine | {"SNAPSAFE_WATCH": "0"}
    found = run_python(text, source_file.path, done, env=env, options=["-W", "ignore"], dev=False, timeout=300)
    assert int(found) == (CLONES if done == "done" else 1)


def test_each_recipe_is_tried_or_known_not_to_be():
    untried = {guard.name for guard in libraries.GUARDS if guard.recipe} - {guard.name for guard in GUARDS}
    assert untried == {"tensorflow", "sentencepiece"}  # a gigabyte; a trained model


def test_where_no_recipe_helps_the_note_says_why():
    for guard in libraries.GUARDS:
        assert guard.recipe or any(word in guard.note() for word in ("kernel", "close", "stays", "cannot")), guard.name
