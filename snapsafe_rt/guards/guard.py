"""What every guard offers: the base class of the rows that table.py lists, with defaults for all but the name.

A guard stands in one file, `guards/NAME.py`, which ends with `GUARD = ...()`. Its class docstring begins with one
sentence for docs/guards.md: how the state is protected. This module imports nothing of ours.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Protocol

    Verdict = tuple[str, str]
    """A level of table.LEVELS, and a sentence about it."""

    Site = tuple[str, str]
    """What it is, or what comes before the names in the words; and words of memory (cython/sites.pxi)."""

    class RemoteProcess(Protocol):
        """Another process, as judge_remote() sees it. Nothing of it can be trusted but what the kernel says."""

        @property
        def watched(self) -> bool:
            """Does its watcher run, so that a restore event comes without check()?"""

        def seeds(self) -> tuple[bool, int]:
            """Is the generator behind the functions of `random` kept; how many generators have a foreign state."""

        def mapped(self, patterns: tuple[str, ...]) -> str | None:
            """A mapped file. A pattern is the beginning of its name or, with a slash, the end of its path."""

        def native_table(self, name: str) -> list[tuple[str, str, bool]]:
            """(path, state, failing) of each "openssl" or "sqlite3" library that its core knows."""


class Guard:
    """One subsystem or library. A method runs in the interpreter that asks, with the GIL, unless it says otherwise."""

    name: str
    """Of the row, in the table and in reports."""

    covers: "tuple[str, ...]" = ()
    """What a person recognises it by."""

    triggers: "tuple[str, ...]" = ()
    """Modules whose import makes it relevant: the same as in its line of the table. The first is its own module."""

    files: "tuple[str, ...]" = ()
    """Patterns of RemoteProcess.mapped() for the files that show from outside that it was imported."""

    level = "guarded"
    """The best level that it reaches."""

    notifies = False
    """Does it tell of a restore by itself? Such a row needs no source."""

    def install(self, module: "ModuleType") -> None:
        """Put in place what takes Python, after `module`, one of the triggers, was executed.

        What needs C alone was guarded by the native core when it was loaded. A program may import the module again, as
        another object.
        """

    def remove(self) -> None:
        """Undo install() exactly. The native core undoes its own part."""

    def is_loaded(self) -> bool:
        return not self.triggers or self.triggers[0] in sys.modules

    def protection(self) -> "Verdict":
        """Level and sentence, from what is seen now. It may try the library; cheap_protection() may not."""
        if not self.is_loaded():
            return "not loaded", self.unloaded
        displaced = self.displaced()
        return ("unprotected", displaced) if displaced else (self.level, self.note())

    def cheap_protection(self) -> "Verdict":
        """protection() without trying anything, for the moment of the import."""
        return self.protection()

    def in_place(self) -> bool:
        """Is what protects the loaded state still there? It is looked at, not remembered."""
        return self.protection()[0] != "unprotected"

    def displaced(self) -> str:
        """Why what protects the state is not in place, as a sentence; "" where it is."""
        return ""

    def sites(self) -> "list[Site] | None":
        """By what another process sees that it is in place, where native_files do not say all of it.

        None: only Python can tell, so it looks after each import, and from outside that is worth no more than its age.
        May raise LookupError, which says the same of this moment.
        """
        return None

    def note(self) -> str:
        """The sentence that goes with `level`."""
        return ""

    def refresh(self) -> None:
        """Renew the state for every thread, in whichever thread this runs. Overridden by a guard that needs the event.

        The restore event calls it before the program's callbacks, so the row is worth its level only while a watcher
        runs that event.
        """

    @property
    def unloaded(self) -> str:
        """The sentence while it is not loaded."""
        return f"{'renewed' if self.level == 'refreshed' else 'guarded'} as soon as it is imported"

    @property
    def by_event(self) -> bool:
        return type(self).refresh is not Guard.refresh

    def judge_remote(self, noted: "Verdict | None", needs_event: bool, process: "RemoteProcess") -> "Verdict | None":
        """The row of another process: what it noted of itself (None: nothing), corrected by what is seen from outside.

        Returns None where there is nothing to tell. May run where there is no native core.
        """
        unknown = noted is None or noted[0] == "not loaded"
        file = process.mapped(self.files) if unknown else None
        if file is not None:
            return "unprotected", f"the record does not know {file}: loaded since, or by a subinterpreter"
        if noted is None:
            return None
        return if_watched(noted, process.watched) if needs_event else self.corrected(noted, process)

    def corrected(self, noted: "Verdict", process: "RemoteProcess") -> "Verdict":
        """What another process noted, corrected by the native tables in its memory, which are never out of date."""
        return noted


def if_watched(verdict: "Verdict", watched: bool) -> "Verdict":
    """What the level of a row that the restore event renews is worth."""
    return verdict if watched else ("unprotected", f"{verdict[1]}; but no watcher runs: renewed by check() alone")


def who(value: object) -> str:
    """What somebody put in the place of something: its name, for people."""
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    module = getattr(value, "__module__", None) or type(value).__module__
    return f"{module}.{name}"


def is_own(names: "dict[str, Any]", value: "Any") -> bool:
    """Is this a function that the module with these globals defines itself?"""
    return getattr(value, "__globals__", None) is names


_names = vars(type(sys))["__dict__"].__get__


def names_of(module: object) -> "dict[str, Any]":
    """The globals of a module; {} for whatever else stands in sys.modules. Nothing of the module's own runs, as it
    would by an attribute of what importlib.util.LazyLoader made."""
    names: dict[str, Any] = _names(module) if issubclass(type(module), type(sys)) else {}
    return names


def answers(*modules: str) -> str:
    """Which of these modules has a class of the program's, by which its names may be found past its globals; as a
    sentence, "" for none."""
    for name in modules:
        module = sys.modules.get(name)
        if names_of(module) and type(module) is not type(sys) and not is_executing(module):
            return f"the module {name} was given the class {who(type(module))}, which may answer for its names"
    return ""


def is_executing(module: object) -> bool:
    """Is this module still being imported, or was its execution put off by importlib.util.LazyLoader?"""
    put_off = names_of(sys.modules.get("importlib.util")).get("_LazyModule")
    return type(module) is put_off or bool(getattr(names_of(module).get("__spec__"), "_initializing", False))
