"""The audit of this process: begins the native record (cython/audit.h), and writes the note on what Python alone knows.

Loaded where SNAPSAFE_AUDIT asks for it, and nowhere else. Nothing here raises into the program.
"""

import os
import sys

from snapsafe_rt import hooks
from snapsafe_rt.core import has_gil, native
from snapsafe_rt.snapshot.registration import register_before_snapshot
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 100  # of each list in a note
_environment: "native.Exchanged | None" = None
_followed = False
_quiesced: "dict[str, Any] | None" = None  # what was open when the process last stood still for a snapshot


def begin() -> None:
    """Before the guards are put in place, so that no draw is missed. A failure becomes a problem of status()."""
    file = None if state.settings.audit == "1" else state.settings.audit
    try:
        native.audit_begin(file, os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(__file__)), _program())
        _read_environment()
    except Exception as error:
        state.problems.append(f"SNAPSAFE_AUDIT: nothing is recorded ({error})")


def follow() -> None:
    """When the process is active: notes at the end of what runs before a snapshot, and at exit."""
    global _followed
    if _followed:
        return
    _followed = True
    import atexit

    # Registered first, it runs last of those before a snapshot, and of those at exit.
    register_before_snapshot(_note, "quiesce")
    atexit.register(_note, "exit")
    hooks.forked.add(_forked)


def end() -> None:
    global _environment
    if _environment is not None:
        _environment.undo()
        _environment = None
    native.audit_end()


def _read_environment() -> None:
    """By the one function through which os.environ and os.getenv() read; names alone are recorded."""
    global _environment
    function = vars(type(os.environ))["__getitem__"]
    _environment = native.Exchanged(function)
    _environment.to(native.audit_wrap("environment", _environment.original))


def _forked() -> None:
    global _quiesced
    _quiesced = None


def _note(when: str) -> None:
    try:
        native.audit_note(_text(when), when == "exit")
    except Exception:  # no memory for it, say: the counts are there all the same, and what is open is not known
        if when == "exit":
            native.audit_note(b"", True)


def _text(when: str) -> bytes:
    global _quiesced
    import json  # only now: not every program comes to its end here

    from snapsafe_rt.report import audited

    told: dict[str, Any] = {"when": when, "at": _now()}
    try:
        told["open"] = {**audited.opened("self"), "generators": _generators(), "stacks": _stacks()}
    except OSError:  # no descriptor is left to look by, or no /proc
        told["open"] = None
    if when == "quiesce":
        _quiesced = dict(told)
    if _quiesced is not None:
        told["quiesce"] = _quiesced
    return json.dumps(told).encode("utf-8", "backslashreplace")


def _now() -> float:
    import time

    return time.time()


def _program() -> str:
    """What of the command line is no argument of the program's: the rest may be a secret."""
    kept = [os.path.basename(word) for word in sys.orig_argv[:1]]
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-"):
            kept.append(os.path.basename(word))
            break
        if word == "--check-hash-based-pycs":
            next(words, "")
        letter = "" if word.startswith("--") else next((one for one in word[1:] if one in "cmWX"), "")
        rest = word.partition(letter)[2] if letter else ""
        if letter == "c" or word == "-":
            kept.append("-c" if letter else "-")
            break
        if letter == "m":
            kept += ["-m", rest or next(words, "")]
            break
        if letter and not rest:
            next(words, "")
    return " ".join(kept)[:80]


def _generators() -> "dict[str, int]":
    """Instances of random.Random that live, and how many of them keep a chosen sequence."""
    import gc

    base = getattr(sys.modules.get("_random"), "Random", None)
    if not isinstance(base, type) or not native.is_hooked(base):
        return {"random": 0, "kept": 0}
    found = [one for one in gc.get_objects() if issubclass(type(one), base)]
    return {"random": len(found), "kept": sum(map(native.audit_kept, found))}


def _stacks() -> "list[str]":
    """Where the other threads of Python stand, where they can be asked."""
    from _thread import get_ident

    if not has_gil():
        return []
    own = get_ident()
    frames = [frame for thread, frame in sys._current_frames().items() if thread != own]
    return [f"{one.f_code.co_filename}:{one.f_lineno}:{one.f_code.co_name}" for one in frames[:MOST]]
