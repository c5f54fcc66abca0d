"""The ONE table of what is guarded. Activation, the import hook, status, the tests and the docs read it.

Each row names a module of this package with:
  COVERS          what a person recognises it by
  install(module) called when one of the row's triggers was imported, or at activation if it already was
  remove()        exact undo
  protection()    (level, sentence): a level of LEVELS
"""

import sys

from snapsafe_rt import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

LEVELS = ("guarded", "refreshed", "kept", "unprotected", "not loaded")

# Subsystem: the modules whose import makes it relevant. What needs C alone is guarded by the native core as soon as it
# is loaded; the rows' install() adds what takes Python.
TABLE: dict[str, tuple[str, ...]] = {
    "os": (),
    "random": ("_random", "random"),
    "uuid": ("uuid",),
    "openssl": ("_ssl", "_hashlib"),
    "sqlite3": ("_sqlite3",),
}

TRIGGERS = {trigger: name for name, triggers in TABLE.items() for trigger in triggers}

_installed: set[str] = set()
_failed: dict[str, str] = {}


def room(name: str) -> "ModuleType":
    """The module of a row, imported when first needed: start-up pays for what the program uses."""
    full = f"{__name__}.{name}"
    __import__(full)
    return sys.modules[full]


def covers(name: str) -> tuple[str, ...]:
    """What a person recognises the row by."""
    try:
        found: tuple[str, ...] = room(name).COVERS
    except Exception:
        return ()  # report() says why
    return found


def install() -> None:
    """Patch every module of the table that is already imported."""
    for trigger in TRIGGERS:
        module = sys.modules.get(trigger)
        if module is not None:
            imported(trigger, module)


def imported(trigger: str, module: "ModuleType") -> None:
    """A module of the table was executed. What goes wrong with it is told by status(), not to the importing program."""
    name = TRIGGERS[trigger]
    _installed.add(name)
    try:
        room(name).install(module)
        _failed.pop(name, None)
    except Exception as error:
        _failed[name] = f"could not be patched: {type(error).__name__}: {error}"
    if settings.Settings().strict:
        level, note = _protection(name)
        if level == "unprotected":
            settings.die(f"{name} is unprotected: {note}")


def remove() -> None:
    for name in sorted(_installed):
        room(name).remove()
    _installed.clear()
    _failed.clear()


def refreshers() -> list[str]:
    """The installed rows that have something to renew in the restore event."""
    return [name for name in sorted(_installed) if hasattr(room(name), "refresh")]


def refresh() -> list[BaseException]:
    """Renew what no guard reaches. Returns what went wrong; each refresher is tried."""
    errors: list[BaseException] = []
    for name in refreshers():
        try:
            room(name).refresh()
        except BaseException as error:
            errors.append(error)
    return errors


def _protection(name: str) -> tuple[str, str]:
    if name in _failed:
        return "unprotected", _failed[name]
    try:
        level, note = room(name).protection()
    except Exception as error:  # say, the package may not be read any more since the program dropped its privileges
        return "unprotected", f"cannot be examined: {type(error).__name__}: {error}"
    return level, note


def report() -> list[tuple[str, str, str]]:
    """(name, level, sentence) of each row, as it is now."""
    return [(name, *_protection(name)) for name in TABLE]
