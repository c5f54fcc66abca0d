"""sentry_sdk: the trace that a scope goes on with; ids of new traces are of `uuid`."""

import sys

from snapsafe_rt.guards.guard import Guard, names_of
from snapsafe_rt.guards.methods import instances, unseen

_MODULE = "sentry_sdk.scope"
_MADE = ("_trace_id", "_span_id", "baggage")


class Sentry(Guard):
    """The restore event has every scope make its current trace and span id anew; a trace that came from outside goes on."""

    name = "sentry_sdk"
    covers = ("trace id of the scope",)
    triggers = (_MODULE,)
    level = "refreshed"
    unloaded = "renewed as soon as it is imported"

    def displaced(self) -> str:
        cls = names_of(sys.modules[_MODULE]).get("PropagationContext")
        known = isinstance(cls, type) and all(
            hasattr(cls, name) for name in (*_MADE, "trace_id", "span_id", "parent_span_id")
        )
        return unseen() if known else "this version keeps the trace of a scope somewhere else"

    def note(self) -> str:
        return "each scope's trace and span ids are made anew after a restore; the id of a trace from outside stays"

    def refresh(self) -> None:
        """They are drawn when they are asked for, by uuid4(), which is guarded."""
        for context in instances(names_of(sys.modules[_MODULE])["PropagationContext"]):
            context._span_id = None
            if context.parent_span_id is None:
                context._trace_id = context.baggage = None


GUARD = Sentry()
