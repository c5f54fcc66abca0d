"""opentelemetry: the service.instance.id that its SDK makes once; trace and span ids are of `random`."""

import os
import sys

from snapsafe_rt.guards.guard import Guard, names_of
from snapsafe_rt.guards.methods import instances, unseen, uuid4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MODULE = "opentelemetry.sdk.resources"
_KEY = "service.instance.id"
_ID, _PID, _LOCK = "_service_instance_id", "_service_instance_id_pid", "_service_instance_id_lock"


class OpenTelemetry(Guard):
    """The restore event makes a new service.instance.id, in every Resource that has the one that the SDK made."""

    name = "opentelemetry"
    covers = ("service.instance.id of a Resource",)
    triggers = (_MODULE,)
    level = "refreshed"

    def displaced(self) -> str:
        names = names_of(sys.modules[_MODULE])
        if _makes_none(names):
            return ""
        if not {_ID, _PID, _LOCK, "Resource"} <= set(names):
            return "this version keeps its service.instance.id somewhere else, and one that it made stays"
        if type(_attributes(names.get("_EMPTY_RESOURCE"))) is not dict:
            return "this version keeps its attributes somewhere else"
        return unseen() if names[_ID] is not None else ""

    def note(self) -> str:
        if _makes_none(names_of(sys.modules[_MODULE])):
            return "this version makes no service.instance.id; one that the program gave stays"
        return "its service.instance.id is made anew after a restore; one that the program gave stays"

    def refresh(self) -> None:
        names = names_of(sys.modules[_MODULE])
        if _makes_none(names):
            return
        with names[_LOCK]:
            old = names[_ID]
            if old is None:
                return
            new = f"{uuid4():032x}"
            names[_ID] = "-".join((new[:8], new[8:12], new[12:16], new[16:20], new[20:]))
            names[_PID] = os.getpid()
        for resource in instances(names["Resource"]):
            attributes = _attributes(resource)
            if attributes is not None and attributes.get(_KEY) == old:
                attributes[_KEY] = names[_ID]


def _makes_none(names: "dict[str, Any]") -> bool:
    """Before 1.4x: nothing in the module is made of a UUID."""
    return "Resource" in names and not {_ID, _PID, _LOCK, "uuid"} & set(names)


def _attributes(resource: object) -> "dict[str, Any] | None":
    found: dict[str, Any] | None = getattr(getattr(resource, "_attributes", None), "_dict", None)
    return found


GUARD = OpenTelemetry()
