"""bson: the five random bytes that every ObjectId of a process begins with after the time; pymongo draws them once."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.methods import Methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_ATTRIBUTE = "_ObjectId__random"
_SIZE = 5  # bytes, BSON ObjectId specification


class Bson(Methods):
    """Before an ObjectId takes its random bytes, they are drawn anew where they are of another epoch."""

    name = "bson"
    covers = ("bson.ObjectId", "_id of documents made by pymongo")
    triggers = ("bson.objectid",)
    files = ("_cbson.",)

    def install(self, module: "ModuleType") -> None:
        cls = module.ObjectId
        if type(vars(cls).get(_ATTRIBUTE)) is bytes and len(vars(cls)[_ATTRIBUTE]) == _SIZE:
            self.exchange(cls, "_random", lambda _: setattr(cls, _ATTRIBUTE, native.entropy(_SIZE)))

    def displaced(self) -> str:
        value: Any = vars(sys.modules["bson.objectid"].ObjectId).get(_ATTRIBUTE)
        if not (isinstance(value, bytes) and len(value) == _SIZE):
            return "this version keeps its random bytes somewhere else"
        return self.moved(sys.modules["bson.objectid"].ObjectId, "_random")

    def note(self) -> str:
        return "its random bytes are drawn anew before an id takes them"


GUARD = Bson()
