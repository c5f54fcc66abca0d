"""torch in clones and while the generation moves; each with the twin that shows what is repeated without us."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from ..conftest import PROGRAMS
from ..helpers.generators import check_guarded, drawn

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: .ci/companions runs this")

CLONES = int(os.environ.get("SNAPSAFE_TEST_TORCH_CLONES", "40"))
TWINS = 12
WORKERS = int(os.environ.get("SNAPSAFE_TEST_TORCH_WORKERS", TWINS))  # clones of a DataLoader's
OPTIONS = {"options": ["-W", "ignore"], "dev": False, "timeout": 900}


def run(run_python, program, source, *arguments, activated=True, **more):
    env = source.env | {"SNAPSAFE_WATCH": "0"}
    return json.loads(run_python(PROGRAMS / program, *arguments, env=env, activated=activated, **OPTIONS, **more))


def clones_of(run_python, source, count, *how, activated=True):
    return drawn(run_python, "torch_clones.py", source, count, *how, activated=activated, **OPTIONS)


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(1000)
def test_no_clone_draws_what_another_drew(run_python, synchronous_source):
    """And generators with a chosen seed go on bit for bit."""
    check_guarded(clones_of(run_python, synchronous_source, CLONES), 90, 9)


def test_all_clones_draw_the_same_without_us(run_python, synchronous_source):
    clones = clones_of(run_python, synchronous_source, TWINS, activated=False)
    for name in clones[0][0]:
        if name != "seed()":  # which asks the kernel, and that is one for all of these clones
            assert len({clone[0][name] for clone in clones}) == 1, name
    assert all(all(clone[1].values()) for clone in clones)


def test_a_program_that_seeds_draws_what_stock_draws(run_python, synchronous_source):
    asked = run_python, synchronous_source, 4, "chosen"
    ours, stock = (clones_of(*asked, activated=activated) for activated in (True, False))
    assert len(stock[0][0]) > 50
    for clone in ours:
        for name, value in stock[0][0].items():
            assert clone[0][name] == value, name
        assert clone[2][0] == "kept", clone[2]


@pytest.mark.parametrize("how", ["fork", "forkserver"])
@pytest.mark.parametrize("activated", [True, False])
def test_the_workers_of_a_loader(run_python, synchronous_source, how, activated):
    """Clones of workers that run on, as persistent ones do, and workers that clones start: by torch, random, numpy."""
    count = WORKERS if activated else TWINS
    arguments = synchronous_source.path, count, how
    found = run(run_python, "torch_workers.py", synchronous_source, *arguments, activated=activated)
    assert len(found) == (4 if how == "fork" else 2)
    for clones in found:
        assert len(clones) == count
        for values in zip(*clones, strict=True):
            assert len(set(values)) == (count if activated else 1)


@pytest.mark.parametrize("kind", ["system", "kept"])
@pytest.mark.parametrize("activated", [True, False])
def test_a_restore_in_the_middle_of_a_fill(run_python, source_file, kind, activated):
    """All of it is drawn again, also what waited for the lock; not where the program chose, and not what multiplies."""
    fills, once = run(run_python, "torch_moved.py", source_file, source_file.path, kind, activated=activated)
    again = activated and kind == "system"
    assert fills == [[0.0 if again else 1.0] * len(outs) for outs in fills]
    assert once == [0.0, 2.0]


CHECKPOINT = """
    import sys, torch
    from snapsafe_rt.source.vmclock_file import FileSource
    from torch.utils.checkpoint import checkpoint
    source = FileSource(sys.argv[1])
    for reentrant in (True, False):
        x = torch.ones(1000, requires_grad=True)
        out = checkpoint(lambda x: torch.nn.functional.dropout(x, 0.5, True), x, use_reentrant=reentrant)
        source.bump()
        state = torch.get_rng_state()
        out.sum().backward()
        torch.set_rng_state(state)
        print(torch.equal(out.detach(), x.grad), torch.rand(1).item())
"""


def test_a_checkpoint_is_computed_again_as_it_was(run_python, source_file):
    """With the dropout of its forward pass, though a restore came; and what is drawn after it is new."""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    lines = [run_python(CHECKPOINT, source_file.path, env=env, **OPTIONS).split() for _ in range(2)]
    assert [line[::2] for line in lines] == [["True", "True"]] * 2
    assert not {*lines[0][1::2]} & {*lines[1][1::2]}


COMPILED = """
    import sys, torch
    from snapsafe_rt.source.vmclock_file import FileSource
    from torch._prims.rng_prims import run_and_save_rng_state, run_with_rng_state
    source = FileSource(sys.argv[1])
    draw, x = torch.ops.aten.rand_like.default, torch.ones(5)
    state, drawn = run_and_save_rng_state(draw, x)
    source.bump()
    print(torch.equal(run_with_rng_state(state, draw, x), drawn), torch.rand(1).item())
"""


def test_so_it_is_by_compiled_code(run_python, source_file):
    """torch.compile makes these two operators of a checkpoint."""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    lines = [run_python(COMPILED, source_file.path, env=env, **OPTIONS).split() for _ in range(2)]
    assert [line[0] for line in lines] == ["True", "True"]
    assert lines[0][1] != lines[1][1]


SAVED = """
    import sys, torch
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    saved, x = [], torch.ones(50, requires_grad=True)
    def pack(tensor):
        saved.append(tensor)
        if len(saved) == 1:
            source.bump()
        return tensor
    torch.rand(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        torch.nn.functional.dropout(x)
    print(len(saved))
"""


@pytest.mark.parametrize("activated", [True, False])
def test_what_the_graph_saves_is_handed_out_once(run_python, source_file, activated):
    """A checkpoint counts it, and fails where a draw that a restore interrupts is made again."""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(SAVED, source_file.path, env=env, activated=activated, **OPTIONS) == "1\n"


FORKED = """
    import os, signal, sys, threading
    import torch
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    torch.set_num_threads(1)
    own = torch.Generator()
    own.seed()
    first = torch.rand(1, generator=own)
    values = torch.zeros(20_000_000, dtype=torch.float64)
    thread = threading.Thread(target=values.uniform_)
    thread.start()
    while values[0] == 0:  # it has the lock of the default generator
        pass
    child = os.fork()
    if not child:
        signal.alarm(30)
        source.bump()
        os._exit(torch.rand(1, generator=own).item() == first.item())
    print(os.waitpid(child, 0)[1])
    thread.join()
"""


@pytest.mark.parametrize("activated", [True, False])
def test_a_fork_beside_a_thread_that_draws(run_python, source_file, activated):
    """The child draws from a generator of its own, and waits for no lock that nobody opens there."""
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(FORKED, source_file.path, env=env, activated=activated, **OPTIONS) == "0\n"


LATER = """
    import ctypes, sys
    import torch
    from snapsafe_rt.guards import table
    room, default = table.load("torch")._room, torch.default_generator
    def page(path):
        with open("/proc/self/maps") as maps:
            return sorted(line.split()[1] for line in maps if path in line)
    ask = ctypes.CDLL(sys.argv[1]).default_generator
    ask.restype = ctypes.c_void_p
    here = page(sys.argv[1])
    room.age(default)
    ask()
    print(room.is_fresh(default), len(room.words().split("getDefault")) - 1, here)
    import snapsafe_rt
    snapsafe_rt.deactivate()
    ask()
    print(page(sys.argv[1]) == here)
"""


@pytest.mark.parametrize("relocated", ["lazy", "now"])
def test_a_library_that_comes_later(run_python, source_file, compile_native, relocated):
    """Its word is exchanged as well, and a page that the loader has write-protected is so again."""
    lib = Path(find_spec("torch").submodule_search_locations[0]) / "lib"
    flags = [f"-L{lib}", "-ltorch_cpu", f"-Wl,-rpath,{lib}", "-Wl,--unresolved-symbols=ignore-all"]
    library = compile_native("torch_user.c", *flags, "-Wl,-z,relro", f"-Wl,-z,{relocated}")
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    first, second = run_python(LATER, library, env=env, **OPTIONS).splitlines()
    fresh, count, protections = first.split(maxsplit=2)
    assert (fresh, count) == ("True", "3")
    assert protections.count("rw") == 1  # what is no constant; the rest is as the loader left it
    assert second == "True"


def test_another_libtorch_is_left_alone(run_python, source_file, compile_native):
    """It has a default generator of its own. That is not reached, which is said."""
    script = """
    import ctypes, sys
    import torch
    import snapsafe_rt
    def row():
        return [(one.protection, one.note) for one in snapsafe_rt.status().rows if one.name == "torch"][0]
    before, copy = row(), ctypes.CDLL(sys.argv[1])
    torch.rand(1)
    print(before[0], copy.is_own(), *row())
    """
    library = compile_native("torch_copy.c")
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    found = run_python(script, library, env=env, **OPTIONS)
    assert found.startswith("guarded 1 unprotected 1 libraries draw past what is guarded")


def test_threads_while_restores_come(run_python, source_file):
    """Draws, generators that come and go, and libraries' operators, in four threads; nothing fails, and the chosen
    sequence of each thread is stock's."""
    script = """
    import sys, threading
    import torch
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    torch.set_num_threads(1)
    expected = torch.rand(200, generator=torch.Generator().manual_seed(4)).tolist()
    errors, ended = [], threading.Event()
    def work():
        try:
            for _ in range(40):
                kept, own = torch.Generator().manual_seed(4), torch.Generator()
                own.seed()
                drawn = []
                for _ in range(200):
                    drawn += torch.rand(1, generator=kept).tolist()
                    torch.rand(3000)
                    torch.randn(1, generator=own)
                    torch.nn.functional.dropout(torch.ones(50))
                    torch.set_rng_state(torch.get_rng_state())
                assert drawn == expected
        except BaseException as error:
            errors.append(repr(error))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        source.bump()
        ended.wait(0.001)
    print(errors, __import__("snapsafe_rt").epoch() > 100)
    """
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(script, source_file.path, env=env, **OPTIONS) == "[] True\n"


DEVICE = """
    import ctypes, sys
    import torch
    import snapsafe_rt
    from snapsafe_rt.guards import table, torch as row
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    def made():
        one = torch.Generator()
        impl = ctypes.c_void_p.from_address(id(one) + object.__basicsize__).value
        ctypes.c_uint8.from_address(impl + 56).value = 1  # c10::DeviceType::CUDA
        return one
    system, kept, own = made(), made(), made()
    row.DEVICES, torch.version.cuda = ("/dev/null",), "a stand-in"
    torch.cuda.default_generators = (system, kept)
    snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
    kept.manual_seed(5)
    own.seed()
    seeds = [one.initial_seed() for one in (system, kept, own)]
    level = [one.protection for one in snapsafe_rt.status().rows if one.name == "torch"]
    source.bump()
    if sys.argv[2] == "event":
        snapsafe_rt.check()
    print(level, [one.initial_seed() != seed for one, seed in zip((system, kept, own), seeds)])
"""


def test_generators_of_another_device(run_python, source_file):
    """CUDA's, by stand-ins: the event renews those that the program did not seed; the twin has no event."""
    options = {**OPTIONS, "activated": False}
    assert run_python(DEVICE, source_file.path, "event", **options) == "['refreshed'] [True, False, True]\n"
    assert run_python(DEVICE, source_file.path, "none", env={"SNAPSAFE_WATCH": "0"}, **options).endswith(
        "[False, False, False]\n"
    )
