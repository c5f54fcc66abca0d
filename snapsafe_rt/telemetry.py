"""What status() says, as instruments of OpenTelemetry: call instrument() once, after the meter provider is set up.

It takes opentelemetry-api, which is imported by that call alone. Each restore is told by `logging` besides.
"""

import time

import snapsafe_rt
from snapsafe_rt.settings import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from snapsafe_rt.report.status import Status

FRESH_SECONDS = 1.0  # each instrument of one collection asks

_last: "tuple[float, int, Status] | None" = None


def instrument(meter_provider: "Any" = None) -> None:
    """Make the instruments, of this meter provider, else of the global one. Raises ImportError without the API."""
    from opentelemetry import metrics  # type: ignore[import-not-found,unused-ignore]

    meter = metrics.get_meter("snapsafe_rt", VERSION, meter_provider)

    def observing(read: "Callable[[Status], Iterable[tuple[float, dict[str, str]]]]") -> "list[Any]":
        return [lambda options: [metrics.Observation(value, labels) for value, labels in read(_status())]]

    for name, unit, words, read in _GAUGES:
        meter.create_observable_gauge(name, observing(read), unit, words)
    meter.create_observable_counter(
        "snapsafe.restores",
        observing(lambda status: [(status.restores["count"], {})]),
        "{restore}",
        "Restores noticed.",
    )


def _status() -> "Status":
    """Of this moment, or of one a second ago: never of one before a restore."""
    global _last
    now, epoch, kept = time.monotonic(), snapsafe_rt.epoch(), _last
    if kept is not None and kept[1] == epoch and 0 <= now - kept[0] < FRESH_SECONDS:
        return kept[2]
    status = snapsafe_rt.status()
    _last = now, epoch, status
    return status


def _subsystems(status: "Status") -> "Iterable[tuple[float, dict[str, str]]]":
    for level, names in (("unprotected", status.unprotected), ("unexamined", status.unexamined)):
        for name in dict.fromkeys(names):
            yield 1, {"name": name, "level": level}


def _event(key: "Callable[[dict[str, Any]], float]") -> "Callable[[Status], Iterable[tuple[float, dict[str, str]]]]":
    return lambda status: [(key(status.last_event), {"cause": status.last_event["cause"]})] if status.last_event else []


_GAUGES: "tuple[tuple[str, str, str, Callable[[Status], Iterable[tuple[float, dict[str, str]]]]], ...]" = (
    ("snapsafe.protected", "1", "1 if the process is protected.", lambda status: [(int(status.protected), {})]),
    ("snapsafe.epoch", "1", "The epoch: it counts restores.", lambda status: [(status.epoch, {})]),
    ("snapsafe.callbacks", "{callback}", "Callbacks that are registered.", lambda status: [(status.callbacks, {})]),
    (
        "snapsafe.fence",
        "1",
        "Always 1; the state of the fence.",
        lambda status: [(1, {"state": status.fence["state"]})],
    ),
    ("snapsafe.subsystem", "1", "Always 1; one that is unprotected or unexamined.", _subsystems),
    (
        "snapsafe.event.duration",
        "s",
        "How long the last restore event took.",
        _event(lambda event: max(0.0, event["ended"] - event["began"])),
    ),
    (
        "snapsafe.event.errors",
        "{error}",
        "How many callbacks failed in it.",
        _event(lambda event: len(event["errors"])),
    ),
)
