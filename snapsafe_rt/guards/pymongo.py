"""pymongo: server sessions that a client keeps for later, each known to the server by a UUID."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.methods import Methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_POOL = "_ServerSessionPool"


class Pymongo(Methods):
    """Before a session is taken from a client's pool, those of another epoch are let go of, as after a fork."""

    name = "pymongo"
    covers = ("session ids of pymongo's clients",)
    triggers = (
        "pymongo.client_session_shared",
        "pymongo.synchronous.client_session",
        "pymongo.asynchronous.client_session",
        "pymongo.client_session",
    )

    def is_loaded(self) -> bool:
        return any(trigger in sys.modules for trigger in self.triggers)

    def install(self, module: "ModuleType") -> None:
        for cls in _pools():
            if _is_known(cls):
                self.exchange(cls, "get_server_session", lambda pool, timeout: pool.reset(), each=True)

    def displaced(self) -> str:
        pools = _pools()
        if not pools or not all(map(_is_known, pools)):
            return "this version keeps its sessions somewhere else"
        return next(filter(None, (self.moved(cls, "get_server_session") for cls in pools)), "")

    def note(self) -> str:
        return "pooled sessions are dropped after a restore, and none that was in use then comes back to the pool"


def _pools() -> "list[Any]":
    """The classes of all modules that define one themselves; each once, for some only pass it on."""
    found = [vars(sys.modules[name]).get(_POOL) for name in GUARD.triggers if name in sys.modules]
    return list(dict.fromkeys(cls for cls in found if isinstance(cls, type)))


def _is_known(cls: "Any") -> bool:
    names = getattr(native.code_of(vars(cls).get("reset")), "co_names", ())
    return "generation" in names and "clear" in names and "get_server_session" in vars(cls)


GUARD = Pymongo()
