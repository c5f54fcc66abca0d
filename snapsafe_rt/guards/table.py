"""The ONE table of what is guarded: a line for each guard. All else about it stands in its file.

Activation, the import hook, status and the tests read it. Each start pays for this file, and for no guard before the
program imports what the guard protects. So a line holds a name and the modules whose import makes it relevant; a test
compares it with the file, and docs/guards.md with both.
"""

import sys
from _thread import RLock  # threading is not imported at start-up

from snapsafe_rt import hooks, settings
from snapsafe_rt.core import has_gil, importing
from snapsafe_rt.guards.guard import is_executing, names_of
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import Guard, Site, Verdict

LEVELS = ("guarded", "refreshed", "kept", "unprotected", "unexamined", "not loaded")

# Guards with a file of their own here. What needs C alone is guarded by the native core as soon as it is loaded.
TABLE: dict[str, tuple[str, ...]] = {
    "os": ("secrets",),
    "random": ("_random", "random", "tempfile"),
    "uuid": ("uuid",),
    "openssl": ("_ssl", "_hashlib", "ssl"),
    "sqlite3": ("_sqlite3",),
    "cryptography": ("cryptography.hazmat.bindings._rust",),
    "bson": ("bson.objectid",),
    "pymongo": (
        "pymongo.client_session_shared",
        "pymongo.synchronous.client_session",
        "pymongo.asynchronous.client_session",
        "pymongo.client_session",
    ),
    "nats": ("nats.nuid",),
    "kombu": ("kombu.common",),
    "polars": ("polars",),
    "opentelemetry": ("opentelemetry.sdk.resources",),
    "sentry_sdk": ("sentry_sdk.scope",),
    "apsw": ("apsw",),
    "uuid_utils": ("uuid_utils._uuid_utils",),
    "ulid": ("ulid",),
    "bcrypt": ("bcrypt._bcrypt",),
    "ulid_transform": ("ulid_transform._ulid_impl",),
    "ddtrace": ("ddtrace.internal.native._native", "ddtrace.internal._rand"),
    "numba": ("numba._helperlib",),
    "numpy": ("numpy.random.mtrand", "numpy.random"),
    "torch": ("torch", "torch.utils.data.dataloader"),
    "snapstart": ("snapshot_restore_py",),
}

# Libraries that nothing reaches (libraries.py): reported while they are loaded. unexamined.py finds others by what is
# in their files.
NAMED: dict[str, tuple[str, ...]] = {
    "tensorflow": ("tensorflow.python",),
    "grpcio": ("grpc._cython.cygrpc",),
    "sentencepiece": ("sentencepiece",),
    "tokenizers": ("tokenizers",),
    "pyarrow": ("pyarrow._compute",),
    "snowflake": ("snowflake.snowflake",),
    "duckdb": ("_duckdb",),
}

# Those of which a later version is safe: from which on, by the package's __version__.
NAMED_BEFORE = {"duckdb": 2}

TRIGGERS = {trigger: name for lines in (TABLE, NAMED) for name, triggers in lines.items() for trigger in triggers}

# A guard whose file lies in a room above this one: who imports that.
ELSEWHERE: "dict[str, Callable[[], Guard]]" = {}

_installed: set[str] = set()
_failed: dict[str, str] = {}
_cached: "dict[str, Verdict]" = {}  # what was last seen of each row


_guards: "dict[str, Guard]" = {}
_lock = RLock()
PATIENCE = 5.0  # seconds


class _Alone:
    """Without a GIL one thread at a time looks at the rows, or changes what they stand for: two that import at the same
    time would put everything in place twice. Who waits may have a lock that the other one wants, of the import system
    or of the program; so nobody waits for ever: who waited in vain goes on."""

    def __enter__(self) -> None:
        self.lock = _lock
        self.held = not has_gil() and self.lock.acquire(timeout=PATIENCE)

    def __exit__(self, *_: object) -> None:
        if self.held:
            self.lock.release()


def _after_fork_in_child() -> None:
    global _lock
    _lock = RLock()  # perhaps held by a thread that this process does not have


hooks.forked.add(_after_fork_in_child)


def load(name: str) -> "Guard":
    """The guard of a line, its file imported when first needed. Raises KeyError for a name that is in no line."""
    guard = _guards.get(name)
    if guard is None:
        guard = _guards[name] = _load(name)
    return guard


def _load(name: str) -> "Guard":
    if name in ELSEWHERE:
        return ELSEWHERE[name]()
    if name in NAMED:
        from snapsafe_rt.guards import libraries

        return next(guard for guard in libraries.GUARDS if guard.name == name)
    if name not in TABLE:
        raise KeyError(name)
    file = f"{__package__}.{name}"
    importing(lambda: __import__(file))
    guard: Guard = sys.modules[file].GUARD
    return guard


def find(name: str) -> "Guard | None":
    """load(), or None where it fails: report() says why."""
    try:
        return load(name)
    except Exception:
        return None


def preload() -> None:
    """Import the files of the rows that count here: later they may not be readable."""
    for name in filter(_counts, TABLE):
        find(name)


def _counts(name: str) -> bool:
    """Is what the row stands for in use here? os is in every program."""
    triggers = TABLE.get(name) or NAMED[name]
    return name == "os" or (any(trigger in sys.modules for trigger in triggers) and not _is_later(name))


def _is_later(name: str) -> bool:
    if name not in NAMED_BEFORE:
        return False
    major = str(names_of(sys.modules.get(name)).get("__version__")).partition(".")[0]
    return major.isdigit() and int(major) >= NAMED_BEFORE[name]


def install() -> None:
    """Patch every module of the table that is already imported."""
    for trigger in TRIGGERS:
        module = sys.modules.get(trigger)
        if module is None:
            continue
        if not is_executing(module):  # else it is told of when it was
            imported(trigger, module)
            _renew(TRIGGERS[trigger])


def _renew(name: str) -> None:
    """What it drew before activation may be the same in every clone."""
    try:
        if needs_event(name):
            load(name).refresh()
    except Exception as error:
        _failed[name] = f"could not be renewed: {type(error).__name__}: {error}"


class _Executed:
    """A module that sys.modules does not have: its names are the attributes."""

    def __init__(self, names: "dict[str, Any]") -> None:
        self.__dict__ = names


def executed(trigger: str, names: "dict[str, Any]") -> None:
    """A module was executed that is called `trigger`, or is a file of that name, and has these globals. "" for one that
    is no row's: time to look at what only Python can tell."""
    own_name = str(names.get("__name__"))
    if not trigger:
        # Not after one of ours, which another thread may be waiting for with the rows' lock.
        if has_gil() or not f"{own_name}.".startswith("snapsafe_rt."):
            look_again(cheaply=True)
        return
    module: Any = sys.modules.get(own_name)
    if names_of(module) is not names:
        module = _Executed(names)
    imported(trigger, module)
    publish()


def imported(trigger: str, module: "ModuleType") -> None:
    """A module of the table was executed. What goes wrong with it is told by status(), not to the importing program."""
    name = TRIGGERS[trigger]
    if name in NAMED:
        return
    strict = state.settings.strict
    with _Alone():
        _installed.add(name)
        _site_lines.pop(name, None)
        try:
            load(name).install(module)
            _failed.pop(name, None)
        except Exception as error:
            _failed[name] = f"could not be patched: {type(error).__name__}: {error}"
        _cached[name] = seen = _look(name, cheaply=not strict)
    if needs_event(name):
        hooks.watcher_wanted()  # not with the lock: it has one of its own, with which others come here
    level, note = _worth(name, seen)
    if strict and level == "unprotected":
        settings.die(f"{name} is unprotected: {note}")


def remove() -> None:
    from snapsafe_rt.core import native

    with _Alone():
        for name in sorted(_installed):
            load(name).remove()
        _installed.clear()
        _site_lines.clear()
        _failed.clear()
        _cached.clear()
        native.page_put({"row": [], "site": [], "library": []})
        native.looked(False)


def _look(name: str, *, cheaply: bool = False) -> "Verdict":
    if name in _failed:
        return "unprotected", _failed[name]
    try:
        guard = load(name)
        level, note = guard.cheap_protection() if cheaply else guard.protection()
    except Exception as error:  # say, the package may not be read any more since the program dropped its privileges
        if not _counts(name):
            return "not loaded", ""
        return "unprotected", f"cannot be examined: {type(error).__name__}: {error}"
    return level, note


def _worth(name: str, seen: "Verdict") -> "Verdict":
    """What was seen of a row, as far as somebody runs the event that it needs."""
    if seen[0] != "refreshed" or not needs_event(name):
        return seen
    from snapsafe_rt.guards.guard import if_watched

    return if_watched(seen, watching())


def look_again(*, cheaply: bool = False) -> None:
    """Is all in place? For the restore event; cheaply: of what another process cannot test, and without trying it."""
    from snapsafe_rt.core import native

    with _Alone():
        before = dict(_cached)
        native.put_back()
        if not cheaply:
            _site_lines.clear()
        for name in sorted(_installed):
            if not cheaply or name in _by_python:
                _cached[name] = _look(name, cheaply=True)
        if cheaply and before == _cached:
            native.looked(True)
        else:
            publish()


def report() -> list[tuple[str, str, str]]:
    """(name, level, sentence) of each row, as it is now."""
    from snapsafe_rt.core import native

    with _Alone():
        native.put_back()
        _site_lines.clear()
    found = []
    for name in TABLE:
        with _Alone():  # each alone: to try a library takes its time
            _cached[name] = seen = _look(name)
        found.append((name, *_worth(name, seen)))
    return found


def cached_report() -> list[tuple[str, str, str]]:
    """report() as far as it is known without trying or importing anything; a level that needs the restore event is
    told as if the event were run. For the status page."""
    found = []
    for name in TABLE:
        known = _cached.get(name)
        level, note = known or ("not loaded", "")
        if known is None and name == "os":  # the native core's alone
            from snapsafe_rt.core import native

            good = native.guarded("posix.urandom") and native.guarded("posix.getrandom")
            level = "guarded" if good else "unprotected"
        found.append((name, level, note))
    return found


_by_python: set[str] = set()  # rows of which only Python can tell whether they are in place
_site_lines: "dict[str, list[Site] | None]" = {}  # of each row, made when it was last looked at


def publish() -> None:
    """Have the status page say what is known of each row, by what another process can test it, and which libraries are
    loaded."""
    from snapsafe_rt.core import native

    with _Alone():  # until it is on the page: what is seen later is not to be hidden by it
        _by_python.clear()
        rows, lines = [], []
        for name, level, note in cached_report():
            sites = _sites(name) if level in ("guarded", "refreshed", "kept") else []
            if sites is None:
                _by_python.add(name)
            lines += [(name, what, words) for what, words in sites or ()]
            renewed = level == "refreshed" and needs_event(name)
            rows.append((name, level, note, str(int(renewed)), str(int(sites is None))))
        native.page_put({"row": rows, "site": lines, "library": [(name,) for name in named()]})
        native.looked(bool(_by_python))


def _sites(name: str) -> "list[Site] | None":
    if name == "os" and name not in _cached:
        from snapsafe_rt.core import native

        return [(what, words) for _, what, words in native.own_sites()] or None
    if name in _site_lines:
        return _site_lines[name]
    try:
        found = load(name).sites()
    except Exception:  # as if the guard had none
        found = None
    _site_lines[name] = found
    return found


def named() -> list[str]:
    """Names of the loaded libraries that nothing reaches."""
    return list(filter(_counts, NAMED))


def named_report() -> list[tuple[str, str, str]]:
    return [(name, *_look(name)) for name in named()]


# ---- refreshers ----


def refreshers() -> list[str]:
    """Names of the rows whose state the restore event has to renew: while there is one, a watcher is needed."""
    return [name for name in TABLE if needs_event(name)]


def needs_event(name: str) -> bool:
    # Nothing is imported for the answer: the file of a row that was seen has been. One that is kept may be renewed
    # later.
    return name in _installed and _cached.get(name, ("",))[0] in ("refreshed", "kept") and load(name).by_event


def refresh() -> list[Exception]:
    """Renew what only the restore event renews, in the calling thread. All run; returns what went wrong."""
    failed = []
    for name in refreshers():
        try:
            load(name).refresh()
        except Exception as error:
            failed.append(error)
    look_again()
    return failed


def watching() -> bool:
    """Does somebody run the restore event without being asked to?"""
    from snapsafe_rt.core import native

    return bool(native.inspect_watcher().running)
