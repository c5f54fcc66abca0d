"""Where a callback belongs: to the asyncio loop or the gevent hub under which it was registered, else to no thread.

Neither library is imported here: a program that uses one has it loaded.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from typing import Any

    Home = "LoopHome | HubHome"


class LoopHome:
    """An asyncio event loop, of any implementation that has call_soon_threadsafe()."""

    __slots__ = ("loop",)

    def __init__(self, loop: "AbstractEventLoop") -> None:
        self.loop = loop

    def is_here(self) -> bool:
        return running_loop() is self.loop

    @property
    def gone(self) -> bool:
        """Will it never run anything again?"""
        return self.loop.is_closed()

    @property
    def idle(self) -> bool:
        """Does it run nothing at present, between two run_until_complete()?"""
        return not self.loop.is_running()

    def lost_in_child(self) -> bool:
        """In a child just forked: does it say that it runs, as it did in the parent?"""
        return self.loop.is_running()

    def submit(self, work: "Callable[[], object]") -> None:
        """Have it call `work` soon. Any thread. Raises RuntimeError if the loop is closed."""
        self.loop.call_soon_threadsafe(work)


class HubHome:
    """A gevent hub: `work` runs in a greenlet of its own there."""

    __slots__ = ("hub",)
    idle = False

    def __init__(self, hub: "Any") -> None:
        self.hub = hub

    def is_here(self) -> bool:
        return _hub_here() is self.hub

    @property
    def gone(self) -> bool:
        return self.hub.dead or self.hub.loop is None

    def lost_in_child(self) -> bool:
        """In a child just forked: has it not got the hub's thread?"""
        return self.hub.thread_ident not in sys._current_frames()

    def submit(self, work: "Callable[[], object]") -> None:
        self.hub.loop.run_callback_threadsafe(sys.modules["gevent"].spawn, work)


def running_loop() -> "AbstractEventLoop | None":
    """The asyncio loop that runs in this thread."""
    asyncio = sys.modules.get("asyncio.events")
    # Not get_running_loop(): half-way through the import of asyncio it is not there, and it costs an exception.
    get = getattr(asyncio, "_get_running_loop", None)
    return get() if get else None


def _hub_here() -> "Any":
    """This thread's hub, if gevent made one."""
    local = sys.modules.get("gevent._hub_local")
    return local.get_hub_if_exists() if local and hasattr(local, "get_hub_if_exists") else None


def _patched_by_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and hasattr(monkey, "is_module_patched") and monkey.is_module_patched("socket"))


def here() -> "LoopHome | HubHome | None":
    """The home of what is registered now, in this thread."""
    loop = running_loop()
    if loop is not None:
        return LoopHome(loop)
    hub = _hub_here()
    if hub is None and _patched_by_gevent():
        hub = sys.modules["gevent"].get_hub()
    return HubHome(hub) if hub is not None else None


def greenlet() -> "Any":
    """The greenlet that runs, under a gevent hub; None elsewhere."""
    hub = _hub_here()
    return None if hub is None else sys.modules["greenlet"].getcurrent()


def wait_in_hub(begin: "Callable[[Callable[[], object]], bool]", seconds: "float | None") -> None:
    """Let other greenlets run until woken. `begin(wake)` says where to call wake(), from any thread; False: no more."""
    hub = _hub_here()
    gevent = sys.modules["gevent"]
    waiter = sys.modules["gevent.hub"].Waiter(hub)
    watcher = hub.loop.async_()  # gevent takes a loop without one for a deadlock
    ended = False

    def wake() -> None:
        try:
            if not ended:
                watcher.send()
        except Exception:
            if not ended:  # else nobody waits any more
                raise

    try:
        watcher.start(waiter.switch, None)  # before anybody can send: what is not started hears nothing
        if begin(wake):
            with gevent.Timeout(seconds, False):
                waiter.get()
    finally:
        ended = True
        watcher.stop()
        watcher.close()
