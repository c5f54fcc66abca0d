"""sentry_sdk: the trace that a scope goes on with; ids of new traces are of `uuid`."""

import sys

from snapsafe_rt.guards.guard import Guard, names_of
from snapsafe_rt.guards.methods import instances, unseen

_MODULE = "sentry_sdk.scope"
_NEEDED = ("_trace_id", "_span_id", "parent_span_id")
_DERIVED = ("baggage", "dynamic_sampling_context")  # of a trace id, by version


class Sentry(Guard):
    """The restore event has every scope make its current trace and span id anew; a trace from outside goes on."""

    name = "sentry_sdk"
    covers = ("trace id of the scope",)
    triggers = (_MODULE,)
    level = "refreshed"

    def displaced(self) -> str:
        cls = names_of(sys.modules[_MODULE]).get("PropagationContext")
        known = set(_NEEDED) <= set(getattr(cls, "__slots__", ()))
        return unseen() if known else "this version keeps the trace of a scope somewhere else"

    def note(self) -> str:
        return "each scope's trace and span ids are made anew after a restore; the id of a trace from outside stays"

    def refresh(self) -> None:
        """They are drawn when they are asked for, by uuid4(), which is guarded."""
        cls = names_of(sys.modules[_MODULE])["PropagationContext"]
        derived = [name for name in _DERIVED if name in cls.__slots__]
        for context in instances(cls):
            context._span_id = None
            if context.parent_span_id is None:
                context._trace_id = None
                for name in derived:
                    setattr(context, name, None)


GUARD = Sentry()
