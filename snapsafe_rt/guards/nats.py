"""nats: NUID, a random prefix and a number that is counted on; each client has one of its own."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.methods import Methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_STATE = ("_prefix", "_seq", "_inc", "_prand")


class Nats(Methods):
    """Before a NUID gives an id, it is begun anew where it is of another epoch."""

    name = "nats"
    covers = ("inbox names and ids (NUID)",)
    triggers = ("nats.nuid",)

    def install(self, module: "ModuleType") -> None:
        cls = module.NUID
        stock = vars(cls).get("__init__")
        # Its draws are of secrets and of an own Random, which are guarded.
        if not _unknown(cls):
            self.exchange(cls, "next", lambda nuid: stock(nuid), each=True)

    def displaced(self) -> str:
        cls = sys.modules["nats.nuid"].NUID
        return _unknown(cls) or self.moved(cls, "next")

    def note(self) -> str:
        return (
            "each NUID begins anew after a restore; a client's prefix for replies, made once, stays with its connection"
        )


def _unknown(cls: "Any") -> str:
    names = getattr(native.code_of(vars(cls).get("__init__")), "co_names", ())
    return "" if all(name in names for name in _STATE) else "this version keeps its state somewhere else"


GUARD = Nats()
