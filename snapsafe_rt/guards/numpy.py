"""numpy.random: every Generator, RandomState and BitGenerator (cython/numpy.h); here is found out where all lies."""

import sys
import types

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, is_executing, names_of, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Site, Verdict

GLOBAL = (
    "the program seeded numpy.random's global generator, which is kept: all that draws from it repeats in clones; "
    "SNAPSAFE_SEEDED=reseed renews it after a restore"
)
FOREIGN = (
    "{} generators of numpy have a state that was made elsewhere, as by a pickle, so nobody knows whether it was "
    "chosen: they are kept and repeat in clones; make them here, or set SNAPSAFE_SEEDED=reseed"
)
_TYPES = ("BitGenerator", "SeedSequence", "Philox", "Generator", "RandomState")  # enum ss_numpy_type
_BIT_GENERATORS = {"MT19937": 32, "PCG64": 64, "PCG64DXSM": 64, "Philox": 64, "SFC64": 64}  # the bits of a raw value
_DRAWING = ("Generator", "RandomState", "BitGenerator")  # enum ss_numpy_owner
_NO_DRAW = ("seed", "get_state", "set_state", "spawn")
_NESTED = ("rand", "randn")  # RandomState's, by random_sample() and standard_normal(): _try_out() sees it
_OTHERS = (  # enum ss_numpy_other
    ("MT19937", "_legacy_seeding"),
    ("SeedSequence", "spawn"),
    ("SeedSequence", "generate_state"),
    ("SeedSequence", "__setstate__"),
    ("BitGenerator", "__setstate__"),
    ("RandomState", "get_state"),
    ("RandomState", "set_state"),
    ("", "set_bit_generator"),
)
_FETCHED = ("capsule", "ctypes", "cffi")  # enum ss_numpy_fetched
_RAW = ("random_raw", "_benchmark")  # what BitGenerator draws by; other libraries' have their own
_CHILDREN = 0x5AFE5AFE
_HEAP_TYPE = 1 << 9  # CPython Include/object.h


class Numpy(Guard):
    """Each instance is checked at each call, and seeded anew after a restore; one with a chosen seed is kept. What
    draws by its pointers (numba, ctypes, cffi, Cython) is checked at each value."""

    name = "numpy"
    covers = ("numpy.random", "Generator, RandomState and BitGenerator objects", "SeedSequence.spawn")
    triggers = ("numpy.random.mtrand", "numpy.random")
    files = ("mtrand.", "_mt19937.", "bit_generator.")

    def __init__(self) -> None:
        self._room: Any = None
        self._names: dict[str, Any] = {}  # numpy.random's, as it was installed
        self._functions: dict[str, Any] = {}  # those of it that draw
        self._reason = ""
        self._tried = 0  # renewals that were ours

    def install(self, module: "ModuleType") -> None:
        names = names_of(sys.modules.get("numpy.random"))
        if not _is_whole(names) or (names is self._names and not self._reason):
            return  # told again when it is; or by its other trigger
        self._names, self._functions, self._reason = names, {}, ""
        try:
            self._install(names)
        except Exception as error:
            self.remove()
            self._names = names
            self._reason = f"numpy {_version()} cannot be guarded: {error or type(error).__name__}"

    def _install(self, names: "dict[str, Any]") -> None:
        self._room = room = native.numpy_room()
        _find_layout(room, names)
        room.install(*(names[name] for name in _TYPES), self._learn)
        missed = [
            f"{owner}.{name}"
            for number, owner in enumerate(_DRAWING)
            for name, value in vars(names[owner]).items()
            if name not in (*_NO_DRAW, *_NESTED) and name[:2] != "__" and callable(value)
            if not room.guard_draw(value, number)
        ]
        missed += [name for name in _NESTED if not room.watch_draw(vars(names["RandomState"])[name])]
        for number, (owner, name) in enumerate(_OTHERS):
            value = vars(names[owner])[name] if owner else names.get(name)
            if value is not None and not room.guard_other(getattr(value, "__wrapped__", value), number):
                missed.append(f"{owner}.{name}")
        for kind, bits in _BIT_GENERATORS.items():
            if not room.guard_state(names[kind], vars(names[kind])["state"], (1 << bits) - 1):
                missed.append(f"{kind}.state")
        for number, attribute in enumerate(_FETCHED):
            if not room.guard_fetched(vars(names["BitGenerator"])[attribute], number):
                missed.append(f"BitGenerator.{attribute}")
        if missed:
            rest = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
            raise TypeError(f"{', '.join(missed[:3])}{rest}: of an unknown kind, or exchanged by another library")
        before = room.seen()[0]
        _try_out(room, names)
        self._tried += room.seen()[0] - before
        rand = names_of(sys.modules.get("numpy.random.mtrand")).get("_rand")
        room.set_global(rand, is_executing(sys.modules["numpy.random"]))
        drawn = [name for name in vars(names["RandomState"]) if name[:1] != "_" and name in names]
        more = (
            "ranf",
            "sample",
            "default_rng",
            "get_bit_generator",
            "set_bit_generator",
            *_TYPES,
            *_BIT_GENERATORS,
        )
        self._functions = {one: names[one] for one in (*drawn, *more) if one in names}

    def _learn(self, cls: type) -> None:
        """The state of another library's BitGenerator, when the first of them is made. Raises where it is not as
        those of numpy are."""
        owner, state = next(
            (one, vars(one)["state"])
            for one in cls.__mro__
            if isinstance(vars(one).get("state"), types.GetSetDescriptorType)
        )
        made = next((one for one in cls.__mro__ if not one.__flags__ & _HEAP_TYPE), owner)
        first, second = (made(self._names["SeedSequence"](number)) for number in (1, 2))
        state.__set__(first, state.__get__(second))
        drawn = [int(value) for value in second.random_raw(64)]
        if drawn != [int(value) for value in first.random_raw(64)]:
            raise TypeError("a state that is set is not the one that is drawn from")
        between = cls.__mro__[: cls.__mro__.index(self._names["BitGenerator"])]
        for name, value in ((name, value) for one in between for name, value in vars(one).items()):
            if name in _RAW and not self._room.guard_draw(value, _DRAWING.index("BitGenerator")):
                raise TypeError(f"{name} is of an unknown kind")
        if not self._room.guard_state(owner, state, (1 << max(drawn).bit_length()) - 1):
            raise TypeError("there is no room for its state")

    def remove(self) -> None:
        if self._room:
            self._room.remove()
        self._names, self._functions, self._reason = {}, {}, ""

    def is_loaded(self) -> bool:
        if "numpy.random.mtrand" not in sys.modules:
            return False
        package = sys.modules.get("numpy.random")
        return _is_whole(names_of(package)) or not is_executing(package)

    def protection(self) -> "Verdict":
        level, note = super().protection()
        if level != "guarded":
            return level, note
        *_, kept, foreign, problem = self._room.seen()
        if problem:
            return "unprotected", problem
        if foreign:
            return "unprotected", FOREIGN.format(foreign)
        return ("kept", GLOBAL) if kept else (level, note)

    def displaced(self) -> str:
        if self._reason:
            return self._reason
        names = names_of(sys.modules.get("numpy.random"))
        if not self._functions or names is not self._names:
            return "its import failed half-way, or it was imported as another object"
        name = self._room.displaced()
        if name:
            return f"{name} of numpy.random was exchanged by another library"
        rand = names_of(sys.modules.get("numpy.random.mtrand")).get("_rand")
        for name, value in self._functions.items():
            bound = getattr(value, "__self__", None)
            if names.get(name) is not value or (type(bound) is type(rand) and bound is not rand):
                return f"numpy.random.{name} was replaced by {who(names.get(name))}"
        return ""

    def sites(self) -> "list[Site]":
        return [
            ("numpy.random: ", self._room.words()),
            ("what is known of the seeds of numpy.random", self._room.judged_words()),
            ("numpy.random.", native.attribute_words(self._names, tuple(self._functions))),
        ]

    def note(self) -> str:
        renewed, older, kept, chosen, *_ = self._room.seen()
        early = f" ({older} were older than activation: seed them after it)" if older else ""
        ours = renewed - self._tried
        return f"{chosen} seeds chosen by the program; {ours} times an instance renewed{early}, {kept} times one kept"


def _version() -> str:
    return str(names_of(sys.modules.get("numpy")).get("__version__", "of unknown version"))


def _is_whole(names: "dict[str, Any]") -> bool:
    return all(name in names for name in (*_TYPES, *_BIT_GENERATORS, "default_rng", "standard_normal"))


def _find_layout(room: "Any", names: "dict[str, Any]") -> None:
    """Where known values lie, in instances that are made for it."""
    bit_generator = names["PCG64"](1)
    rand = names["RandomState"](1)
    rand.standard_normal()
    sequence = names["SeedSequence"](1 << 64, n_children_spawned=_CHILDREN)
    room.find_layout(bit_generator, names["Generator"](bit_generator), rand, rand.get_state()[4], sequence, _CHILDREN)


def _try_out(room: "Any", names: "dict[str, Any]") -> None:
    """What was exchanged is what is called: an instance that is made stale is renewed by a draw. Raises else."""
    generator, rand = names["Generator"](names["PCG64"]()), names["RandomState"]()
    tried = [
        (generator.bit_generator, generator.random),
        (generator.bit_generator, lambda: generator.integers(9)),
        (generator.bit_generator, generator.bit_generator.random_raw),
        (generator.bit_generator, lambda: generator.bit_generator.state),
        (rand._bit_generator, rand.random_sample),
        *((rand._bit_generator, getattr(rand, name)) for name in _NESTED),
    ]
    for bit_generator, draw in tried:
        room.age(bit_generator)
        draw()
        if not room.is_fresh(bit_generator):
            raise TypeError("its methods do not call what was put in their place")


GUARD = Numpy()
