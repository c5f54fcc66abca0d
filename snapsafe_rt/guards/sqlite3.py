"""sqlite3: SQLite's own generator, reset before statements run (cython/sqlite.c and cython/sqlite.pxi).

Added here: iterating over a cursor steps a statement too, through a slot of its type.
"""

import sys

from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

COVERS = ("randomblob()", "random()", "temporary file names", "journal nonces")

# enum ss_sqlite_state in cython/sqlite.h: why a library is not reset. One loaded but not in use is in no danger.
_READY = 2
REASONS = {
    3: "lacks a function that is needed to reset it",
    4: "is one too many: no place is left",
    6: "was drawn from by another thread when this process was forked: what draws from it here waits for ever",
}

_types: list[type] = []


def install(module: "ModuleType") -> None:
    if module.Cursor not in _types:
        native.hook_next(module.Cursor, True)
        _types.append(module.Cursor)


def remove() -> None:
    for cls in _types:
        native.hook_next(cls, False)
    _types.clear()


def protection() -> tuple[str, str]:
    return _judge(_seen_to_reset)


def glance() -> tuple[str, str]:
    """protection() without trying anything: audit hooks would see a connection made during the import."""
    return _judge(lambda module, libraries: native.sqlite_reached() and any(one.state == _READY for one in libraries))


def _judge(resets: "Callable[[ModuleType, list[native.LibsqliteState]], bool]") -> tuple[str, str]:
    libraries = native.libsqlites()
    module = sys.modules.get("_sqlite3")
    for library in libraries:
        if library.state in REASONS:
            return "unprotected", f"{library.path} {REASONS[library.state]}"
    if module is None:
        used = [library for library in libraries if library.state == _READY]
        if used:
            return "refreshed", f"{used[0].path} is reset when a restore is noticed by a draw of another subsystem"
        return "not loaded", "guarded as soon as it is imported"
    if not native.guarded("execute"):
        return "unprotected", "this build's sqlite3 has an unknown calling convention"
    if not resets(module, libraries):
        return "unprotected", "its SQLite cannot be reached: linked into it without symbols"
    count = sum(library.resets for library in libraries)
    note = f"SQLite {module.sqlite_version}: checked before every statement; one that runs across a restore goes on"
    return "refreshed", f"{note} with the old generator; reset {count} times"


def _seen_to_reset(module: "ModuleType", libraries: "list[native.LibsqliteState]") -> bool:
    """Does the SQLite of this module take its seed from us? Seen by making it draw one number after a reset."""
    own = [library for library in libraries if library.state == _READY]
    if not any(library.fenced for library in own):
        return bool(own)  # a VFS of the program's own gives the seed: asked again at each reset
    before = native.sqlite_seeds()
    native.reset_sqlite()
    try:
        connection = module.connect(":memory:")
        try:
            connection.execute("SELECT random()").fetchone()
        finally:
            connection.close()
    except Exception:  # an audit hook, or a connect() of the program's own: then the symbols found must do
        return True
    return bool(native.sqlite_seeds() > before)
