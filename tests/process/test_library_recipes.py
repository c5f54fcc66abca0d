"""The recipes that `status` gives for libraries which it only names, done word by word in clones of a machine whose
kernel repeats itself too; and the twin, in which nothing is done."""

import pytest

from snapsafe_rt.guards import libraries

from ..conftest import need
from ..helpers.running import EXAMPLES

CLONES = 20
# What a program did before the snapshot, and what it draws after it.
DRAWS = {
    "sentencepiece": """
import io, sentencepiece
from drawing import in_thread
model, lines = io.BytesIO(), (f"hello world this is a test of the sampler number {one}" for one in range(300))
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=lines, model_writer=model, vocab_size=60, minloglevel=5, num_threads=1
)
made, text = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()), "hello world this is a test " * 20
sentencepiece.set_random_generator_seed(1)
draw = lambda: in_thread(lambda: repr(made.encode(text, enable_sampling=True, alpha=0.1, nbest_size=-1)).encode())
""",
    "tensorflow": """
import tensorflow
tensorflow.config.threading.set_intra_op_parallelism_threads(1)
tensorflow.config.threading.set_inter_op_parallelism_threads(1)
draw = lambda: repr(tensorflow.random.uniform([4]).numpy().tolist()).encode()
""",
    "duckdb": """
import duckdb
connection = duckdb.connect(config={"threads": 1})
draw = lambda: str(connection.execute("select random(), uuid()").fetchall()).encode()
""",
}
# What is drawn by the plain call, and what n is in the one instead of it.
INSTEAD = {
    "pyarrow": "import pyarrow.compute\nn = 2\ndraw = lambda: repr(pyarrow.compute.random(2).to_pylist()).encode()"
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


@pytest.mark.parametrize("done", ["done", "twin"])
@pytest.mark.parametrize("guard", [one for one in libraries.GUARDS if one.instead], ids=lambda guard: guard.name)
def test_a_call_with_a_seed_does_not_repeat(run_python, source_file, machine, guard, done):
    need(guard.name)
    draws = INSTEAD[guard.name]
    if done == "done":
        draws += f"\nplain, draw = draw, lambda: repr(({guard.instead}).to_pylist()).encode()\nplain()"
    text = SCRIPT.format(draws=draws, recipe="", clones=CLONES)
    env = source_file.env | machine | {"SNAPSAFE_WATCH": "0"}
    found = run_python(text, source_file.path, "twin", env=env, options=["-W", "ignore"], dev=False, timeout=300)
    assert int(found) == (CLONES if done == "done" else 1)


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_worker_numbers_that_are_handed_out(run_python, source_file, machine, shm_path, protection):
    """examples/worker_number.py; without us the clones of its program make the same ids."""
    need("snowflake")
    text = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
from drawing import distinct
from worker_number import Ids, Numbers
ids = Ids(Numbers({str(shm_path)!r}))
draw = lambda: ids.new().to_bytes(8, "big")
print(distinct(draw, draw, {CLONES}))
"""
    env = source_file.env | machine | {"SNAPSAFE_WATCH": "0", "SNAPSAFE": protection}
    found = run_python(text, source_file.path, env=env, options=["-W", "ignore"], dev=False)
    assert int(found) == (CLONES if protection == "1" else 1)


def test_each_recipe_is_tried_or_known_not_to_be():
    untried = {guard.name for guard in libraries.GUARDS if guard.recipe} - {guard.name for guard in GUARDS}
    assert untried == set()
    assert {guard.name for guard in libraries.GUARDS if guard.instead} == set(INSTEAD)


def test_where_no_recipe_helps_the_note_says_why():
    for guard in libraries.GUARDS:
        assert (
            guard.recipe
            or guard.instead
            or any(word in guard.note() for word in ("kernel", "close", "stays", "cannot"))
        ), guard.name
