"""sqlite3: SQLite's own generator, reset before statements run (cython/sqlite.c and cython/sqlite.pxi).

Added here: iterating over a cursor steps a statement too, through a slot of its type.
"""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, if_watched, names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from snapsafe_rt.guards.guard import RemoteProcess, Site, Verdict

# Why a library is not reset: for words of enum ss_sqlite_state (cython/shown.h). One not in use is in no danger.
REASONS = {
    "symbols": "lacks a function that is needed to reset it",
    "full": "is one too many: no place is left",
    "held": "was drawn from by another thread when this process was forked: what draws from it here waits for ever",
}

_TYPES = ("_sqlite3.Cursor", "_sqlite3.Connection")


class SQLite3(Guard):
    """SQLite's generator is reset before a statement runs; a statement that runs across a restore keeps the old one."""

    name = "sqlite3"
    covers = ("randomblob()", "random()", "temporary file names", "journal nonces")
    triggers = ("_sqlite3",)
    files = ("_sqlite3.",)
    level = "refreshed"
    unloaded = "guarded as soon as it is imported"

    def __init__(self) -> None:
        self._types: list[type] = []

    def install(self, module: "ModuleType") -> None:
        """`module` may be Python code that only has the name: its class is left alone."""
        cls = vars(module).get("Cursor")
        if isinstance(cls, type) and cls not in self._types and native.hook_next(cls, True):
            self._types.append(cls)

    def remove(self) -> None:
        for cls in self._types:
            native.hook_next(cls, False)
        self._types.clear()

    def protection(self) -> "Verdict":
        return self._judge(_seen_to_reset)

    def cheap_protection(self) -> "Verdict":
        """Without a connection, which audit hooks would see being made during the import."""
        return self._judge(
            lambda module, libraries: native.sqlite_reached() and any(one.state == "ready" for one in libraries)
        )

    def _judge(self, resets: "Callable[[ModuleType, list[native.LibsqliteState]], bool]") -> "Verdict":
        libraries = native.libsqlites()
        module = sys.modules.get("_sqlite3")
        for library in libraries:
            if library.state in REASONS:
                return "unprotected", f"{library.path} {REASONS[library.state]}"
        used = [library.path for library in libraries if library.state == "ready"]
        if module is None:
            return _used_by_others(used, native.inspect_watcher().running) if used else ("not loaded", self.unloaded)
        file = names_of(module).get("__file__")
        own = file and native.provider(file, "sqlite3_randomness")
        others = [path for path in used if path != own] if own else used[1:]
        if others and not native.inspect_watcher().running:
            return _used_by_others(others, False)
        for name in _TYPES:
            if not native.guarded(name):
                by = native.displaced_by(name)
                return "unprotected", (by and f"methods of {name} were made to call {by}") or (
                    "this build's sqlite3 has an unknown calling convention"
                )
        if names_of(module).get("Cursor") not in self._types:
            return "unprotected", "iteration over its cursors is not guarded: Cursor is not the extension's own type"
        if not resets(module, libraries):
            return "unprotected", "its SQLite cannot be reached: linked into it without symbols"
        count = sum(library.resets for library in libraries)
        note = f"SQLite {module.sqlite_version}: checked before every statement; one that runs across a restore goes on"
        return "refreshed", f"{note} with the old generator; reset {count} times"

    def sites(self) -> "list[Site]":
        return [(name, native.guard_words(name)) for name in _TYPES]

    def corrected(self, noted: "Verdict", process: "RemoteProcess") -> "Verdict":
        known = process.native_table(self.name)
        for path, state, _ in known:
            if state in REASONS:
                return "unprotected", f"{path} {REASONS[state]}"
        used = [path for path, state, _ in known if state == "ready"]
        others = used if noted[0] == "not loaded" else used[1:]
        if others and (noted[0] == "not loaded" or not process.watched):
            return _used_by_others(others, process.watched)
        return noted


def _used_by_others(paths: "list[str]", watched: bool) -> "Verdict":
    """Of libraries whose statements are not those of _sqlite3: no call of theirs is seen."""
    return if_watched(
        ("refreshed", f"{', '.join(paths)}: reset when a restore is noticed, not before statements"), watched
    )


def _seen_to_reset(module: "ModuleType", libraries: "list[native.LibsqliteState]") -> bool:
    """Does the SQLite of this module take its seed from us? Seen by making it draw one number after a reset."""
    own = [library for library in libraries if library.state == "ready"]
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


GUARD = SQLite3()
