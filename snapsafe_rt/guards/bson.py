"""bson: the five random bytes that every ObjectId of a process begins with after the time; pymongo draws them once."""

import sys

from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

COVERS = ("bson.ObjectId", "_id of documents made by pymongo")

_NAME = "_ObjectId__random"
_SIZE = 5  # bytes, BSON ObjectId specification


def install(module: "ModuleType") -> None:
    """Nothing to patch."""


def remove() -> None:
    """Nothing to undo."""


def protection() -> tuple[str, str]:
    module = sys.modules.get("bson.objectid")
    if module is None:
        return "not loaded", "renewed as soon as it is imported"
    value = vars(module.ObjectId).get(_NAME)
    if not isinstance(value, bytes) or len(value) != _SIZE:
        return "unprotected", "this version keeps its random bytes somewhere else"
    return "refreshed", "its random bytes are drawn anew after a restore"


def refresh() -> None:
    """Any thread; ids made from now on are of the new ones."""
    setattr(sys.modules["bson.objectid"].ObjectId, _NAME, native.entropy(_SIZE))
