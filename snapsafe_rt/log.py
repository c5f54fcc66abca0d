"""A record for each restore event, and for each callback that failed, where the program has `logging` loaded.

The logger is "snapsafe_rt". It is silent unless the program sets a handler up: it has a NullHandler. The fields of a
record are named as systemd's journal wants them, whose JournalHandler passes them on. Records are kept while the
delivery lock is held, since a handler may wait for a thread that waits for that lock; then flush() hands them over.
"""

import sys

from snapsafe_rt import hooks
from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "snapsafe_rt"
RESTORE = "5b1a5d0c3b7e4c7f9a0d6f2e8c4d1a73"  # MESSAGE_ID, of the manager's word as well
FAILED = "c1c6f3a94d6b4b0e8f5e27a1d90b6e24"
KEPT_MOST = 64  # errors: there is always room for the word that tells of the event
INFO, ERROR = 20, 40  # logging's

_Record = tuple[int, str, "tuple[Any, ...]", "dict[str, Any]", "BaseException | None"]
_kept: "list[_Record]" = []


def restored(epoch: int, cause: str, seconds: float, callbacks: int, errors: int) -> None:
    """A restore event is over."""
    told = {"SNAPSAFE_EPOCH": epoch, "SNAPSAFE_CAUSE": cause, "SNAPSAFE_SECONDS": round(seconds, 6)}
    told |= {"SNAPSAFE_CALLBACKS": callbacks, "SNAPSAFE_ERRORS": errors, "MESSAGE_ID": RESTORE}
    words = "restored (%s): epoch %d, %d callbacks in %.3f s, %d failed"
    _keep(INFO, words, (cause, epoch, callbacks, seconds, errors), told, None)


def failed(when: str, who: str, error: BaseException) -> None:
    """What the program registered has raised. `when`: "restore", "before", "after"."""
    told = {"SNAPSAFE_WHEN": when, "SNAPSAFE_CALLBACK": who, "MESSAGE_ID": FAILED}
    words = "%s failed after a restore" if when == "restore" else f"%s failed {when} a snapshot"
    _keep(ERROR, words, (who,), told, error)


def _keep(
    level: int, words: str, arguments: "tuple[Any, ...]", told: "dict[str, Any]", error: "BaseException | None"
) -> None:
    if "logging" in sys.modules and len(_kept) < (KEPT_MOST if error is not None else 2 * KEPT_MOST):
        _kept.append((level, words, arguments, told, error))


def flush() -> None:
    """Not with the delivery lock, nor with a lock of ours. What a handler raises is reported, and never passed on."""
    while _kept:
        try:
            level, words, arguments, told, error = _kept.pop(0)
        except IndexError:  # another thread was faster
            return
        logging = sys.modules.get("logging")
        if logging is None or not hasattr(logging, "NullHandler"):  # it is being imported at this moment
            continue
        logger = logging.getLogger(NAME)
        try:
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
            logger.log(level, words, *arguments, extra=told, exc_info=error)
        except Exception as raised:
            native.report_unraisable(raised, logger.log)


hooks.forked.add(_kept.clear)  # what a parent has kept it tells itself
