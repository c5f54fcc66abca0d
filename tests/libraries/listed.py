"""What a line of the table is: a library, the program that uses it, and what is drawn then.

    @library("faker")
    def faker():
        from faker import Faker

        made = Faker()
        return {"name()": guarded(made.name, "draws from random")}

The function runs in an environment that has the library. What it does is done before the snapshot; each entry that it
returns is drawn from after it. The text says how the level comes about.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# From the worst to the best: a library is called what its worst surface is.
LEVELS = {
    "unprotected": "repeats in every clone, also after the restore event",
    "intel": "mixes an Intel CPU's random numbers into each draw; on any other CPU unprotected",
    "kernel": "keeps nothing, and asks the kernel past every guard: repeats until the kernel was reseeded, as stock",
    "refreshed": "renewed by the restore event; repeats until then",
    "guarded": "no value repeats",
    "safe": "no value repeats without us either, even while the kernel repeats itself",
    "kept": "the same in each run of the program, by design: the library chooses the seed",
}


@dataclass(frozen=True)
class Surface:
    level: str
    draw: Callable[[], Any]
    how: str
    only_main: bool = False  # it belongs to the thread that made it


@dataclass(frozen=True)
class Library:
    package: str  # its name on PyPI
    program: Callable[[], dict[str, Surface]]
    folder: str  # in site-packages, as snapsafe_rt/guards/examined.py names it
    needs: tuple[str, ...] = ()  # further packages; {version} is its own
    env: dict[str, str] = field(default_factory=dict)
    large: bool = False  # too large for a step of CI
    brings: str = ""  # a library that it imports, and that is unprotected


TABLE: dict[str, Library] = {}


def library(
    package: str,
    *needs: str,
    folder: str = "",
    env: dict[str, str] | None = None,
    large: bool = False,
    brings: str = "",
) -> Callable[[Callable[[], dict[str, Surface]]], Callable[[], dict[str, Surface]]]:
    def add(program: Callable[[], dict[str, Surface]]) -> Callable[[], dict[str, Surface]]:
        assert package not in TABLE, package
        named = folder or package.lower().replace("-", "_").replace(".", "_")
        TABLE[package] = Library(package, program, named, needs, env or {}, large, brings)
        return program

    return add


def _kind(level: str) -> Callable[..., Surface]:
    def make(draw: Callable[[], Any], how: str, *, only_main: bool = False) -> Surface:
        return Surface(level, draw, how, only_main)

    return make


unprotected, intel, kernel, refreshed, guarded, safe, kept = map(_kind, LEVELS)
