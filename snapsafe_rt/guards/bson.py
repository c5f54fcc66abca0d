"""bson: the five random bytes that every ObjectId of a process begins with after the time; pymongo draws them once."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard

_ATTRIBUTE = "_ObjectId__random"
_SIZE = 5  # bytes, BSON ObjectId specification


class Bson(Guard):
    """Its random bytes are drawn anew by the restore event."""

    name = "bson"
    covers = ("bson.ObjectId", "_id of documents made by pymongo")
    triggers = ("bson.objectid",)
    files = ("_cbson.",)
    level = "refreshed"
    unloaded = "renewed as soon as it is imported"

    def displaced(self) -> str:
        value = vars(sys.modules["bson.objectid"].ObjectId).get(_ATTRIBUTE)
        known = isinstance(value, bytes) and len(value) == _SIZE
        return "" if known else "this version keeps its random bytes somewhere else"

    def note(self) -> str:
        return "its random bytes are drawn anew after a restore"

    def refresh(self) -> None:
        """Ids made from now on, in any thread, are of the new bytes."""
        setattr(sys.modules["bson.objectid"].ObjectId, _ATTRIBUTE, native.entropy(_SIZE))


GUARD = Bson()
