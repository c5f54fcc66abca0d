"""Exchanges what a Python function does, keeping the function object: references taken earlier follow, undo is exact.

A function's `__code__` is replaced by one that calls a target with the same arguments. File, first line, name and
qualified name stay, so `inspect.getsource`, `inspect.signature`, pickles and mocks see no difference; a traceback or a
profiler sees one frame more.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself is not imported: this runs at interpreter start-up
    from collections.abc import Callable
    from types import CodeType, FunctionType
    from typing import Any

_PLACEHOLDER = "snapsafe_rt exchanges this constant"
_CO_VARARGS_OR_KEYWORDS = 0x04 | 0x08  # inspect.CO_VARARGS, inspect.CO_VARKEYWORDS


class Exchanged:
    """One function whose code was exchanged. `original` does what the function did before."""

    __slots__ = ("code", "function", "original")

    def __init__(self, function: "FunctionType") -> None:
        self.function = function
        self.code = function.__code__
        self.original = _copy(function)

    def to(self, target: "Callable[..., Any]") -> None:
        """From now on calling the function calls `target`, positionally, defaults filled in."""
        self.function.__code__ = _calling(self.code, target)

    def in_place(self) -> bool:
        return _PLACEHOLDER in self.function.__code__.co_names

    def undo(self) -> None:
        """Put the very same code object back, unless somebody exchanged ours meanwhile."""
        if self.in_place():
            self.function.__code__ = self.code


def _copy(function: "FunctionType") -> "FunctionType":
    copy = type(function)(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


# Code that calls the constant, by the number of arguments. It was compiled with this file: a compile() when the program
# imports what is guarded takes longer, and the program's audit hooks see it. Written as "..."() it would be warned of.
_CALLS: "tuple[Callable[..., Any], ...]" = (
    lambda: ("snapsafe_rt exchanges this constant" if True else None)(),  # type: ignore[operator]
    lambda a: ("snapsafe_rt exchanges this constant" if True else None)(a),  # type: ignore[operator]
    lambda a, b: ("snapsafe_rt exchanges this constant" if True else None)(a, b),  # type: ignore[operator]
    lambda a, b, c: ("snapsafe_rt exchanges this constant" if True else None)(a, b, c),  # type: ignore[operator]
)


def _calling(code: "CodeType", target: "Callable[..., Any]") -> "CodeType":
    count = code.co_argcount
    varied = code.co_flags & _CO_VARARGS_OR_KEYWORDS or code.co_kwonlyargcount or code.co_freevars
    if varied or count >= len(_CALLS):
        raise TypeError(f"{code.co_name}() has a signature that cannot be exchanged")
    new = _CALLS[count].__code__
    qualified: Any = {"co_qualname": code.co_qualname} if hasattr(code, "co_qualname") else {}  # from 3.11 on
    return new.replace(
        co_consts=tuple(target if constant == _PLACEHOLDER else constant for constant in new.co_consts),
        co_names=(*new.co_names, _PLACEHOLDER),  # unused by the code; marks it as ours
        co_varnames=code.co_varnames[:count],
        co_filename=code.co_filename,
        co_firstlineno=code.co_firstlineno,
        co_name=code.co_name,
        **qualified,
    )
