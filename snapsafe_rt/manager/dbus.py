"""org.snapsafe.Manager1: the manager's locks on D-Bus, with the names and ways of logind, org.freedesktop.login1(5).

A process of its own, so that the manager needs neither a bus nor a library for it. Each lock here is a connection to
the manager, and the descriptor that Inhibit returns is the write end of a pipe: when its last copy is closed, so is
that.
"""

import asyncio
import contextlib
import json
import os
import signal
from typing import Annotated, Any

from dbus_fast import BusType, DBusError, Message, MessageType, NameFlag, PropertyAccess, RequestNameReply, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusSignature, DBusStr, DBusUInt64, DBusUnixFd
from dbus_fast.errors import AuthError
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from snapsafe_rt.errors import NOT_PERMITTED, OK, Failure

NAME = "org.snapsafe.Manager1"
PATH = "/org/snapsafe/Manager1"
INTERFACE = "org.snapsafe.Manager."  # of the manager
AGAIN_SECONDS = 1.0  # a manager that is not there is looked for
LOCKS_MOST, LOCKS_OF_ONE_USER = 2048, 512
ANSWER_MOST = 8 << 20  # bytes; of ListInhibitors
UNKNOWN = "unknown"  # state, while there is no manager

Inhibitors = Annotated[list[list[Any]], DBusSignature("a(ssssuu)")]

_ERRORS = {
    "PermissionDenied": "org.freedesktop.DBus.Error.AccessDenied",
    "InvalidParameter": "org.freedesktop.DBus.Error.InvalidArgs",
}


class Gone(Exception):
    """There is no manager, or no longer the one that was connected."""


class Link:
    """A connection to the manager."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: str) -> "Link":
        """Raises Gone."""
        try:
            return cls(*await asyncio.open_unix_connection(path, limit=ANSWER_MOST))
        except OSError as error:
            raise Gone(f"no manager at {path} ({error.strerror or error})") from None

    def close(self) -> None:
        self._writer.close()

    @property
    def alive(self) -> bool:
        return not self._reader.at_eof()

    def send(self, method: str, *, more: bool = False, **parameters: Any) -> None:
        message = {"method": INTERFACE + method, "parameters": parameters, "more": more}
        self._writer.write(json.dumps(message).encode() + b"\0")

    async def receive(self) -> "dict[str, Any]":
        """The parameters of the next answer. Raises Gone, DBusError."""
        try:
            answer = json.loads((await self._reader.readuntil(b"\0"))[:-1])
        except (OSError, EOFError, asyncio.LimitOverrunError):
            raise Gone("the manager has gone") from None
        parameters: dict[str, Any] = answer["parameters"]
        if "error" in answer:
            name = answer["error"].rpartition(".")[2]
            told = ", ".join(f"{key}: {value}" for key, value in parameters.items())
            raise DBusError(_ERRORS.get(name, f"{NAME}.{name}"), told or name)
        return parameters

    async def call(self, method: str, **parameters: Any) -> "dict[str, Any]":
        self.send(method, **parameters)
        return await self.receive()


class Facade(ServiceInterface):
    def __init__(self, bus: MessageBus, path: str) -> None:
        super().__init__(NAME)
        self._bus = bus
        self._path = path
        self._locks: dict[int, tuple[dict[str, Any], Link]] = {}  # by the pipe's end: what was asked for, and where
        self._tasks: set[asyncio.Task[None]] = set()
        self._state = UNKNOWN
        self._preparing = False
        self._delay_max = 0.0

    # ---- what is on the bus ----

    @dbus_method()
    def Inhibit(self, what: DBusStr, who: DBusStr, why: DBusStr, mode: DBusStr) -> DBusUnixFd:
        """For introspection: received() answers it, for it needs to know who calls."""
        raise NotImplementedError

    @dbus_method()
    async def ListInhibitors(self) -> Inhibitors:
        found = (await self._ask("ListInhibitors"))["inhibitors"]
        return [
            [one["what"], one["who"], one["why"], one["mode"], one["uid"] & 0xFFFFFFFF, one["pid"]] for one in found
        ]

    @dbus_signal()
    def PrepareForSnapshot(self, start: bool) -> DBusBool:
        return start

    @dbus_property(access=PropertyAccess.READ)
    def State(self) -> DBusStr:
        return self._state

    @dbus_property(access=PropertyAccess.READ)
    def PreparingForSnapshot(self) -> DBusBool:
        return self._preparing

    @dbus_property(access=PropertyAccess.READ)
    def InhibitDelayMaxUSec(self) -> DBusUInt64:
        return round(self._delay_max * 1e6)

    def received(self, message: Message) -> "bool | None":
        """Each message, before dbus-fast sees it. True: it is answered here."""
        for fd in message.unix_fds:  # nobody here wants one
            os.close(fd)
        meant = message.message_type is MessageType.METHOD_CALL and message.interface in (NAME, None)
        if not meant or (message.path, message.member, message.signature) != (PATH, "Inhibit", "ssss"):
            return None
        task = asyncio.get_running_loop().create_task(self._inhibit(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _ask(self, method: str, **parameters: Any) -> "dict[str, Any]":
        try:
            link = await Link.open(self._path)
            with contextlib.closing(link):
                return await link.call(method, **parameters)
        except Gone as gone:
            raise DBusError(f"{NAME}.NoManager", str(gone)) from None

    # ---- locks ----

    async def _inhibit(self, message: Message) -> None:
        try:
            fd = await self._take(message)
        except DBusError as error:
            self._bus.send(Message.new_error(message, error.type, error.text))
            return
        try:
            await self._bus.send(Message.new_method_return(message, "h", [0], unix_fds=[fd]))
        finally:
            os.close(fd)

    async def _take(self, message: Message) -> int:
        """Returns the descriptor that is the lock. Raises DBusError."""
        uid, pid = await self._caller(message.sender or "")
        mine = sum(asked["uid"] == uid for asked, _ in self._locks.values())
        if len(self._locks) >= LOCKS_MOST or (uid != 0 and mine >= LOCKS_OF_ONE_USER):
            raise DBusError("org.freedesktop.DBus.Error.LimitsExceeded", f"{mine} locks are held by user {uid}")
        what, who, why, mode = message.body
        parameters = {"what": what, "who": who, "why": why, "mode": mode, "uid": uid, "pid": pid}
        try:
            link = await Link.open(self._path)
            try:
                await link.call("Inhibit", **parameters)
            except BaseException:
                link.close()
                raise
        except Gone as gone:
            raise DBusError(f"{NAME}.NoManager", str(gone)) from None
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._locks[ours] = parameters, link
        asyncio.get_running_loop().add_reader(ours, self._readable, ours)
        return theirs

    async def _caller(self, sender: str) -> "tuple[int, int]":
        reply = await self._bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="GetConnectionCredentials",
                signature="s",
                body=[sender],
            )
        )
        if reply.message_type is not MessageType.METHOD_RETURN:
            raise DBusError("org.freedesktop.DBus.Error.AccessDenied", f"the bus does not tell who {sender} is")
        told: dict[str, Variant] = reply.body[0]
        return told["UnixUserID"].value, told["ProcessID"].value if "ProcessID" in told else 0

    def _readable(self, fd: int) -> None:
        """Closed by all who had it; or somebody wrote to it, which says nothing."""
        try:
            if os.read(fd, 4096):
                return
        except BlockingIOError:
            return
        self._release(fd)

    def _release(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        _, link = self._locks.pop(fd)
        link.close()

    def close(self) -> None:
        for fd in list(self._locks):
            self._release(fd)

    async def _take_again(self) -> None:
        """A manager that was restarted knows of no lock; while a snapshot is being taken it gives none."""
        for fd, (asked, old) in list(self._locks.items()):
            if old.alive:
                continue
            link = await Link.open(self._path)
            held = False
            try:
                with contextlib.suppress(DBusError):
                    await link.call("Inhibit", **asked)
                    held = self._locks.get(fd, (None, None))[1] is old  # else released, and the number is another's
                    if held:
                        self._locks[fd] = asked, link
            finally:
                if not held:
                    link.close()

    # ---- states ----

    async def follow(self) -> None:
        """Until it is cancelled."""
        while True:
            with contextlib.suppress(Gone):
                link = await Link.open(self._path)
                with contextlib.closing(link):
                    self._delay_max = (await link.call("Describe"))["inhibitDelayMax"]
                    link.send("Monitor", more=True)
                    while True:
                        state = (await link.receive())["state"]
                        self._tell(state)
                        if state == "running":
                            await self._take_again()
            self._tell(UNKNOWN)
            await asyncio.sleep(AGAIN_SECONDS)

    def _tell(self, state: str) -> None:
        if state == self._state:
            return
        self._state = state
        preparing = state in ("quiescing", "quiesced")
        changed: dict[str, Any] = {"State": state}
        if preparing != self._preparing:
            self._preparing = preparing
            self.PrepareForSnapshot(preparing)
        self.emit_properties_changed(changed, [])


async def _serve(address: str, path: str) -> int:
    which = {"system": BusType.SYSTEM, "session": BusType.SESSION}.get(address)
    bus = MessageBus(None if which else address, which or BusType.SESSION, negotiate_unix_fd=True)
    try:
        await bus.connect()
    except (OSError, AuthError, ValueError) as error:
        raise Failure(f"no bus at {address} ({error}): is dbus-daemon or dbus-broker running?") from None
    facade = Facade(bus, path)
    try:
        return await _stay(bus, facade)
    finally:
        facade.close()
        bus.disconnect()
        await asyncio.sleep(0)  # for what was closed to be closed


async def _gone(bus: MessageBus) -> None:
    with contextlib.suppress(Exception):  # whatever it is, we go
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]


async def _stay(bus: MessageBus, facade: Facade) -> int:
    bus.add_message_handler(facade.received)
    bus.export(PATH, facade)
    try:
        owned = await bus.request_name(NAME, NameFlag.DO_NOT_QUEUE)
    except DBusError as error:
        raise Failure(
            f"{NAME} is not permitted here ({error.text}): `snapsafe manager --print org.snapsafe.Manager1.conf` "
            "prints the policy",
            NOT_PERMITTED,
        ) from None
    if owned is not RequestNameReply.PRIMARY_OWNER:
        raise Failure(f"{NAME} is another's on this bus: end that one")
    following = asyncio.create_task(facade.follow())
    closed = asyncio.create_task(_gone(bus))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, following.cancel)
    await asyncio.wait((following, closed), return_when=asyncio.FIRST_COMPLETED)
    if not following.done():
        following.cancel()
        raise Failure("the bus has gone")
    if not following.cancelled():
        await following  # what went wrong
    return OK


def run(address: str, path: str) -> int:
    """Until SIGTERM or SIGINT, or the bus is gone. Raises Failure."""
    return asyncio.run(_serve(address, path))
