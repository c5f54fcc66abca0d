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


def _calling(code: "CodeType", target: "Callable[..., Any]") -> "CodeType":
    if code.co_flags & _CO_VARARGS_OR_KEYWORDS or code.co_kwonlyargcount or code.co_freevars:
        raise TypeError(f"{code.co_name}() has a signature that cannot be exchanged")
    arguments = ", ".join(code.co_varnames[: code.co_argcount])
    # Compiled to a call of the constant; written as one, it would be warned about.
    source = f"def exchanged({arguments}):\n return ({_PLACEHOLDER!r} if True else None)({arguments})\n"
    namespace: dict[str, Any] = {}
    exec(compile(source, code.co_filename, "exec"), namespace)  # noqa: S102 - the text is ours
    new: CodeType = namespace["exchanged"].__code__
    qualified: Any = {"co_qualname": code.co_qualname} if hasattr(code, "co_qualname") else {}  # from 3.11 on
    return new.replace(
        co_consts=tuple(target if constant == _PLACEHOLDER else constant for constant in new.co_consts),
        co_names=(*new.co_names, _PLACEHOLDER),  # unused by the code; marks it as ours
        co_firstlineno=code.co_firstlineno,
        co_name=code.co_name,
        **qualified,
    )
