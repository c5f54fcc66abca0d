"""uuid in clones, forks and threads: each proof with a twin that shows the duplicates it speaks of."""

import sys

import pytest

from ..helpers.builds import FREE_THREADED

pytestmark = pytest.mark.internals

HEAD = """
    from uuid_stage import *
"""

CLONES = 300

# What is drawn -> how many different values 300 clones must give: a clock sequence has 14 bits only.
DRAWS = {
    "uuid4()": CLONES,
    "uuid1()": CLONES,
    "uuid1().node": CLONES,
    "uuid1().clock_seq": 275,
    "uuid1(clock_seq=5)": CLONES,
    "uuid1(node=5)": 275,
    "getnode()": CLONES,
}
if sys.version_info >= (3, 14):
    DRAWS |= {"uuid6()": CLONES, "uuid6().node": CLONES, "uuid6().clock_seq": 275, "uuid7()": CLONES, "uuid8()": CLONES}


def clones(draw, *, restored=True, before=""):
    return f"""
    draw = lambda: str(uuid.{draw})
    become_template()
    [draw() for _ in range(3)]
    {before}
    if {restored}:
        bump()
    print(len({{clone(draw) for _ in range({CLONES})}}))
    """


@pytest.fixture
def preload(compile_native):
    def build(*names):
        return {"LD_PRELOAD": ":".join(str(compile_native(f"{name}.c")) for name in names)}

    return build


@pytest.fixture
def machine(preload):
    """Clones as a machine's: the same kernel bytes, the same clock, and nothing is wiped."""
    return preload("wipe_off", "replay") | {"SNAPSAFE_TEST_WIPE": "ignored"}


def number(output):
    if "forbidden" in output:
        pytest.skip(output)
    return int(output)


@pytest.mark.parametrize(("draw", "least"), DRAWS.items(), ids=DRAWS)
def test_clones(run_python, synchronous_source, machine, draw, least):
    env = synchronous_source.env | machine
    assert number(run_python(HEAD + clones(draw), synchronous_source.path, env=env)) >= least


@pytest.mark.parametrize("draw", DRAWS)
def test_clones_repeat_without_us(run_python, synchronous_source, machine, draw):
    script = HEAD + clones(draw)
    assert number(run_python(script, synchronous_source.path, env=machine, activated=False)) == 1


@pytest.mark.parametrize("draw", [draw for draw in ("uuid4()", "uuid7()") if draw in DRAWS])
def test_a_source_that_comes_late(run_python, source_file, synchronous_source, machine, preload, draw):
    """The generation has not moved yet. Bytes drawn ahead would repeat: so nothing is, and it is as safe as stock."""
    source_file.path.write_bytes(source_file.path.read_bytes())
    no_wipe = preload("wipe_off") | {"SNAPSAFE_TEST_WIPE": "ignored"}
    late = HEAD + clones(draw, restored=False)
    assert number(run_python(late, source_file.path, env=synchronous_env(source_file, False) | no_wipe)) == CLONES
    # The twin: of a source that claims to be synchronous the promise was broken, and the pool shows it.
    if draw == "uuid4()" and not FREE_THREADED:
        assert number(run_python(late, source_file.path, env=synchronous_env(source_file, True) | no_wipe)) == 1


def synchronous_env(source, synchronous):
    page = bytearray(source.path.read_bytes())
    page[0x808] = synchronous
    source.path.write_bytes(page)
    return source.env


@pytest.mark.parametrize("wipe", ["", "unknown"], ids=["wipe on fork", "no wipe on fork"])
@pytest.mark.parametrize("restored", [False, True], ids=["", "restored"])
def test_forked_children_share_no_bytes(run_python, synchronous_source, preload, wipe, restored):
    script = """
    if sys.argv[2] == "True":
        bump()
    from builds import FREE_THREADED
    from snapsafe_rt.core import native
    kept = [uuid.uuid4().bytes for _ in range(10)]
    assert (native.pool_left() > 0) is not FREE_THREADED
    drawn = [kept, *fork_each(4, 20_000, uuid.uuid4), [uuid.uuid4().bytes for _ in range(1000)]]
    assert len(set().union(*drawn)) == sum(map(len, drawn))
    assert not any(int.from_bytes(value, "big") < 1 << 96 for values in drawn for value in values)
    """
    env = synchronous_source.env | preload("wipe_off") | ({"SNAPSAFE_TEST_WIPE": wipe} if wipe else {})
    run_python(HEAD + script, synchronous_source.path, restored, env=env)


FORKED_UUID1 = """
    bump()
    mine = uuid.uuid1()
    node, clock_seq = mine.node, mine.clock_seq
    draw = uuid.uuid1 if sys.argv[2] == "ours" else lambda: uuid.uuid1(node, clock_seq)
    drawn = list(fork_each(4, 100_000, draw))
    assert all(len(set(values)) == len(values) for values in drawn)
    print(sum(map(len, drawn)) - len(set().union(*drawn)), len({values[0][10:] for values in drawn}))
"""


@pytest.mark.parametrize("wipe", ["", "unknown"], ids=["wipe on fork", "no wipe on fork"])
@pytest.mark.parametrize("names", [("wipe_off",), ("wipe_off", "replay")], ids=["", "same clock and kernel bytes"])
def test_forked_children_have_nodes_of_their_own(run_python, synchronous_source, preload, names, wipe):
    env = synchronous_source.env | preload(*names) | ({"SNAPSAFE_TEST_WIPE": wipe} if wipe else {})
    repeated, nodes = run_python(HEAD + FORKED_UUID1, synchronous_source.path, "ours", env=env, dev=False).split()
    assert (repeated, nodes) == ("0", "4")


def test_forked_children_repeat_with_one_node(run_python, synchronous_source, preload):
    """The twin: what one node and clock sequence for the whole family of processes gives."""
    env = synchronous_source.env | preload("replay")
    repeated, nodes = run_python(HEAD + FORKED_UUID1, synchronous_source.path, "one", env=env, dev=False).split()
    assert (repeated, nodes) == ("300000", "1")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="uuid7 came with 3.14")
def test_forked_children_take_fresh_counters(run_python, synchronous_source, preload):
    """Within the millisecond of the parent's last one: the counter tells them apart, not the 32-bit tail alone."""
    script = """
    counter = lambda value: value.int >> 32 & 0x3fffffff | (value.int >> 64 & 0xfff) << 30
    last = uuid.uuid7()
    values = [uuid.UUID(bytes=drawn[0]) for drawn in fork_each(4, 1, uuid.uuid7)]
    print(len({counter(value) for value in [last, *values]}), all(value > last for value in values))
    """
    env = preload("replay")
    assert run_python(HEAD + script, synchronous_source.path, env=env | synchronous_source.env).split() == ["5", "True"]
    assert run_python(HEAD + script, synchronous_source.path, env=env, activated=False).split() == ["2", "True"]


def test_threads(run_python, synchronous_source):
    script = """
    functions = [uuid.uuid1, uuid.uuid4] + [getattr(uuid, name) for name in ("uuid6", "uuid7") if hasattr(uuid, name)]
    drawn = [[] for _ in range(8)]
    stop = threading.Event()

    def restore():
        while not stop.wait(0.001):
            bump()

    def run(values):
        for _ in range(5_000):
            values += [function() for function in functions]

    for restoring in (False, True):
        bump()
        threads = [threading.Thread(target=run, args=(values,)) for values in drawn]
        if restoring:
            threads.append(threading.Thread(target=restore))
        for thread in threads:
            thread.start()
        for thread in threads[:8]:
            thread.join()
    stop.set()
    threads[-1].join()
    assert len({value for values in drawn for value in values}) == 2 * 8 * 5_000 * len(functions)
    """
    run_python(HEAD + script, synchronous_source.path, env=synchronous_source.env, timeout=100)


@pytest.mark.skipif(FREE_THREADED, reason="no pool there, so no bytes are drawn in advance")
@pytest.mark.parametrize("moves", [False, True])
def test_generation_moves_while_bytes_are_drawn(run_python, synchronous_source, preload, moves):
    """The bytes were asked for before the restore: they are thrown away, and the value is made of others."""
    script = """
    from snapsafe_rt.core import native
    draws = ctypes.c_ulong.in_dll(ctypes.CDLL(None), "replay_large_draws")
    draws.value = 0
    ctypes.c_ulong.in_dll(ctypes.CDLL(None), "replay_armed").value = 1
    uuid.uuid4()
    print(draws.value, native.inspect_epoch().epoch)
    """
    env = synchronous_source.env | preload("replay")
    if moves:
        env |= {"SNAPSAFE_TEST_BUMP": str(synchronous_source.path)}
    drawn = run_python(HEAD + script, synchronous_source.path, env=env)
    assert drawn.split() == (["2", "1"] if moves else ["1", "0"])


@pytest.mark.parametrize("function", [name for name in ("uuid1", "uuid4", "uuid6", "uuid7") if f"{name}()" in DRAWS])
def test_generation_moves_in_the_modules_own_code(run_python, synchronous_source, function):
    """Whichever of the things that they call is replaced: the value that was under way is not handed out."""
    script = f"""
    from unittest import mock
    import time
    moved = []

    def moves(real):
        def called(*arguments):
            value = real(*arguments)
            if not moved:
                moved.append(value)
                bump()
            return value
        return called

    with mock.patch("os.urandom", moves(os.urandom)), mock.patch("time.time_ns", moves(time.time_ns)), \\
            mock.patch.object(uuid, "_generate_time_safe", moves(uuid._generate_time_safe or (lambda: None))):
        value = uuid.{function}()
    assert len(moved) == 1 and snapsafe_rt.epoch() == 1
    stale = moved[0][0] if isinstance(moved[0], tuple) else moved[0]
    assert not isinstance(stale, bytes) or stale[-8:][1:] not in value.bytes, (stale, value)
    if {function!r} in ("uuid1", "uuid6"):
        assert value.node >> 40 & 1 and value.node == uuid.getnode()
    """
    run_python(HEAD + script, synchronous_source.path, env=synchronous_source.env)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="uuid7 came with 3.14")
@pytest.mark.parametrize("path", ["native", "own code"])
def test_uuid7_in_the_millisecond_of_the_snapshot(run_python, synchronous_source, preload, path):
    """The counter is fresh and the order holds, in the native code and in the module's own."""
    script = """
    from unittest import mock
    counter = lambda value: value.int >> 32 & 0x3fffffff | (value.int >> 64 & 0xfff) << 30
    real = os.urandom
    with mock.patch("os.urandom", lambda size: real(size)) if sys.argv[2] != "native" else mock.MagicMock():
        values = [uuid.uuid7() for _ in range(3)]
        assert counter(values[2]) == counter(values[0]) + 2 and values[0].time == values[2].time
        bump()
        values += [uuid.uuid7() for _ in range(3)]
    assert values == sorted(values)
    assert abs(counter(values[3]) - counter(values[2])) > 1 << 20
    assert counter(values[5]) == counter(values[3]) + 2 and values[3].time == values[5].time == values[0].time
    assert (uuid._last_timestamp_v7, uuid._last_counter_v7) == (values[5].time, counter(values[5]))
    """
    env = synchronous_source.env | preload("replay")
    run_python(HEAD + script, synchronous_source.path, path, env=env)


OTHERS = """
import sys, types, uuid
module = types.ModuleType("others")
exec('''
from uuid import SafeUUID, UUID
def uuid7(timestamp=None, nanos=None):
    return timestamp, nanos
def uuid4():
    return "its own"
''', vars(module))
sys.modules["others"] = module
import snapsafe_rt
snapsafe_rt.status()
assert module.uuid7(timestamp=1, nanos=2) == module.uuid7(1, 2) == (1, 2)
assert module.uuid4() == "its own"
"""


def test_a_module_that_only_has_uuids_own_class_is_left_alone(run_python, source_file):
    """As uuid_utils.compat, whose functions take other arguments: it is no copy of uuid."""
    run_python(OTHERS, env=source_file.env)
