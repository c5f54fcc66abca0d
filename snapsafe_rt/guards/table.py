"""The ONE table of what is guarded. Activation, the import hook, status, the tests and the docs read it.

Each row names a module of this package with:
  COVERS          what a person recognises it by
  install(module) called when one of the row's triggers was imported, or at activation if it already was
  remove()        exact undo
  protection()    (level, sentence): a level of LEVELS
and, where it has them:
  refresh()       renews the row's state in every thread: run by the restore event, in one thread, before the program's
                  callbacks. The row is worth its "refreshed" only while somebody runs that event.
  glance()        protection() without trying anything, for the moment of the import
"""

import sys

from snapsafe_rt import hooks, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
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
    "cryptography": ("cryptography.hazmat.bindings._rust",),
    "bson": ("bson.objectid",),
    "snapstart": ("snapshot_restore_py",),
}

# A row whose module lies in a room above this one: who imports it.
ELSEWHERE: "dict[str, Callable[[], ModuleType]]" = {}

TELLS = "snapstart"  # guards nothing: tells of a restore itself, so it needs no source

TRIGGERS = {trigger: name for name, triggers in TABLE.items() for trigger in triggers}

# Modules with random state of their own that no row reaches: keys of libraries.TABLE, which is not read at start-up.
LIBRARIES = frozenset(
    {
        "apsw",
        "ddtrace.internal.native",
        "grpc._cython.cygrpc",
        "kombu.common",
        "numpy.random.mtrand",
        "tensorflow.python",
        "torch",
        "uuid_utils",
    }
)

_installed: set[str] = set()
_failed: dict[str, str] = {}
_noted: dict[str, tuple[str, str]] = {}  # what was last seen of each row: the record's


def room(name: str) -> "ModuleType":
    """The module of a row, imported when first needed: start-up pays for what the program uses."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]()
    full = f"{__package__}.{name}"
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
    strict = settings.Settings().strict
    _noted[name] = _ask(name, "protection" if strict else "glance")
    if needs_event(name):
        hooks.watcher_wanted()
    level, note = renewed(_noted[name], watching()) if needs_event(name) else _noted[name]
    if strict and level == "unprotected":
        settings.die(f"{name} is unprotected: {note}")


def remove() -> None:
    for name in sorted(_installed):
        room(name).remove()
    _installed.clear()
    _failed.clear()
    _noted.clear()


def _ask(name: str, question: str = "protection") -> tuple[str, str]:
    if name in _failed:
        return "unprotected", _failed[name]
    try:
        row = room(name)
        level, note = getattr(row, question, row.protection)()
    except Exception as error:  # say, the package may not be read any more since the program dropped its privileges
        return "unprotected", f"cannot be examined: {type(error).__name__}: {error}"
    return level, note


def report() -> list[tuple[str, str, str]]:
    """(name, level, sentence) of each row, as it is now."""
    found = []
    for name in TABLE:
        _noted[name] = _ask(name)
        found.append((name, *(renewed(_noted[name], watching()) if needs_event(name) else _noted[name])))
    return found


def noted() -> list[tuple[str, str, str]]:
    """report() as far as it is known without trying or importing anything; a level that needs the restore event is
    told as if the event were run. For the record."""
    found = []
    for name, triggers in TABLE.items():
        level, note = "not loaded", ""
        if name in _noted:
            level, note = _noted[name]
        elif not triggers:  # the native core's alone
            from snapsafe_rt.core import native

            good = native.guarded("urandom") and native.guarded("getrandom")
            level = "guarded" if good else "unprotected"
        found.append((name, level, note))
    return found


# ---- refreshers ----


def refreshers() -> list[str]:
    """Names of the rows whose state the restore event has to renew: while there is one, a watcher is needed."""
    return [name for name in TABLE if needs_event(name)]


def needs_event(name: str) -> bool:
    # Nothing is imported for the answer: what was noted as refreshed is.
    return name in _installed and _noted.get(name, ("",))[0] == "refreshed" and hasattr(room(name), "refresh")


def refresh() -> list[Exception]:
    """Renew what only the restore event renews, in the calling thread. All run; returns what went wrong."""
    failed = []
    for name in refreshers():
        try:
            room(name).refresh()
        except Exception as error:
            failed.append(error)
    return failed


def watching() -> bool:
    """Does somebody run the restore event without being asked to?"""
    from snapsafe_rt.core import native

    return bool(native.inspect_watcher().running)


def renewed(row: tuple[str, str], watched: bool) -> tuple[str, str]:
    """What the level of a row with refresh() is worth."""
    return row if watched else ("unprotected", f"{row[1]}; but no watcher runs: renewed by check() alone")
