"""Tells the table when one of its modules was imported; the core's finder (cython/start.pxi) calls find_spec() then.

The finders behind it find the module; a stand-in takes its loader's place until the module was executed. Loader, spec
and module look afterwards as they would have.
"""

import sys

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
        table.imported(self._spec.name, module)
        table.publish()


def find_spec(
    finder: object, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
) -> "ModuleSpec | None":
    """For a module of the table: what the finders behind ours find, with a loader that tells of its execution."""
    for other in sys.meta_path[:]:
        if other is finder or not hasattr(other, "find_spec"):
            continue
        spec = other.find_spec(name, path, target)
        if spec is not None:
            if hasattr(spec.loader, "exec_module"):
                spec.loader = _Loader(spec.loader, spec)  # type: ignore[assignment]
            return spec
    return None
