"""The record that a process keeps of itself: where it lies, whose it is, and that it is whole whenever it is read."""

import re
import sys
import time

import pytest

from snapsafe_rt.guards import scan, table
from snapsafe_rt.report import procfs, remote

from ..helpers.looking import POKE, rows


def test_a_named_private_mapping_and_no_descriptor(living, source_file):
    one = living(env=source_file.env)
    with open(f"/proc/{one.pid}/maps") as maps:
        lines = [line for line in maps if "memfd:snapsafe" in line]
    assert len(lines) == 1
    assert re.search(r" rw-p .*/memfd:snapsafe \(deleted\)$", lines[0])
    assert not one(
        "import os; answer = [fd for fd in os.listdir('/proc/self/fd') if os.path.exists(fd) and "
        "'memfd' in os.readlink('/proc/self/fd/' + fd)]"
    )


def test_what_changes_is_seen_without_the_process_running(living, source_file):
    """Nothing is written for it: the words are the guards' own."""
    one = living(env=source_file.env)
    one("import random; kept = random.Random(7); kept.random(); random.random()")
    before = remote.inspect(one.pid)
    assert (before.epoch, before.restores["count"], before.kept) == (0, 0, 0)
    assert before.protected
    assert before.source["value"] == 1
    source_file.bump(41)
    moved = remote.inspect(one.pid)
    assert (moved.epoch, moved.source["value"]) == (0, 41)  # it has not drawn yet
    began = time.time()
    one("random.random(); kept.random()")
    after = remote.inspect(one.pid)
    assert (after.epoch, after.restores["count"], after.restores["last_cause"]) == (1, 1, "generation")
    assert began - 1 < after.restores["last_time"] < time.time() + 1
    assert after.kept == 1
    assert after.written == before.written
    inside = one("import snapsafe_rt; answer = snapsafe_rt.status().as_dict()")
    told = remote.inspect(one.pid).as_dict()
    for key in set(inside) - {"source", "fence", "subsystems", "watching"}:
        assert told[key] == inside[key], key
    for key in set(inside["source"]) - {"check_ns"}:
        assert told["source"][key] == inside["source"][key], key
    assert told["fence"]["state"] == inside["fence"]["state"]
    assert told["subsystems"] == inside["subsystems"]


@pytest.mark.parametrize("seeded", ["keep", "reseed"])
def test_settings_that_matter(living, source_file, seeded):
    one = living(env={**source_file.env, "SNAPSAFE_SEEDED": seeded})
    assert remote.inspect(one.pid).settings.get("SNAPSAFE_SEEDED", "keep") == seeded


def test_a_forked_childs_record_is_its_own(living, source_file):
    one = living(env=source_file.env)
    child = one("""
import os, random
down, up = os.pipe(), os.pipe()
answer = os.fork()
if answer == 0:
    while os.read(down[0], 1) == b"d":
        random.random()
        os.write(up[1], b".")
    os._exit(0)
""")
    source_file.bump()
    one("os.write(down[1], b'd'); os.read(up[0], 1)")
    assert remote.inspect(child).epoch == 1
    assert remote.inspect(one.pid).epoch == 0
    one("import snapsafe_rt; snapsafe_rt.deactivate()")
    assert not remote.inspect(one.pid).active
    assert remote.inspect(child).protected
    for pid in (child, one.pid):
        mapping = next(m for m in procfs.mappings(scan.lines_of(scan.read_maps(pid))) if m.path == remote.MAPPING)
        memory = procfs.Memory(pid)
        assert remote.Record(memory, mapping.start).pid == pid
        memory.close()
    one("os.write(down[1], b'q'); os.waitpid(-1, 0)")
    with pytest.raises(procfs.Gone):
        remote.inspect(child)


def test_watcher_and_callbacks(living, source_file):
    """A thread does not survive a fork that Python knows nothing of; nor may the word that says so."""
    one = living(env=source_file.env)
    assert (remote.inspect(one.pid).watching["how"], remote.inspect(one.pid).callbacks) == ("off", 0)
    child = one("""
import ctypes, os, snapsafe_rt
from snapsafe_rt.core import native
snapsafe_rt.register_after_restore(int)
while native.inspect_watcher().how != "inotify":
    os.sched_yield()
down = os.pipe()
answer = ctypes.PyDLL(None).fork()
if answer == 0:
    os.read(down[0], 1)
    os._exit(0)
""")
    found = [remote.inspect(pid) for pid in (one.pid, child)]
    one("os.write(down[1], b'q'); os.waitpid(-1, 0)")
    assert [status.watching["how"] for status in found] == ["inotify", "off"]
    assert [status.callbacks for status in found] == [1, 1]


def test_exec_leaves_none(living, source_file):
    one = living(env=source_file.env)
    one.say("import os, sys; os.execv(sys.executable, [sys.executable, '-I', '-c', 'print(0, flush=True); input()'])")
    assert one.hear() == 0
    status = remote.inspect(one.pid)
    assert not status.active
    assert not status.recorded
    assert "not activated" in status.why_not


def test_a_process_that_executes_itself_all_the_time(living, source_file):
    """Whatever moment a reading falls into: a record is whole, or there is none."""
    one = living(env={**source_file.env, "PYTHONDONTWRITEBYTECODE": ""})
    again = 'os.execv(sys.executable, [sys.executable, "-c", os.environ["CODE"]])'
    # It works for a moment before: a reading has to meet it with a record, too.
    one.say(f"import os, sys; os.environ['CODE'] = 'import os, sys; sum(range(200000)); {again}'; {again}")
    seen = set()
    until = time.monotonic() + 60
    while seen < {True, False}:
        assert time.monotonic() < until
        try:
            status = remote.inspect(one.pid)
        except procfs.Gone:  # another program each of five times
            continue
        seen.add(status.recorded)
        assert status.active or not status.protected
        if status.recorded:
            assert status.version
            assert "record" not in rows(status)


def test_many_processes(living, source_file):
    all_of_them = [living(env=source_file.env) for _ in range(8)]
    source_file.bump()
    for number, one in enumerate(all_of_them):
        one("import random\nfrom snapsafe_rt.core import native\nrandom.random()" + "\nnative.advance()" * number)
    assert [remote.inspect(one.pid).epoch for one in all_of_them] == list(range(1, 9))


# ---- torn ----

STORM = (
    POKE
    + """
import random, threading, snapsafe_rt
from snapsafe_rt.restore import events
from snapsafe_rt.core import native
from snapsafe_rt.state import state

def storm():
    number = 0
    while going:
        native.advance()
        number += 1
        if number % 4 == 0:
            events.note(number, "notified", 1.0, 2.0, number, ["x" * (number % 300)] * (number % 9))

going = True
thread = threading.Thread(target=storm)
thread.start()
"""
)


def record_of(pid):
    mapping = next(m for m in procfs.mappings(scan.lines_of(scan.read_maps(pid))) if m.path == remote.MAPPING)
    return remote.Record(procfs.Memory(pid), mapping.start)


def test_no_reading_is_torn_while_restores_storm(living, source_file):
    """The twin reads the same words without their sequence count."""
    one = living(env=source_file.env)
    one(STORM)
    record = record_of(one.pid)
    torn = last = 0
    until = time.monotonic() + 60
    for number in range(100000):
        words = record.words()
        assert words.epoch == words.restores >= last
        last = words.epoch
        lines = record.lines()
        assert [line[0] for line in lines].count("row") == len(table.TABLE)
        for line in lines:
            if line[0] == "event":
                event = int(line[1])
                assert line[2:6] == ["notified", "1.0", "2.0", str(event)]
                assert line[6:] == ["x" * (event % 300)] * min(event % 9, 8)
        loose = record._read_words()
        torn += loose.epoch != loose.restores
        if number > 1000 and torn and last > 1000:
            break
        assert time.monotonic() < until
    one("going = False; thread.join()")
    record.memory.close()
    assert not record.problems
    assert torn


@pytest.mark.parametrize(
    ("offset", "said"), [(0x10, "being written all the time"), (None, "counting a restore all the time")]
)
def test_a_process_that_was_stopped_in_the_middle(living, source_file, offset, said):
    """The wait for a whole record is bounded, and what there is then is no protection."""
    one = living(env=source_file.env)
    assert remote.inspect(one.pid).protected
    if offset is None:
        record = record_of(one.pid)
        cold = record.cold
        record.memory.close()
        one(f"m = open('/proc/self/mem', 'r+b', buffering=0); m.seek({cold}); m.write(bytes([1, 0, 0, 0])); m.close()")
    else:
        one(POKE + f"poke({offset}, 77)")
    began = time.monotonic()
    status = remote.inspect(one.pid)
    assert time.monotonic() - began < 5
    assert any(said in problem for problem in status.problems), status.problems
    assert not status.protected


# ---- what it says ----


def test_deactivated(living, source_file):
    one = living(env=source_file.env)
    one("import random, snapsafe_rt; snapsafe_rt.deactivate()")
    status = remote.inspect(one.pid)
    assert status.recorded
    assert not status.active
    assert not status.protected
    assert status.why_not == "deactivate() was called"
    one("snapsafe_rt.activate()")
    assert remote.inspect(one.pid).protected


@pytest.mark.parametrize("switch", [{"SNAPSAFE": "0"}, {"SNAPSAFE_SOURCES": "", "PYTHONNOUSERSITE": "1"}])
def test_switched_off_there_is_none(living, source_file, switch):
    one = living(env={**source_file.env, **switch}, activated="SNAPSAFE" in switch)
    status = remote.inspect(one.pid)
    assert not status.recorded
    assert "not activated" in status.why_not


def test_an_event_and_its_errors(living, source_file):
    one = living(env=source_file.env)
    one("""
from snapsafe_rt.restore import callbacks, events
errors = callbacks.lines([(int, ValueError("one\\ttwo\\nthree\\\\"))])
events.note(3, "generation", 10.5, 11.5, 4, [*errors, *map(str, range(9))])
""")
    status = remote.inspect(one.pid)
    event = status.last_event
    assert event["errors"] == ["builtins.int: ValueError: one\ttwo\nthree\\", *map(str, range(7)), "2 more"]
    event.pop("errors")
    assert event == {"epoch": 3, "cause": "generation", "began": 10.5, "ended": 11.5, "callbacks": 4}
    assert one("import snapsafe_rt; answer = snapsafe_rt.status().last_event")["callbacks"] == 4


def test_more_than_fits_is_no_protection(living, source_file):
    one = living(env=source_file.env)
    one("""
from snapsafe_rt.core import native
native.page_put({"problem": [("x" * 1000,)] * 40})
answer = native.page_problem()
""")
    status = remote.inspect(one.pid)
    assert "says more than fits" in next(row.note for row in status.rows if row.name == "record")
    assert not status.protected


def test_no_mapping_no_harm(run_python, source_file):
    """Where the kernel refuses one, here for want of descriptors, the program goes on and status() tells."""
    script = """
    import os, resource, sys
    import snapsafe_rt, snapsafe_rt.report.status
    from snapsafe_rt.core import native
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    native.page_put({"problem": [("one",)]})
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "memfd_create" in native.page_problem(), native.page_problem()
    snapsafe_rt.activate(sys.argv[1])
    assert not native.page_problem() and snapsafe_rt.status().protected
    """
    run_python(script, source_file.uri, activated=False)


def test_a_subinterpreter_leaves_the_record_alone(living, source_file):
    one = living(env=source_file.env)
    one("import random")
    before = remote.inspect(one.pid)
    one("""
try:
    import _interpreters
    create = lambda: _interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as _interpreters
    create = lambda: _interpreters.create(isolated=False)
inner = create()
failure = _interpreters.run_string(inner, "import uuid, snapsafe_rt; assert snapsafe_rt.status().active")
assert failure is None, failure
_interpreters.destroy(inner)
""")
    after = remote.inspect(one.pid)
    assert after.written == before.written
    # Whether what another interpreter has loaded is patched, this one does not know: in an isolated one it is not.
    assert rows(after) == {**rows(before), "uuid": rows(after)["uuid"]}
    assert rows(after)["uuid"] in ("unprotected", "not loaded")  # the latter where _uuid is no file


def test_start_up_writes_it_once_and_imports_nothing_for_it(run_python, source_file):
    script = """
    import sys
    ours = {name for name in sys.modules if name.startswith("snapsafe_rt")}
    assert not {"snapsafe_rt.guards.os", "snapsafe_rt.guards.libraries", "snapsafe_rt.report.remote"} & ours, ours
    """
    run_python(script, env=source_file.env, dev=False)
    names = "import sys; print(*({'json', 'struct', 're', 'threading', 'typing'} & set(sys.modules)))"
    stock, ours = (run_python(names, env=source_file.env, dev=False, activated=active) for active in (False, True))
    assert ours == stock  # an editable installation imports some of them itself


assert sys.byteorder == "little"
