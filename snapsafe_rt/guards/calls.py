"""For guards of libraries that only renew themselves, in the thread that asks: builtins that look at the epoch."""

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Site


class Calls(Guard):
    """Before each call of a builtin its generator is renewed, where that is of another epoch (cython/calls.h)."""

    def __init__(self) -> None:
        self._family: int | None = None
        self._module: ModuleType | None = None
        self._builtins: dict[str, Any] = {}
        self._wrong = ""  # what was wrong when the generator was renewed

    def guard(
        self, module: "ModuleType", names: "list[str]", renew: "Callable[[], object]", *, each_thread: bool
    ) -> None:
        """Guards these builtins of an extension module. Raises LookupError with the reason where one cannot be."""
        family = native.calls_family(self.name, renew, each_thread)
        for name in names:
            builtin = vars(module)[name]
            signature = getattr(builtin, "__text_signature__", None)
            why = native.calls_guard(family, name, builtin, str(module.__file__), signature)
            if why:
                native.calls_remove(family)
                raise LookupError(why)
        self._family, self._module = family, module
        self._builtins = {name: vars(module)[name] for name in names}

    def remove(self) -> None:
        if self._family is not None:
            native.calls_remove(self._family)
        self._family = self._module = None
        self._builtins = {}
        self._wrong = ""

    def displaced(self) -> str:
        if self._family is None or self._module is None:
            return "it came in a way that was not seen"
        names = vars(self._module)
        for name, builtin in self._builtins.items():
            if names.get(name) is not builtin:
                return f"{name}() was replaced by {who(names.get(name))}"
            if not native.calls_in_place(builtin):
                return f"{name}() was exchanged by another library"
        if native.calls_foreign(self._family):
            return "another interpreter of this process draws from it, where it is not renewed"
        return self._wrong

    def sites(self) -> "list[Site]":
        assert self._module is not None
        words = " ".join(map(native.calls_words, self._builtins.values()))
        names = native.attribute_words(vars(self._module), tuple(self._builtins))
        return [(f"functions of {self.name}", words), (f"{self._module.__name__}.", names)]


class Reseeded(Calls):
    """A library with a function that seeds the calling thread's generator. That asks the kernel, which may repeat
    itself after a restore; so the library is given fenced entropy in its place."""

    def reseed_by(self, module: "ModuleType", names: "list[str]", seed: "Callable[[], object]") -> None:
        def renew() -> None:
            before = native.calls_fed()
            seed()
            if native.calls_fed() == before:
                self._wrong = "its seed comes from the kernel by a way that is not known, and that may repeat itself"

        self._wrong = ""
        self.guard(module, names, renew, each_thread=True)
        seed()  # it has found its way to the kernel by now
        native.calls_feed(next(iter(self._builtins.values())))
        renew()


class Fed(Calls):
    """A library that keeps nothing, and asks the kernel for each draw, past Python. It is given fenced entropy instead,
    and a call is made again if the generation moved meanwhile."""

    def feed(self, module: "ModuleType", names: "list[str]") -> None:
        """`names`: its builtins; the one whose name is the last is called here, without arguments."""
        self.guard(module, names, lambda: None, each_thread=False)
        draw = self._builtins[names[-1]]
        draw()  # it has found its way to the kernel by then
        native.calls_feed(draw)
        before = native.calls_fed()
        draw()
        if native.calls_fed() == before:
            self.remove()
            raise LookupError("it asks the kernel by a way that is not known")
