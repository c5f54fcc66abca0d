"""A program that a command runs and waits for, for `inhibit` and `audit`."""

import signal
import subprocess

from snapsafe_rt.cli.usage import NOT_EXECUTABLE, NOT_FOUND
from snapsafe_rt.errors import Failure


def start(program: list[str], environment: "dict[str, str] | None" = None) -> "subprocess.Popen[bytes]":
    """A terminal's ^C is the program's, and so is a SIGTERM that comes to us, from before there is a program on. Raises
    Failure where it cannot be executed."""
    child: subprocess.Popen[bytes] | None = None
    asked = False

    def terminate(*_: object) -> None:
        nonlocal asked
        asked = True
        if child is not None:
            child.terminate()

    signal.signal(signal.SIGINT, lambda *_: None)  # ignored, it would be by the program as well
    signal.signal(signal.SIGTERM, terminate)
    try:
        child = subprocess.Popen(program, env=environment)
    except (OSError, ValueError) as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{program[0]}: cannot be executed: {reason}", code) from None
    if asked:
        child.terminate()
    return child


def wait(child: "subprocess.Popen[bytes]") -> int:
    """Its exit code, as shells say it: 128 and the signal if it died of one."""
    code = child.wait()
    return code if code >= 0 else 128 - code
