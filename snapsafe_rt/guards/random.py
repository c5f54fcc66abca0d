"""random: every instance of _random.Random (cython/random.pxi guards the C methods), and gauss, which is Python."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, answers, is_executing, is_own, names_of, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FunctionType, ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import RemoteProcess, Site, Verdict

GLOBAL = (
    "the program seeded the module's global generator, which is kept: Message-IDs, MIME boundaries, trace ids and all "
    "else that draws from it repeat in clones; SNAPSAFE_SEEDED=reseed renews it after a restore"
)
FOREIGN = (
    "{} generators have a state that was made elsewhere, as by a pickle, so nobody knows whether it was chosen: they "
    "are kept and repeat in clones; seed() them here, or set SNAPSAFE_SEEDED=reseed"
)
# What decides of a class how an instance is made, or which method is found.
_SPECIAL = ("__init__", "__new__", "__init_subclass__", "__getattribute__", "__getattr__")
_BUILT_IN = (type(object.__init__), type(len), type(None))


class Random(Guard):
    """Each instance is checked at each draw, and seeded anew after a restore; one with a chosen seed is kept."""

    name = "random"
    covers = (
        "random.random",
        "randint",
        "shuffle",
        "sample",
        "gauss",
        "own Random() instances",
        "tempfile names",
        "email ids",
    )
    triggers = ("_random", "random", "tempfile")
    files = ("_random.",)

    def __init__(self) -> None:
        self._types: list[type] = []
        self._functions: list[native.Exchanged] = []
        # Of each Random of a `random` that was seen: the SystemRandom beside it, the names of the methods of both, and
        # those of the latter alone.
        self._methods: dict[type, tuple[type, tuple[str, ...], tuple[str, ...]]] = {}
        self._codes: dict[FunctionType, CodeType] = {}  # of those methods, when they were first seen
        self._tempfile = False  # was the standard library's seen?

    def install(self, module: "ModuleType") -> None:
        """`module` is _random, or a `random` on top of it; each may be imported again, as another object, or by another
        name. Another module of that name is left alone."""
        cls = vars(module).get("Random")
        if not isinstance(cls, type):
            return
        if cls.__base__ is object:
            if cls not in self._types and native.is_hooked(cls):
                self._types.append(cls)
            return
        self._find()
        if module.__name__ == "random":
            native.random_global(vars(module).get("_inst"))

    def _find(self) -> None:
        """Exchange the `gauss` of each class on top of _random.Random that keeps a second value as stock's does."""
        known = [exchanged.function for exchanged in self._functions]
        for base, cls in _generators():
            function: Any = vars(cls).get("gauss")
            if function not in known and _is_stock(function):
                exchanged = native.Exchanged(function)
                exchanged.to(native.Gauss(exchanged.original, base))
                self._functions.append(exchanged)

    def remove(self) -> None:
        for exchanged in self._functions:
            exchanged.undo()
        for cls in self._types:
            native.unhook_init(cls)
        self._functions.clear()
        self._methods.clear()
        self._codes.clear()
        self._types.clear()
        native.random_global(None)

    def protection(self) -> "Verdict":
        return judge_seeds(super().protection(), *native.random_seeds())

    def corrected(self, noted: "Verdict", process: "RemoteProcess") -> "Verdict":
        return judge_seeds(noted, *process.seeds()) if noted[0] in ("guarded", "kept") else noted

    def displaced(self) -> str:
        if not native.guarded("_random.Random"):
            by = native.displaced_by("_random.Random")
            return (
                f"methods of _random.Random were made to call {by}"
                if by
                else "this build's _random.Random has an unknown layout or calling convention"
            )
        self._find()  # a copy that came by a door of its own
        base = sys.modules.get("_random")
        if base is not None and not is_executing(base) and not _is_hooked(names_of(base).get("Random")):
            return f"the module _random was replaced by {who(base)}"
        for exchanged in self._functions:
            if not exchanged.in_place():
                return f"{exchanged.function.__module__}.Random.gauss was exchanged by another library"
        module = sys.modules.get("random")
        if not _is_whole(module):
            if self._methods and module is not None and not is_executing(module):
                return f"the module random was replaced by {who(module)}"
            return ""
        names = vars(module)
        for name, value in (*_replaced(names), *self._methods_replaced(names)):
            return f"random.{name} was replaced by {who(value)}"
        name, value = self._of_tempfile() or ("", None)
        return f"{name} was replaced by {who(value)}" if name else answers("random", "tempfile")

    def _of_tempfile(self) -> "tuple[str, object] | None":
        """What is not stock's of that which `tempfile` draws its names by."""
        module = sys.modules.get("tempfile")
        names = names_of(module)
        cls = names.get("_RandomNameSequence")
        if cls is None or "_get_candidate_names" not in names:  # it is being executed, or is the program's own
            return ("the module tempfile", module) if self._tempfile and module and not is_executing(module) else None
        self._tempfile = True
        if not isinstance(cls, type):
            return "tempfile._RandomNameSequence", cls
        for name in ("__next__", "rng"):
            value = vars(cls).get(name)
            if self._is_changed(names, getattr(value, "fget", value)):
                return f"tempfile._RandomNameSequence.{name}", value
        if self._is_changed(names, names["_get_candidate_names"]):
            return "tempfile._get_candidate_names", names["_get_candidate_names"]
        drawn: Any = names.get("_Random")
        if not (isinstance(drawn, type) and issubclass(drawn, tuple(_bases()))):
            return "tempfile._Random", drawn
        one = names.get("_name_sequence")
        return ("tempfile._name_sequence", one) if one is not None and type(one) is not cls else None

    def _is_changed(self, names: "dict[str, Any]", function: "Any") -> bool:
        """Is it no function of the module with these globals, or has it another code than when it was first seen?"""
        code: Any = native.code_of(function)
        return not is_own(names, function) or self._codes.setdefault(function, code) is not code

    def _methods_replaced(self, names: "dict[str, Any]") -> "Iterator[tuple[str, object]]":
        """Which methods of the two classes of a `random` module are not stock's any more, as each class has them."""
        cls: type = names["Random"]
        base: Any = cls.__base__
        if cls not in self._methods:
            beside = names.get("SystemRandom")
            if not isinstance(beside, type) or not issubclass(beside, cls):
                yield "SystemRandom", beside
                return
            found = {one: [name for name, value in vars(one).items() if is_own(names, value)] for one in (cls, beside)}
            of_both = tuple(name for name in dict.fromkeys((*found[cls], *vars(base))) if name[:2] != "__")
            rest = tuple(name for name in found[beside] if name not in of_both and name[:2] != "__")
            self._methods[cls] = beside, (*of_both, *_SPECIAL), rest
        system, drawn, of_system = self._methods[cls]
        if names.get("SystemRandom") is not system:
            yield "SystemRandom", names.get("SystemRandom")
        exchanged = {id(one.function) for one in self._functions}
        for one, methods in (cls, drawn), (system, drawn + of_system):
            for name in methods:
                owner = next((held for held in one.__mro__ if name in vars(held)), None)
                value: Any = vars(owner).get(name) if owner else None
                value = getattr(value, "__func__", value)
                if is_own(names, value):
                    code: Any = native.code_of(value)
                    if id(value) not in exchanged and self._codes.setdefault(value, code) is not code:
                        yield f"{one.__name__}.{name}", code
                elif not (native.guards(value) if name not in _SPECIAL else isinstance(value, _BUILT_IN)):
                    yield f"{one.__name__}.{name}", value

    def sites(self) -> "list[Site]":
        found = [("_random.Random", native.guard_words("_random.Random"))]
        found += [("_random.Random()", native.init_words(cls)) for cls in self._types]
        found += [("random.gauss", exchanged.words()) for exchanged in self._functions]
        module: Any = sys.modules.get("random")
        if _is_whole(module):
            names = vars(module)
            drawn = _drawn(names)
            found.append(("random.", native.attribute_words(names, ("_urandom", "SystemRandom", *drawn))))
            found.append(("random._inst.", native.used_words(vars(names["_inst"]))))
            found.append(("a function of random or tempfile", native.code_words(self._codes)))
            cls = names["Random"]
            system, methods, of_system = self._methods[cls]
            for of, one in ("_random.Random.", cls.__base__), ("random.Random.", cls), ("random.SystemRandom.", system):
                own = tuple(name for name in (*methods, *of_system) if name in vars(one))
                found.append((of, native.used_words(one)))
                found.append((of, native.attribute_words(one, own)))
        found.append(("the module ", native.module_words(sys.modules, ("random", "_random", "tempfile"))))
        names = names_of(sys.modules.get("tempfile"))
        of_tempfile = ("_RandomNameSequence", "_get_candidate_names", "_Random")
        if all(name in names for name in of_tempfile):
            found.append(("tempfile.", native.attribute_words(names, of_tempfile)))
            cls = names["_RandomNameSequence"]
            found.append(("tempfile._RandomNameSequence.", native.attribute_words(cls, ("__next__", "rng"))))
        return found

    def note(self) -> str:
        renewed, older, kept, chosen = native.random_counters()
        early = f" ({older} were older than activation: seed them after it)" if older else ""
        return (
            f"{chosen} seeds chosen by the program; {renewed} times an instance renewed{early}, {kept} times one kept"
        )


def judge_seeds(verdict: "Verdict", global_kept: bool, foreign: int) -> "Verdict":
    """What the level is worth by how the program seeded its generators."""
    if verdict[0] not in ("guarded", "kept"):
        return verdict
    if foreign:
        return "unprotected", FOREIGN.format(foreign)
    return ("kept", GLOBAL) if global_kept else ("guarded", verdict[1])


def _generators() -> "Iterator[tuple[type, type]]":
    """(base, class) of each class on top of a _random.Random, of every copy of that."""
    bases = {id(cls): cls for cls in _bases()}
    for base in bases.values():
        left: list[type] = list(base.__subclasses__())
        while left:
            cls = left.pop()
            left += cls.__subclasses__()
            yield base, cls


def _bases() -> "Iterator[type]":
    for name in ("_random", "random"):
        cls = names_of(sys.modules.get(name)).get("Random")
        base = cls if name == "_random" else getattr(cls, "__base__", None)
        if isinstance(base, type) and native.is_hooked(base):
            yield base
    yield from GUARD._types


def _is_hooked(cls: "Any") -> bool:
    return isinstance(cls, type) and native.is_hooked(cls)


def _is_stock(function: "Any") -> bool:
    """Is it the gauss() of a copy of the standard library's module? `__code__` is not read: audit hooks see that."""
    names = getattr(function, "__globals__", {})
    cls = names.get("Random") if "SystemRandom" in names else None
    return isinstance(cls, type) and vars(cls).get("gauss") is function


def _is_whole(module: "Any") -> bool:
    """Was it executed as far as that it has its instance?"""
    return "_inst" in names_of(module)


def _drawn(names: "dict[str, Any]") -> "list[str]":
    """The functions of a `random` module that are methods of its one instance."""
    cls = names["Random"]
    return [name for name in (*vars(cls), *vars(cls.__base__)) if name[:1] != "_" and name in names]


def _replaced(names: "dict[str, Any]") -> "Iterator[tuple[str, object]]":
    """What is not stock's of a `random` module that draws, and what it is."""
    cls, one = names.get("Random"), names.get("_inst")
    if not isinstance(cls, type) or type(one) is not cls or not issubclass(cls, tuple(_bases())):
        yield "Random", cls
        return
    for name in _drawn(names):
        value, own = names[name], vars(cls).get(name)
        if name in vars(one):
            yield f"_inst.{name}", vars(one)[name]
        if getattr(value, "__self__", None) is not one or getattr(value, "__func__", None) is not own:
            yield name, value
        elif not (native.guards(value) if own is None else is_own(names, own)):
            yield name, value if own is None else own
    if names.get("_urandom") is not sys.modules["posix"].urandom:
        yield "_urandom", names.get("_urandom")


GUARD = Random()
