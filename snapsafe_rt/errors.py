"""The exit codes, the error that ends a command, and the groups of what callbacks raised.

ExceptionGroup and BaseExceptionGroup are CPython's from 3.11 on; on 3.10 the least that is caught like them.
"""

import builtins
import sys

# Exit codes of the public contract (docs/command.md); 126, 127 and 130 are the shells'.
OK, FAILED, USAGE, NOT_PERMITTED, CONFIGURATION = 0, 1, 2, 77, 78
BEFORE_FAILED, NO_MANAGER, LATE, BUSY, BLOCKED = 64, 69, 75, 76, 79


class Failure(Exception):
    """Ends the command: one line on stderr (what, why, the way out) and this exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


if sys.version_info >= (3, 11):
    BaseExceptionGroup = builtins.BaseExceptionGroup
    ExceptionGroup = builtins.ExceptionGroup
else:

    class BaseExceptionGroup(BaseException):
        """What several callbacks raised: `exceptions`, a tuple. As CPython's, it is an ExceptionGroup if they are all
        Exceptions."""

        def __new__(cls, message: str, exceptions: "list[BaseException]") -> "BaseExceptionGroup":
            plain = all(isinstance(error, Exception) for error in exceptions)
            return super().__new__(ExceptionGroup if plain else cls, message, exceptions)

        def __init__(self, message: str, exceptions: "list[BaseException]") -> None:
            super().__init__(message, exceptions)
            self.message = message
            self.exceptions = tuple(exceptions)

        def __str__(self) -> str:
            said = "; ".join(f"{type(error).__name__}: {error}" for error in self.exceptions)
            return f"{self.message} ({said})"

    class ExceptionGroup(BaseExceptionGroup, Exception):
        """A BaseExceptionGroup of Exceptions alone."""
