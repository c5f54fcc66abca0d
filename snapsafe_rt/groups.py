"""ExceptionGroup and BaseExceptionGroup, which CPython has from 3.11 on; on 3.10 the least that is caught like them."""

import builtins
import sys

if sys.version_info >= (3, 11):
    BaseExceptionGroup = builtins.BaseExceptionGroup
    ExceptionGroup = builtins.ExceptionGroup
else:

    class BaseExceptionGroup(BaseException):
        """What several callbacks raised: `exceptions`, a tuple."""

        def __init__(self, message: str, exceptions: "list[BaseException]") -> None:
            super().__init__(message, exceptions)
            self.message = message
            self.exceptions = tuple(exceptions)

        def __str__(self) -> str:
            said = "; ".join(f"{type(error).__name__}: {error}" for error in self.exceptions)
            return f"{self.message} ({said})"

    class ExceptionGroup(BaseExceptionGroup, Exception):
        """A BaseExceptionGroup of Exceptions alone."""


def group(message: str, errors: "list[BaseException]") -> BaseException:
    """The errors as one exception: an ExceptionGroup if all are Exceptions, else a BaseExceptionGroup."""
    exceptions = [error for error in errors if isinstance(error, Exception)]
    if len(exceptions) == len(errors):
        return ExceptionGroup(message, exceptions)
    return BaseExceptionGroup(message, errors)
