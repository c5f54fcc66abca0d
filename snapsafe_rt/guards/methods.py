"""For guards of libraries in Python code: methods that look at the epoch, and the search for what was made."""

import gc

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from snapsafe_rt.guards.guard import Site


class Methods(Guard):
    """A library whose Python functions look at the epoch before they draw, and after it (cython/generation.pxi)."""

    def __init__(self) -> None:
        self._exchanged: dict[tuple[type, str], native.Exchanged] = {}

    def exchange(self, cls: type, name: str, renew: "Callable[..., object]", *, each: bool = False) -> None:
        """Have a method of one or two arguments call `renew` with them first, where what it draws from is of another
        epoch. `each`: every instance has a state of its own. Raises TypeError where this version does not permit it."""
        function = _function(cls, name)
        if any(known.function is function for known in self._exchanged.values()):
            return
        code = native.code_of(function)
        if code is None or code.co_argcount not in (1, 2) or (each and not cls.__dictoffset__):
            raise TypeError(f"{cls.__qualname__}.{name} of this version cannot be exchanged")
        exchanged = native.Exchanged(function)
        renewing = native.Rechecked(exchanged.original, renew, "_snapsafe_epoch" if each else None)
        exchanged.to(renewing.one if code.co_argcount == 1 else renewing.two)
        self._exchanged[cls, name] = exchanged

    def remove(self) -> None:
        for exchanged in self._exchanged.values():
            exchanged.undo()
        self._exchanged.clear()

    def moved(self, cls: type, name: str) -> str:
        """For displaced(): what is wrong with a method that was to be exchanged."""
        one, value = self._exchanged.get((cls, name)), _function(cls, name)
        if one is None:
            return f"{cls.__module__}.{cls.__qualname__} came in a way that was not seen"
        if value is not one.function:
            return f"{cls.__qualname__}.{name} was replaced by {who(value)}"
        return "" if one.in_place() else f"{cls.__qualname__}.{name} was exchanged by another library"

    def sites(self) -> "list[Site]":
        found = []
        for (cls, name), one in self._exchanged.items():
            where = f"{cls.__module__}.{cls.__qualname__}."
            found += [(where + name, one.words()), (where, native.attribute_words(cls, (name,)))]
        return found


def _function(cls: type, name: str) -> "Any":
    """What a class has under this name itself; of a class method the function."""
    value = vars(cls).get(name)
    return value.__func__ if isinstance(value, classmethod) else value


def instances(cls: type) -> "list[Any]":
    """Every instance of this very class that the collector knows. It looks at all objects: for the restore event."""
    return [one for one in gc.get_objects() if type(one) is cls]


def uuid4() -> int:
    """The number of a new UUID of version 4; without the module, whose import the program may have put off."""
    number = int.from_bytes(native.entropy(16), "big")
    return number & ~(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62


def unseen() -> str:
    """Why instances() may not find all, as a sentence; "" where it does."""
    frozen = gc.get_freeze_count()
    return f"gc.freeze() hid {frozen} objects, among which there may be some of its own" if frozen else ""
