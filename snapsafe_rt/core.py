"""Chooses the native core, or says why there is none and stands in for it.

Without the core nothing is detected and nothing guarded. The stand-in keeps a program that imports us running: on
another system, in an isolated subinterpreter (only the guards' C code serves those), under an interpreter it was not
built for.
"""

import sys

from snapsafe_rt.settings import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["MISSING", "NEWEST", "CachedOnce", "has_gil", "importing", "native"]

NEWEST = (3, 15)
"""The newest CPython that cython/compat.h knows; the core is built for no newer one."""

NEWEST_FREE_THREADED = (3, 13)
"""The newest one whose free-threaded build the core was proved on; setup.py builds it for no newer one."""

MISSING = ""
"""Why there is no native core; empty where there is one."""

if TYPE_CHECKING:
    from snapsafe_rt import _core as native
else:
    try:
        import snapsafe_rt._core as native
    except ModuleNotFoundError:
        native = None
        free_threaded = "t" in getattr(sys, "abiflags", "")
        kind, newest = ("free-threaded ", NEWEST_FREE_THREADED) if free_threaded else ("", NEWEST)
        MISSING = f"no native core for {kind}{PYTHON} on {sys.platform}: " + (
            f"this version of snapsafe-rt knows {kind}CPython up to {newest[0]}.{newest[1]}; look for a newer one"
            if sys.version_info[:2] > newest
            else "this copy of snapsafe_rt was built for another one; install snapsafe-rt with this interpreter"
        )
    except Exception as error:  # an ImportError, or whatever a half-built or half-readable installation raises
        native = None
        MISSING = f"no native core for {PYTHON} on {sys.platform}: {error}"


def importing(function: "Callable[[], T]") -> "T":
    """What a function of import statements returns, also where the program has no descriptor left to read a file by."""
    try:
        return function()
    except OSError as error:
        if error.errno not in (23, 24) or native is None or not native.in_main_interpreter():  # ENFILE, EMFILE
            raise
    native.call_apart(function)
    return function()


def has_gil() -> bool:
    """Does one thread run at a time? Where not, nobody may look at the frames of another thread: that may end them
    meanwhile, and the process with it."""
    asked = getattr(sys, "_is_gil_enabled", None)  # from 3.13 on
    return asked is None or bool(asked())


class CachedOnce:
    """per_generation() without a core: the factory's value, for good. Not thread-safe beyond "some value of it"."""

    def __init__(self, factory: "Callable[[], Any]") -> None:
        if not callable(factory):
            raise TypeError(f"per_generation() takes a callable, not {type(factory).__name__}")
        self.__wrapped__ = factory
        self._value: list[Any] = []

    def __call__(self) -> "Any":
        if not self._value:
            self._value.append(self.__wrapped__())
        return self._value[0]
