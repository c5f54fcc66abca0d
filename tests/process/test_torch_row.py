"""What the row of torch says, inside and outside; how a program's seeds are told from the system's; and undo."""

from importlib.util import find_spec

import pytest

from snapsafe_rt.guards import torch as guard

from ..conftest import PROGRAMS
from ..helpers.generators import check_exchanged, row_outside

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: .ci/companions runs this")

OPTIONS = {"options": ["-W", "ignore"], "dev": False, "timeout": 300}
ROW = "next((one.protection, one.note) for one in snapsafe_rt.status().rows if one.name == 'torch')"


def outside(one):
    return row_outside(one, "torch")


@pytest.fixture
def program(living, source_file):
    one = living(env=source_file.env | {"SNAPSAFE_WATCH": "0"}, options=["-W", "ignore"])
    one(f"import torch, snapsafe_rt\ndef row(): return {ROW}")
    return one


def test_it_is_guarded_from_its_import_on(living, source_file):
    one = living(env=source_file.env, options=["-W", "ignore"])
    assert outside(one)[0] == "not loaded"
    one("import torch")
    assert outside(one)[0] == "guarded"
    one("import snapsafe_rt; status = snapsafe_rt.status()")
    assert one("answer = [status.protected, status.unprotected, status.unexamined]")[1:] == [[], []]


def test_before_activation(living, source_file):
    """What was made before is stale, whoever chose its seed: nobody saw it. What torch itself chose is kept."""
    one = living(activated=False, env={"SNAPSAFE_WATCH": "0"})
    one("import torch; torch.manual_seed(5); early, own = torch.Generator().manual_seed(5), torch.Generator()")
    one(f"import snapsafe_rt; snapsafe_rt.activate([{source_file.uri!r}])")
    one("five = torch.Generator().manual_seed(5)")
    assert one("first = torch.rand(1, generator=five); answer = torch.rand(1, generator=early).item() != first.item()")
    assert one("answer = torch.rand(1).item() != first.item()")
    assert one("answer = torch.rand(1, generator=own).item() == torch.rand(1, generator=torch.Generator()).item()")
    assert "1 were older than activation" in one(f"answer = {ROW}")[1]


EARLY = """
    import sys, torch
    scripted = torch.jit.CompilationUnit(  # of text: before 3.13 nobody finds the source of what -c runs
        "def draw(one: Generator) -> Tensor:\\n    return torch.rand([3], generator=one)\\n"
    ).draw
    def made():
        one = torch.Generator()
        one.seed()
        return one
    class Object:
        pass
    held = [{"a": made()}, ({"b": (made(),)},), Object()]
    held[2].one = made()
    def main(local):
        every = held[0]["a"], held[1][0]["b"][0], held[2].one, local
        expected = [scripted(one.clone_state()) for one in every]
        del every
        if sys.argv[2] == "activate":
            import snapsafe_rt
            snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
        every = held[0]["a"], held[1][0]["b"][0], held[2].one, local
        print(*(not torch.equal(scripted(one), value) for one, value in zip(every, expected)))
    main(made())
"""


@pytest.mark.parametrize("how", ["activate", "stock"])
def test_what_is_older_and_never_given_to_a_builtin(run_python, source_file, how):
    """Generators that objects and variables hold are known from activation on, whatever draws from them."""
    out = run_python(EARLY, source_file.path, how, activated=False, env={"SNAPSAFE_WATCH": "0"}, **OPTIONS)
    assert out.split() == [str(how == "activate")] * 4


def test_a_global_seed_is_told(program):
    assert program("answer = row()")[0] == outside(program)[0] == "guarded"
    program("torch.manual_seed(5)")
    assert outside(program)[0] == "unprotected"  # as far as is seen there before the process looks itself
    assert program("answer = row()")[0] == "kept"
    assert outside(program)[0] == "kept"
    program("torch.seed()")
    assert program("answer = row()")[0] == outside(program)[0] == "guarded"


STATE = "import torch, sys; torch.{}; torch.rand(1); print(bytes(torch.get_rng_state().tolist()).hex())"


@pytest.mark.parametrize(
    ("seeded", "level"), [("seed()", "unprotected"), ("manual_seed(2**63)", "unprotected"), ("manual_seed(5)", "kept")]
)
def test_a_state_that_another_process_made(run_python, program, seeded, level):
    """It is kept. Its seed comes with it: a person's is told from the system's; else it is said that nobody knows."""
    state = run_python(STATE.format(seeded), activated=False, **OPTIONS).strip()
    program(f"torch.set_rng_state(torch.tensor(list(bytes.fromhex({state!r})), dtype=torch.uint8))")
    assert program("answer = row()")[0] == level
    assert outside(program)[0] == level
    program("torch.seed()")
    assert program("answer = row()")[0] == "guarded"


SYSTEMS = [
    "secrets.randbits(63)",
    "secrets.randbits(32)",
    "secrets.randbelow(10**6)",
    "int.from_bytes(os.urandom(8), 'little')",
    "time.time_ns()",
    "int(time.time())",
    "torch.initial_seed()",
    "torch.seed()",
    "torch.initial_seed() % 2**32",
    "torch.empty((), dtype=torch.int64).random_().item()",
    "uuid.uuid4().int & 0xffffffff",
]
CHOSEN = ["0", "5", "2**62 + 5", "-1", "torch.empty((), dtype=torch.int64).random_(generator=five).item()"]
TOLD = """
    import os, secrets, sys, time, uuid
    import torch
    from snapsafe_rt.source.vmclock_file import FileSource
    source = FileSource(sys.argv[1])
    five = torch.Generator().manual_seed(5)
    for text in sys.argv[2:]:
        seed = eval(text)
        one = torch.Generator().manual_seed(seed)
        twin = one.clone_state() if torch.rand(1, generator=one) is not None else None
        expected = torch.rand(3, generator=torch.Generator().manual_seed(seed))[1:]
        source.bump()
        print(int(torch.equal(torch.rand(2, generator=one), expected)))
"""


def test_whose_seed_it_is(run_python, source_file):
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}

    def kept(texts, **more):
        out = run_python(TOLD, source_file.path, *texts, env=env | more.pop("env", {}), **OPTIONS, **more)
        return [line == "1" for line in out.splitlines()]

    assert kept(SYSTEMS) == [False] * len(SYSTEMS)
    assert kept(CHOSEN) == [True] * len(CHOSEN)
    assert kept(SYSTEMS, activated=False) == [True] * len(SYSTEMS)
    assert kept(CHOSEN, env={"SNAPSAFE_SEEDED": "reseed"}) == [False] * len(CHOSEN)


def test_a_seed_that_c_plus_plus_gave(run_python, source_file):
    """Past Python's methods, as at::manual_seed() does: seen by the seed, which is another one, and kept."""
    script = """
    import ctypes, sys
    import torch
    from snapsafe_rt.source.vmclock_file import FileSource
    torch.rand(1)
    impl = ctypes.c_void_p.from_address(id(torch.default_generator) + object.__basicsize__).value
    ctypes.c_uint64.from_address(impl + 80).value = 77
    copied = torch.Generator()
    copied.set_state(torch.get_rng_state())
    expected = torch.rand(3, generator=copied)
    FileSource(sys.argv[1]).bump()
    print(torch.equal(torch.rand(3), expected))
    """
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    assert run_python(script, source_file.path, env=env, **OPTIONS) == "True\n"


def test_a_seed_that_c_plus_plus_took_from_the_system(program, source_file):
    """Nobody knows whose it is: it is kept, and told."""
    program("one = torch.Generator(); torch.ops.aten.seed(one)")
    source_file.bump()
    program("torch.rand(1)")
    level, note = program("answer = row()")
    assert level == "unprotected"
    assert "made elsewhere" in note


@pytest.mark.parametrize("inside_first", [True, False])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("torch.rand = lambda *a: 4", "torch.rand was replaced"),
        ("take(torch._C.TensorBase.normal_, torch._C.TensorBase.uniform_)", "normal_ of torch was exchanged"),
        ("take(torch._C.Generator.get_state, torch._C.Generator.seed)", "get_state of torch was exchanged"),
        ("word('getDefaultCPUGenerator').value = 0", "getDefaultCPUGenerator of torch was exchanged"),
        ("word('Generator').value = 0", "Generator of torch was exchanged"),
    ],
)
def test_somebody_exchanges_it(program, code, says, inside_first):
    program(
        """
import ctypes
from snapsafe_rt.guards import table
def take(one, other):
    definitions = (ctypes.c_void_p.from_address(id(x) + object.__basicsize__ + 24).value for x in (one, other))
    here, there = (ctypes.c_void_p.from_address(at + 8) for at in definitions)
    here.value = there.value
def word(name):
    parts = table.load("torch")._room.words().split()
    part = next(part for part in parts if part.endswith(":" + name))
    return ctypes.c_void_p.from_address(int(part.split("=")[0], 16))
"""
    )
    check_exchanged(program, "torch", code, says, inside_first)


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("torch._C.Generator.seed = 5", "cannot be guarded"),
        ("torch._C.Generator.get_state = lambda self: torch.zeros(5056, dtype=torch.uint8)", "(the words)"),
        ("del sys.modules['torch']", "not loaded"),
        ("del torch.rand", "failed half-way"),
    ],
)
def test_torch_is_not_as_known(living, source_file, before, says):
    """The program runs on unhurt, and the row says that it is not protected, and why."""
    one = living(activated=False, env={"SNAPSAFE_WATCH": "0"})
    one("import sys, torch; draw = torch.rand")
    if "Generator" in before:  # an extension type: as if it were made so
        name, value = before.removeprefix("torch._C.Generator.").split(" = ")
        before = (
            "import ctypes, gc\n"
            f"gc.get_referents(vars(torch._C.Generator))[0][{name!r}] = {value}\n"
            "ctypes.pythonapi.PyType_Modified(ctypes.py_object(torch._C.Generator))"
        )
    one(before)
    one(f"import snapsafe_rt; snapsafe_rt.activate([{source_file.uri!r}]); draw(1)")
    level, note = one("answer = [(x.protection, x.note) for x in snapsafe_rt.status().rows if x.name == 'torch'][0]")
    assert level == ("not loaded" if says == "not loaded" else "unprotected")
    assert says in note or says == level


def test_undo_is_exact(run_python, source_file):
    options = {**OPTIONS, "env": {"SNAPSAFE_WATCH": "0"}, "activated": False}
    assert run_python(PROGRAMS / "torch_undone.py", source_file.uri, **options) == "[] []\n[] []\n"


def test_every_operator_that_draws_is_known(run_python):
    """Of those that torch itself says draw, and that Python calls."""
    script = """
    import torch
    names = set()
    for schema in torch._C._jit_get_all_schemas():
        space, _, name = schema.name.partition("::")
        if space == "aten" and any("Generator" in str(one.type) for one in schema.arguments):
            names.add(name)
    for name in dir(torch.ops.aten):
        packet = getattr(torch.ops.aten, name)
        if hasattr(packet, "overloads"):
            if any(torch.Tag.nondeterministic_seeded in getattr(packet, one).tags for one in packet.overloads()):
                names.add(name)
    holders = [getattr(torch._C, name) for name in ("_VariableFunctions", "TensorBase", "_nn", "_linalg", "_special")]
    print(*sorted(name for name in names if any(hasattr(one, name) for one in holders)))
    """
    names = run_python(script, activated=False, **OPTIONS).split()
    assert len(names) > 30
    assert set(names) <= {name for listed in guard.DRAWING for name in listed}


def test_a_program_without_torch_loads_nothing_of_it(run_python, source_file):
    script = "import sys, random, uuid; print('snapsafe_rt.guards.torch' in sys.modules)"
    assert run_python(script, env=source_file.env) == "False\n"
