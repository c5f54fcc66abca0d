"""The guard for builtins of libraries that only renew themselves, on a builtin of an extension module of Python's own:
when it renews, in which thread, and what it leaves alone."""

import pytest

pytestmark = pytest.mark.internals

HEAD = """
import _bisect, sys, threading
from drawing import source
from snapsafe_rt.core import native
if not hasattr(_bisect, "__file__"):
    print("_bisect is built in")
    sys.exit(77)
draw = _bisect.bisect_right
renewed = []
def renew():
    renewed.append(threading.get_ident())
def guard(renew=renew, each_thread=True):
    family = native.calls_family("test", renew, each_thread)
    assert native.calls_guard(family, "bisect_right", draw, _bisect.__file__, None) == ""
    return family
def in_thread(work):
    one = threading.Thread(target=work)
    one.start()
    one.join()
def twice():
    assert draw([1, 2, 3], 2) == draw([1, 2, 3], x=2) == 2
"""
CASES = {
    "one after the other": """
guard()
twice()
for _ in range(8):      # each most likely where the one before it was
    in_thread(twice)
assert len(renewed) == 9, renewed
""",
    "by turns": """
guard()
turns = [threading.Semaphore(0) for _ in range(3)]
def work(number):
    for _ in range(50):
        turns[number].acquire()
        twice()
        turns[(number + 1) % 3].release()
threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
for one in threads:
    one.start()
turns[0].release()
for one in threads:
    one.join()
assert len(renewed) == len(set(renewed)) == 3, renewed
""",
    "again after a restore": """
guard()
twice()
source.bump(1000)
twice()
source.bump(1001)
in_thread(twice)
twice()
assert len(renewed) == 4, renewed
""",
    "for all threads at once": """
guard(each_thread=False)
twice()
in_thread(twice)
source.bump(1000)
in_thread(twice)
twice()
assert len(renewed) == 2, renewed
""",
    "while it is called": """
moved = []
class Item:
    def __lt__(self, other):
        if not moved:
            moved.append(source.bump(1000))
        return False
guard()
assert draw([1], Item()) == 1
assert len(moved) == 1 and len(renewed) == 2, renewed
""",
    "a renewal that fails": """
broken = [OSError("no entropy")]
def fails():
    if broken:
        raise broken.pop()
    renew()
guard(fails)
try:
    draw([1], 1)
except OSError as error:
    assert str(error) == "no entropy"
else:
    raise AssertionError
twice()
assert len(renewed) == 1
""",
    "errors are stock's": """
guard()
for wrong in [(), ([1],), ([1], 2, 3, 4, 5)]:
    try:
        draw(*wrong)
    except TypeError:
        continue
    raise AssertionError(wrong)
""",
    "undone": """
family = guard()
assert native.calls_words(draw) and native.calls_in_place(draw)
native.calls_remove(family)
assert not native.calls_in_place(draw)
twice()
assert not renewed
guard()
twice()
assert len(renewed) == 1
assert "no builtin" in native.calls_guard(family, "f", twice, _bisect.__file__, None)
assert "exchanged" in native.calls_guard(family, "insort", _bisect.insort_left, sys.executable, None)
assert native.calls_words(len) == "" and not native.calls_in_place(len)
""",
}


@pytest.mark.parametrize("case", CASES)
def test_when_it_renews(run_python, source_file, case):
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    run_python(HEAD + CASES[case], source_file.path, env=env)
