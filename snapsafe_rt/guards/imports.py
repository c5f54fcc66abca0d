"""Tells the table and the record when one of their modules was imported, by a finder at the head of sys.meta_path.

The finder finds nothing itself: for such a module it asks the finders behind it, and stands in for the loader
until the module was executed. Loader, spec and module look afterwards as they would have.
"""

import sys

from snapsafe_rt import hooks
from snapsafe_rt.guards import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class _Loader:
    """Stands in for `loader` while its module is made and executed, then steps aside."""

    def __init__(self, loader: "Any", spec: "ModuleSpec") -> None:
        self._loader = loader
        self._spec = spec

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        create = getattr(self._loader, "create_module", None)
        return create(spec) if create else None

    def exec_module(self, module: "ModuleType") -> None:
        self._spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._spec.name in table.TRIGGERS:
            table.imported(self._spec.name, module)
        hooks.facts_changed()


class _Finder:
    """Not an importlib.abc.MetaPathFinder: importing that at start-up would cost more than all the rest."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name not in table.TRIGGERS and name not in table.LIBRARIES:
            return None
        for finder in sys.meta_path[:]:
            if finder is _finder or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, spec)  # type: ignore[assignment]
                return spec
        return None


_finder = _Finder()


def install() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def remove() -> None:
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
