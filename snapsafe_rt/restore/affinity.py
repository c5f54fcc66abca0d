"""Where a callback belongs: to the asyncio loop, the trio run or the hub of green threads under which it was
registered, else to no thread. Such a place is called its home.

No such library is imported here: a program that uses one has it loaded.
"""

import os
import sys
from _thread import get_ident

from snapsafe_rt.core import has_gil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeAlias

    Home: TypeAlias = "LoopHome | TrioHome | HubHome | EventletHome"
    Then = Callable[[BaseException | None], object]


class LoopHome:
    """An asyncio event loop, of any implementation that has call_soon_threadsafe()."""

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

    def drive(self, value: "Awaitable[object]", then: "Then") -> None:
        """In the home's own thread: await `value` in a task, then call then() with what it raised, or None."""
        task = keep(self.loop.create_task(awaited(value)))
        task.add_done_callback(lambda task: then(None if task.cancelled() else task.result()))


class TrioHome:
    """A trio.run(); coroutines are system tasks of it."""

    idle = False

    def __init__(self, token: "Any") -> None:
        self.token = token
        self.thread = get_ident()

    def is_here(self) -> bool:
        return _trio_here() is self.token

    @property
    def gone(self) -> bool:
        try:
            self.token.run_sync_soon(_nothing, idempotent=True)
        except RuntimeError:  # trio.RunFinishedError
            return True
        return False

    def lost_in_child(self) -> bool:
        return self.thread not in sys._current_frames()

    def submit(self, work: "Callable[[], object]") -> None:
        self.token.run_sync_soon(work)

    def drive(self, value: "Awaitable[object]", then: "Then") -> None:
        trio = sys.modules["trio"]

        async def to_its_end() -> None:
            error = await awaited(value)
            then(None if isinstance(error, trio.Cancelled) else error)

        trio.lowlevel.spawn_system_task(to_its_end)


class HubHome:
    """A gevent hub: `work` runs in a greenlet of its own there."""

    idle = False
    drive = None

    def __init__(self, hub: "Any") -> None:
        self.hub = hub

    def is_here(self) -> bool:
        return _gevent_hub() is self.hub

    @property
    def gone(self) -> bool:
        return self.hub.dead or self.hub.loop is None

    def lost_in_child(self) -> bool:
        """In a child just forked: has it not got the hub's thread?"""
        return self.hub.thread_ident not in sys._current_frames()

    def submit(self, work: "Callable[[], object]") -> None:
        self.hub.loop.run_callback_threadsafe(sys.modules["gevent"].spawn, work)

    def wait(self, begin: "Callable[[Callable[[], object]], bool]", seconds: "float | None") -> None:
        """Let other greenlets run until woken. `begin(wake)` says where to call wake(), from any thread; False: no
        more."""
        gevent = sys.modules["gevent"]
        waiter = sys.modules["gevent.hub"].Waiter(self.hub)
        watcher = self.hub.loop.async_()  # gevent takes a loop without one for a deadlock
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


class EventletHome:
    """An eventlet hub. Nothing of eventlet may be called from another thread, so an eventfd that the hub watches tells
    it of work. One home for each hub: EventletHome.of()."""

    idle = False
    drive = None
    _of: "dict[Any, EventletHome]" = {}  # noqa: RUF012 - hubs are few, and end with their threads

    def __init__(self, hub: "Any") -> None:
        self.hub = hub
        self.thread = get_ident()
        self.todo: list[Callable[[], object]] = []
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        hub.add(hub.READ, self.descriptor, self._woken, _nothing, _nothing)

    @classmethod
    def of(cls, hub: "Any") -> "EventletHome":
        home = cls._of.get(hub)
        if home is None:
            home = cls._of[hub] = cls(hub)
        return home

    def is_here(self) -> bool:
        return _eventlet_hub() is self.hub

    @property
    def gone(self) -> bool:
        return self.lost_in_child() or self.hub.greenlet.dead

    def lost_in_child(self) -> bool:
        return self.thread not in sys._current_frames()

    def submit(self, work: "Callable[[], object]") -> None:
        self.todo.append(work)
        os.eventfd_write(self.descriptor, 1)

    def _woken(self, *_: object) -> None:
        os.eventfd_read(self.descriptor)
        while self.todo:
            sys.modules["eventlet"].spawn_n(self.todo.pop(0))

    def wait(self, begin: "Callable[[Callable[[], object]], bool]", seconds: "float | None") -> None:
        """As HubHome.wait()."""
        eventlet = sys.modules["eventlet"]
        event = eventlet.Event()
        if begin(lambda: self.submit(lambda: event.ready() or event.send())):
            with eventlet.Timeout(seconds, False):
                event.wait()


def _nothing(*_: object) -> None:
    pass


def running_loop() -> "AbstractEventLoop | None":
    """The asyncio loop that runs in this thread."""
    asyncio = sys.modules.get("asyncio.events")
    # Not get_running_loop(): half-way through the import of asyncio it is not there, and it costs an exception.
    get = getattr(asyncio, "_get_running_loop", None)
    return get() if get else None


def _trio_here() -> "Any":
    """The token of the trio.run() that runs in this thread."""
    current = getattr(sys.modules.get("trio.lowlevel"), "current_trio_token", None)
    try:
        return current() if current else None
    except RuntimeError:
        return None


def _gevent_hub() -> "Any":
    """This thread's hub, if gevent made one."""
    get = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None)
    return get() if get else None


def _eventlet_hub() -> "Any":
    """This thread's hub, if eventlet made one."""
    return getattr(getattr(sys.modules.get("eventlet.hubs"), "_threadlocal", None), "hub", None)


def in_trio() -> bool:
    return _trio_here() is not None


def hub_here() -> "HubHome | EventletHome | None":
    """This thread's hub of green threads, if it has one."""
    hub = _gevent_hub()
    if hub is not None:
        return HubHome(hub)
    hub = _eventlet_hub()
    return EventletHome.of(hub) if hub is not None else None


def _hub_to_come() -> "HubHome | EventletHome | None":
    """The hub that this thread is going to have: the program has replaced the blocking calls."""
    is_patched = getattr(sys.modules.get("gevent.monkey"), "is_module_patched", None)
    if is_patched and is_patched("socket"):
        return HubHome(sys.modules["gevent"].get_hub())
    is_patched = getattr(sys.modules.get("eventlet.patcher"), "is_monkey_patched", None)
    if is_patched and is_patched("socket"):
        return EventletHome.of(sys.modules["eventlet.hubs"].get_hub())
    return None


def here() -> "Home | None":
    """The home of what is registered now, in this thread."""
    loop = running_loop()
    if loop is not None:
        return LoopHome(loop)
    token = _trio_here()
    if token is not None:
        return TrioHome(token)
    return hub_here() or _hub_to_come()


def greenlet() -> "Any":
    """The green thread that runs, under a hub; None elsewhere."""
    return None if hub_here() is None else sys.modules["greenlet"].getcurrent()


def home_of_main_thread() -> "LoopHome | None":
    """The asyncio loop that the main thread runs, as far as Python frames show it. Any thread."""
    threading = sys.modules.get("threading")
    if threading is None or "asyncio.events" not in sys.modules:
        return None
    if not has_gil():
        return _home_by_thread(threading.main_thread().ident)
    frame = sys._current_frames().get(threading.main_thread().ident)
    while frame is not None:
        # Locals are read of asyncio's own frames alone.
        if frame.f_globals.get("__name__") in ("asyncio.base_events", "asyncio.runners"):
            owner: Any = frame.f_locals.get("self")
            loop = getattr(owner, "_loop", owner)  # a Runner's, or the loop itself
            if hasattr(loop, "call_soon_threadsafe") and loop.is_running():
                return LoopHome(loop)
        frame = frame.f_back
    return None


def _home_by_thread(thread: "int | None") -> "LoopHome | None":
    """As far as the loop knows its thread, as asyncio's own do."""
    import gc

    base = getattr(sys.modules.get("asyncio.base_events"), "BaseEventLoop", None)
    loops: list[Any] = [one for one in gc.get_objects() if base is not None and base in type(one).__mro__]
    return next((LoopHome(one) for one in loops if one.is_running() and one._thread_id == thread), None)


def is_coroutine_function(func: "Any") -> bool:
    """inspect.iscoroutinefunction(), also of a partial() or an object with such a __call__; imports nothing."""
    while hasattr(func, "func") and not hasattr(func, "__code__"):
        func = func.func
    code = getattr(func, "__code__", None)  # of a bound method too
    if code is None:
        code = getattr(vars(type(func)).get("__call__"), "__code__", None)
    return bool(getattr(code, "co_flags", 0) & 0x80)  # CO_COROUTINE


# ---- coroutines ----

_tasks: "set[Any]" = set()  # asyncio holds its tasks weakly


def keep(task: "Any") -> "Any":
    """Keep a task alive until it is done."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def awaited(value: "Awaitable[object]") -> "BaseException | None":
    try:
        await value
    except BaseException as error:  # past the loop, which a SystemExit would end
        return error
    return None
