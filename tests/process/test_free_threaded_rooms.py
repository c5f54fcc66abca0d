"""What threads do at once in the core's rooms: they take turns, and none sees the half of what another one stores.

On builds without a GIL these find what the GIL hides on others; those pass them as well.
"""

import sys

import pytest

pytestmark = pytest.mark.internals

HEAD = """
import os, sys, threading, time
sys.setswitchinterval(0.0001)
from snapsafe_rt.core import native
errors = []
over = threading.Event()
def at_once(*works):
    def run(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)
            over.set()
    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not errors, errors
"""
CASES = {
    "one holds the delivery lock": """
lock = native.DeliveryLock()
held = []
def work():
    for _ in range(20000):
        if lock.acquire():
            held.append(threading.get_ident())
            assert lock.mine and lock.taken and len(held) == 1, held
            held.pop()
            lock.release()
        assert not lock.mine
at_once(*[work] * 4)
""",
    "the delivery lock is parked once": """
lock = native.DeliveryLock()
had = []
def work():
    for turn in range(300):
        gate.wait()
        if lock.unpark():
            had.append(turn)
            lock.release()
        gate.wait()
        if lock.acquire():
            lock.park()
gate = threading.Barrier(4)
lock.acquire()
lock.park()
at_once(*[work] * 4)
assert len(had) == len(set(had)), had
""",
    "an exchanged function stays so while others come and go": """
def function():
    return "stock"
def another():
    return "stock"
one = native.Exchanged(function)
one.to(lambda: "ours")
def call():
    while not over.is_set():
        assert function() == "ours"
def exchange():
    kept = []
    for number in range(3000):
        made = native.Exchanged(type(function)(another.__code__, globals()))
        made.to(lambda: number)
        assert made.in_place() and made.function() == number
        if number % 3:
            made.undo()
            assert made.function() == "stock" and not made.in_place()
        else:
            kept.append(made)
    for made in kept:
        made.undo()
    over.set()
at_once(call, call, exchange)
one.undo()
assert function() == "stock"
""",
    "a function that is exchanged and undone does one of the two": """
def function():
    return "stock"
one = native.Exchanged(function)
def call():
    while not over.is_set():
        assert function() in ("ours", "stock")
def exchange():
    for _ in range(5000):
        one.to(lambda: "ours")
        one.undo()
    over.set()
at_once(call, call, exchange)
""",
    "a call that is specialised already does what takes the function's place": """
def function():
    return "stock"
one = native.Exchanged(function)
turn = threading.Barrier(3, timeout=60)
def call():
    for number in range(6):
        turn.wait()
        found = {function() for _ in range(2000)}
        turn.wait()
        assert found == {"ours" if number % 2 else "stock"}, (number, found)
def exchange():
    for number in range(6):
        if number % 2:
            one.to(lambda: "ours")
        elif number:
            one.undo()
        turn.wait()
        turn.wait()
at_once(call, call, exchange)
""",
    "the text of the status page is whole": """
from snapsafe_rt.report import remote
def put(number):
    def work():
        for turn in range(400):
            native.page_put({f"kind{number}": [(str(turn), "x" * (turn % 50))]})
            native.page_put({f"other{number}.{turn % 7}": [(str(turn),)] if turn % 2 else []})
    return work
at_once(*[put(number) for number in range(4)])
assert native.page_problem() == "", native.page_problem()
maps = [line for line in open("/proc/self/maps") if "/memfd:snapsafe (" in line]
start = int(maps[0].split("-")[0], 16)
text = native.own_memory(start + 0x100, int.from_bytes(native.own_memory(start + 0x14, 4), "little")).decode()
for number in range(4):
    assert f"kind{number}\\t399\\t" in text, text
""",
    "what a module stands for is found while others come": """
import random
names, own = sys.modules, tuple(f"module{number}" for number in range(200))
def come():
    while not over.is_set():
        for name in own:
            names[name] = random
        for name in own:
            names.pop(name, None)
def look():
    for _ in range(300):
        assert native.module_words(names, ("os", "random")).count(":random") == 2
    over.set()
at_once(come, come, look)
""",
    "what a name stands for is found while others are bound": """
class Names:
    first = 1
names = {"first": Names, "second": len}
def bind():
    while not over.is_set():
        for number in range(300):
            names[f"name{number}"] = number
        for number in range(300):
            names.pop(f"name{number}", None)
def look():
    found = 0
    for _ in range(3000):
        try:
            words = native.attribute_words(names, ("first", "second"))
        except LookupError:
            continue
        assert ":first" in words and ":second" in words
        found += 1
    over.set()
    assert found
at_once(bind, look)
""",
    "each thread's generator is renewed after each restore": """
import _bisect
if not hasattr(_bisect, "__file__"):
    print("_bisect is built in")
    sys.exit(77)
draw, renewed = _bisect.bisect_right, {}
def renew():
    renewed[threading.get_ident()] = native.epoch()
family = native.calls_family("test", renew, True)
assert native.calls_guard(family, "bisect_right", draw, _bisect.__file__, None) == ""
def work():
    while not over.is_set():
        before = native.epoch()
        assert draw([1, 2, 3], 2) == 2
        assert renewed[threading.get_ident()] >= before
def move():
    for _ in range(3000):
        native.advance()
    over.set()
at_once(work, work, work, move)
""",
    "builtins are guarded by several threads": """
import _bisect, _heapq
modules = [one for one in (_bisect, _heapq) if hasattr(one, "__file__")]
if len(modules) < 2:
    print("they are built in")
    sys.exit(77)
called = [(one, name, value) for one in modules for name, value in vars(one).items() if callable(value)]
family = native.calls_family("test", list, True)
def work():
    for _ in range(200):
        for module, name, function in called:
            native.calls_guard(family, name, function, module.__file__, None)
        native.calls_remove(family)
        assert _bisect.bisect_right([1, 2, 3], 2) == 2
        assert _heapq.heappop([1, 2, 3]) == 1
at_once(*[work] * 4)
""",
    "the runner's objects are given back by other threads": """
import gc, snapsafe_rt
made, runs = [], []
def callback():
    for number in range(2000):
        made.append({str(number): [number] * 5, number: f"{number}" * 3})
    runs.append(threading.get_ident())
snapsafe_rt.register_after_restore(callback)
until = time.monotonic() + 60
while len(runs) < 60 and time.monotonic() < until:
    if len(runs) == native.epoch():
        native.advance()
    kept = [{str(number): [number]} for number in range(500)]
    while made:
        made.pop()
gc.collect()
assert len(runs) >= 60, (len(runs), native.epoch())
assert threading.get_ident() not in runs
""",
    "a program is audited in several threads": """
from snapsafe_rt.report import audited
native.audit_begin(None, os.path.dirname(os.__file__), "/nowhere", "test")
def work():
    for _ in range(20000):
        os.urandom(1)
def other():
    for _ in range(20000):
        os.urandom(1)
at_once(work, work, other, other)
native.audit_end()
places = [one for one in audited.of_process(os.getpid()).places if one.function in ("work", "other")]
assert sorted(one.times for one in places) == [40000, 40000], places
""",
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_threads_at_once(run_python, source_file, case):
    run_python(HEAD + case, env=source_file.env, dev=False)


# A thread that forks for a program runs its handlers while another one's fork is half done.
FORKS = """
import os, subprocess, sys, threading
from snapsafe_rt.core import native
import snapsafe_rt
snapsafe_rt.register_after_restore(int)
local = threading.local()
there, done = threading.Event(), threading.Event()
def before():
    kind = getattr(local, "kind", 0)
    if kind == 1:
        other.start()
        assert there.wait(60)
    elif kind == 2:
        there.set()
        done.wait(60)
def run():
    local.kind = 2
    subprocess.run([sys.executable, "-S", "-c", ""], check=True, preexec_fn=int)
seen = []
os.register_at_fork(before=before, after_in_child=lambda: seen.append(native.forking()))
other = threading.Thread(target=run)
local.kind = 1
child = os.fork()
if not child:
    os._exit(0 if seen == [1] and native.inspect_watcher().running else 1)
local.kind = 0
done.set()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
other.join()
"""


def test_a_child_is_told_from_the_one_of_another_thread(run_python, source_file):
    assert run_python(FORKS, env=source_file.env, dev=False, options=("-W", "ignore")).strip() == "0"


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="a build of 3.13 and later")
def test_the_core_leaves_the_gil_as_it_was(run_python, source_file):
    script = "import sys, snapsafe_rt; print(sys._is_gil_enabled(), snapsafe_rt.core.MISSING)"
    assert run_python(script, env=source_file.env).strip() == str(sys._is_gil_enabled())
