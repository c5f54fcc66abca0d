"""The barrier for asyncio and trio. Imported by programs that call acheck()."""

import asyncio
import contextlib
import sys

from snapsafe_rt import log
from snapsafe_rt.core import native
from snapsafe_rt.guards import loaded
from snapsafe_rt.restore import affinity, callbacks, dispatch, events
from snapsafe_rt.source import probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from snapsafe_rt.restore.callbacks import Registration


async def acheck(timeout: "float | None" = None) -> int:
    """check() for asyncio: other tasks run while it waits. Returns the epoch.

    A pending event runs on this loop, in a task of its own that goes on if the caller is cancelled or the time is up;
    callbacks that belong to no loop run here, and block it as long as they take. `timeout`: seconds, of the event too.
    Returns at once in a callback. Raises as check() does. Under trio it is check() in a thread of trio's, which goes on
    if the caller is cancelled.
    """
    if native is None:
        return 0
    if affinity.in_trio():
        reached: int = await sys.modules["trio"].to_thread.run_sync(events.check, timeout, abandon_on_cancel=True)
        return reached
    probe.probe()
    loaded.look()
    epoch = native.epoch()
    if epoch == events.delivery.delivered:
        return epoch
    loop = asyncio.get_running_loop()
    if events.delivery.mine and events.delivery.loop is not loop:
        if events.delivery.loop is not None:
            raise TimeoutError(events.late_at_rest(events.delivery.event))
        return epoch  # a callback without a home, on a loop of its own
    until = None if timeout is None else loop.time() + timeout
    while events.delivery.delivered < epoch:
        mine = not events.delivery.taken
        event = events.delivery.event
        if not mine and event is not None and dispatch.epoch_around() == event.epoch:
            return epoch
        if mine:
            waited: Any = affinity.keep(loop.create_task(_deliver_here()))
        else:
            waited = loop.create_future()
            wake = _waker(loop, waited)
            if not events.delivery.call_at_end(wake):
                wake()
        left = None if until is None else max(0.0, until - loop.time())
        done, _ = await asyncio.wait({waited}, timeout=left)
        if not done:
            raise TimeoutError(events.late(events.delivery.event))
        failed = waited.result()
        if failed:
            raise events.group(failed, epoch)
        if mine and failed is not None:
            break  # also in a child that a callback forked
        events.raise_of_last(epoch)
    return events.delivery.delivered


def _waker(loop: "Any", future: "Any") -> "Callable[[], None]":
    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(settle)

    return wake


async def _deliver_here() -> "list[tuple[object, BaseException]] | None":
    """events.deliver() as a task of this loop. Claims the turn itself: a task may be cancelled before it begins.
    None if somebody else was faster."""
    if not events.delivery.acquire():
        return None
    try:
        events.delivery.loop = asyncio.get_running_loop()
        failed: list[tuple[object, BaseException]] = []
        for event, entry in events.steps(failed):
            dispatch.event_around().set(event.epoch)
            event.ran(entry, await _run_here(entry, event.epoch))
        return failed
    finally:
        events.delivery.release()
        log.flush()


async def _run_here(entry: "Registration", epoch: int) -> "BaseException | None":
    home = entry.home
    try:
        if home is None or home.is_here():
            value = entry()
            return await affinity.awaited(value) if hasattr(value, "__await__") else None
        if entry.ended:
            callbacks.drop_everywhere(entry)
            return None
        if home.idle:
            return dispatch.run_at(home, entry, epoch)
    except BaseException as error:
        return error
    loop = asyncio.get_running_loop()
    outcome: Any = loop.create_future()
    answer = dispatch.Answer(entry, _waker(loop, outcome))
    dispatch.submit(home, entry, epoch, answer)
    while not answer.given and not home.gone and not home.idle:
        await asyncio.wait({outcome}, timeout=dispatch.LOOK_SECONDS)
    return answer.take()
