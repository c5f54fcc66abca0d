"""kombu and Celery: the node id that kombu makes once, and what Celery's apps and backends keep that was made of it.

Replies come to the queue that an app's or a thread's oid names. What was sent before the restore is answered to the
queue of that time; the backend that waits for it has it, and goes on.
"""

import sys

from snapsafe_rt.guards.guard import Guard, is_own, names_of
from snapsafe_rt.guards.methods import uuid4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_COMMON = "kombu.common"


class Kombu(Guard):
    """The restore event makes a new node id, and has Celery's apps and backends make oids and reply queues anew."""

    name = "kombu"
    covers = ("node ids of Celery workers", "Celery's oids and reply queues")
    triggers = (_COMMON,)
    level = "refreshed"

    def displaced(self) -> str:
        names = names_of(sys.modules[_COMMON])
        made = names.get("_node_id", "")
        if not (made is None or type(made) is int) or not is_own(names, names.get("get_node_id")):
            return "this version keeps its node id somewhere else"
        for app in _apps():
            if "_local" not in vars(app) or "_backend_cache" not in vars(app):
                return "this version of Celery keeps its oids somewhere else"
        return ""

    def note(self) -> str:
        return "its node id, and oids and reply queues of Celery, are made anew after a restore"

    def refresh(self) -> None:
        """A thread's oid, and a backend of its own, are in a thread-local object: another one has none of them. Who
        waits with the former backend keeps it."""
        names = names_of(sys.modules[_COMMON])
        if names.get("_node_id") is not None:
            names["_node_id"] = uuid4()
        for app in _apps():
            own = vars(app)
            own.pop("oid", None)
            if own.get("_local") is not None:
                own["_local"] = type(own["_local"])()
            if own.get("_backend_cache") is not None:
                vars(own["_backend_cache"]).pop("oid", None)


def _apps() -> "Iterable[Any]":
    active = names_of(sys.modules.get("celery._state")).get("_get_active_apps")
    return list(active()) if active is not None else ()


GUARD = Kombu()
