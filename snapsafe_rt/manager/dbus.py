"""org.snapsafe.Manager1: the manager's locks on D-Bus, with the names and ways of logind, org.freedesktop.login1(5).

A process of its own, so that the manager needs neither a bus nor a library for it. Each lock here is a connection to
the manager, and the descriptor that Inhibit returns is the write end of a pipe: when its last copy is closed, so is
that connection. jeepney makes and reads the messages; asyncio waits for bus, manager and pipes.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from jeepney import (  # type: ignore  # untyped
    DBusAddress,
    HeaderFields,
    Message,
    MessageFlag,
    MessageType,
    message_bus,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore

from snapsafe_rt import settings, varlink
from snapsafe_rt.errors import NOT_PERMITTED, OK, Failure

NAME = "org.snapsafe.Manager1"
PATH = "/org/snapsafe/Manager1"
AGAIN_SECONDS = 1.0  # a manager that is not there is looked for
BUS_SECONDS = 10.0  # for the bus to take us, and for each of its answers
LOCKS_MOST, LOCKS_OF_ONE_USER = 2048, 512
ANSWER_MOST = 8 << 20  # bytes; of ListInhibitors
PASSED_MOST = 256  # descriptors that may come along with a message: jeepney's own limit, and above the kernel's
UNKNOWN = "unknown"  # state, while there is no manager

_DO_NOT_QUEUE, _PRIMARY_OWNER = 4, 1  # of RequestName, and of its reply
_BUS = "org.freedesktop.DBus"
_FAILED = f"{_BUS}.Error."
_PROPERTIES = f"{_BUS}.Properties"
_ERRORS = {"PermissionDenied": f"{_FAILED}AccessDenied", "InvalidParameter": f"{_FAILED}InvalidArgs"}

# What each takes, and what it answers. The methods of Facade that answer have the names of these.
_METHODS = {
    (NAME, "Inhibit"): ("what:s who:s why:s mode:s", "lock:h"),
    (NAME, "ListInhibitors"): ("", "inhibitors:a(ssssuu)"),
    (_PROPERTIES, "Get"): ("interface:s name:s", "value:v"),
    (_PROPERTIES, "Set"): ("interface:s name:s value:v", ""),
    (_PROPERTIES, "GetAll"): ("interface:s", "values:a{sv}"),
    (f"{_BUS}.Introspectable", "Introspect"): ("", "xml:s"),
    (f"{_BUS}.Peer", "Ping"): ("", ""),
    (f"{_BUS}.Peer", "GetMachineId"): ("", "id:s"),
}
_SIGNALS = {
    (NAME, "PrepareForSnapshot"): "start:b",
    (_PROPERTIES, "PropertiesChanged"): "interface:s changed:a{sv} invalidated:as",
}


def _signature(named: str) -> str:
    return "".join(one.partition(":")[2] for one in named.split())


def _arguments(named: str, direction: str = "") -> str:
    pairs = [one.split(":") for one in named.split()]
    return "".join(f'<arg name="{name}" type="{kind}"{direction}/>' for name, kind in pairs)


def _introspection(properties: "dict[str, tuple[str, Any]]") -> str:
    inside: dict[str, str] = {}
    for (interface, name), (given, answer) in _METHODS.items():
        arguments = _arguments(given, ' direction="in"') + _arguments(answer, ' direction="out"')
        inside[interface] = inside.get(interface, "") + f'<method name="{name}">{arguments}</method>'
    for (interface, name), told in _SIGNALS.items():
        inside[interface] += f'<signal name="{name}">{_arguments(told)}</signal>'
    for name, (kind, _) in properties.items():
        inside[NAME] += f'<property name="{name}" type="{kind}" access="read"/>'
    interfaces = [f'<interface name="{name}">{text}</interface>' for name, text in inside.items()]
    return f"<node>{''.join(interfaces)}</node>"


class Gone(Exception):
    """There is no manager, or no longer the one that was connected."""


class Refused(Exception):
    """The answer is an error of this name, with a text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Link:
    """A connection to the manager."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: str, *, trusted: bool = False) -> "Link":
        """Raises Gone. `trusted`: by the socket for root and the manager's own user, where one takes us."""
        why: object = ""
        for way in (path + settings.TRUSTED, path) if trusted else (path,):
            try:
                return cls(*await asyncio.open_unix_connection(way, limit=ANSWER_MOST))
            except OSError as error:
                why = error.strerror or error
        raise Gone(f"no manager at {path} ({why})")

    def close(self) -> None:
        self._writer.close()

    @property
    def alive(self) -> bool:
        return not self._reader.at_eof()

    def send(self, method: str, *, more: bool = False, **parameters: Any) -> None:
        self._writer.write(varlink.call(method, parameters, more=more))

    async def receive(self) -> "dict[str, Any]":
        """The parameters of the next answer. Raises Gone, Refused."""
        try:
            name, parameters = varlink.reply((await self._reader.readuntil(varlink.END))[:-1])
        except (OSError, EOFError, asyncio.LimitOverrunError, varlink.Malformed):
            raise Gone("the manager has gone") from None
        if name:
            told = ", ".join(f"{key}: {value}" for key, value in parameters.items())
            raise Refused(_ERRORS.get(name, f"{NAME}.{name}"), told or name)
        return parameters

    async def call(self, method: str, **parameters: Any) -> "dict[str, Any]":
        self.send(method, **parameters)
        return await self.receive()


class Bus:
    """A connection to the bus that has its name already. `called`: with each call that comes; `lost` is done when the
    connection has ended. Messages are sent at once, for the bus reads always: one that does not is lost as well."""

    def __init__(self, connection: DBusConnection, called: "Callable[[Message], None]") -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._parser = connection.parser
        self._called = called
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._serials = itertools.count(1 << 16)  # above those of the handshake
        connection.sock.settimeout(BUS_SECONDS)
        asyncio.get_running_loop().add_reader(connection.sock, self._readable)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection.sock)
        self._connection.close()

    def send(self, message: Message) -> None:
        try:
            self._connection.send(message, serial=next(self._serials))
        except OSError:
            self._lose()

    async def ask(self, message: Message) -> Message:
        """The reply. Raises TimeoutError."""
        serial = next(self._serials)
        self._answers[serial] = answer = asyncio.get_running_loop().create_future()
        try:
            self._connection.send(message, serial=serial)
            return await asyncio.wait_for(answer, BUS_SECONDS)
        finally:
            del self._answers[serial]

    def _readable(self) -> None:
        try:
            data = self._connection.sock.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._parser.add_data(data)
        while True:
            # recv(2) drops the descriptors that come along, which nobody here wants: these stand for them.
            self._parser.fds = [None] * PASSED_MOST
            before = self._parser.buf.bytes_buffered
            try:
                message = self._parser.get_next_message()
            except Exception:  # whatever its parser makes of what it does not know; the bus has checked the rest
                self._parser.next_msg_size = None
                if self._parser.buf.bytes_buffered == before:  # no message at all: there is no telling where one begins
                    self._lose()
                    return
                continue
            if message is None:
                return
            self._take(message)

    def _take(self, message: Message) -> None:
        if message.header.message_type is MessageType.method_call:
            self._called(message)
            return
        answer = self._answers.get(message.header.fields.get(HeaderFields.reply_serial, 0))
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _lose(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection.sock)
        if not self.lost.done():
            self.lost.set_result(None)


class Facade:
    """`connection`: to the bus, where it has the name; `path`: of the manager's socket."""

    def __init__(self, connection: DBusConnection, path: str) -> None:
        self.bus = Bus(connection, self._called)
        self._path = path
        self._locks: dict[int, tuple[dict[str, Any], Link]] = {}  # by the pipe's end: what was asked for, and where
        self._of_user: Counter[int] = Counter()  # locks that are held, or being asked for
        self._tasks: set[asyncio.Task[None]] = set()
        self._state = UNKNOWN
        self._preparing = False
        self._delay_max = 0.0

    # ---- what is on the bus ----

    def _called(self, message: Message) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message) -> None:
        fields = message.header.fields
        signature, values = "", ()
        try:
            method, signature = self._find(fields)
            values = await getattr(self, method)(message)
            reply = new_method_return(message, signature or None, values)
        except Refused as refused:
            reply = new_error(message, refused.name, "s", (str(refused),))
        try:
            if not message.header.flags & MessageFlag.no_reply_expected:
                self.bus.send(reply)
        finally:
            if signature == "h" and values:
                os.close(values[0])

    def _find(self, fields: "dict[HeaderFields, Any]") -> "tuple[str, str]":
        """The method, and the signature of what it returns. Raises Refused."""
        path, member = fields[HeaderFields.path], fields[HeaderFields.member]
        interface = fields.get(HeaderFields.interface)
        named = next((one for one in _METHODS if one[1] == member and interface in (None, one[0])), None)
        if path != PATH and not (_above(path) and member in ("Introspect", "Ping", "GetMachineId")):
            raise Refused(f"{_FAILED}UnknownObject", f"nothing is at {path}")
        if named is None:
            raise Refused(f"{_FAILED}UnknownMethod", f"no method {member} of {interface or 'any interface'} here")
        given, answer = _METHODS[named]
        if fields.get(HeaderFields.signature, "") != _signature(given):
            raise Refused(f"{_FAILED}InvalidArgs", f"{member} takes {given or 'nothing'}")
        return member, _signature(answer)

    async def ListInhibitors(self, _: Message) -> "tuple[Any, ...]":
        names = "what", "who", "why", "mode", "uid", "pid"
        found = (await self._ask("ListInhibitors"))["inhibitors"]
        return ([tuple(one[name] & 0xFFFFFFFF if name == "uid" else one[name] for name in names) for one in found],)

    def _properties(self) -> "dict[str, tuple[str, Any]]":
        return {
            "State": ("s", self._state),
            "PreparingForSnapshot": ("b", self._preparing),
            "InhibitDelayMaxUSec": ("t", round(self._delay_max * 1e6)),
        }

    async def Get(self, message: Message) -> "tuple[Any, ...]":
        interface, name = message.body
        if interface not in (NAME, "") or name not in self._properties():
            raise Refused(f"{_FAILED}UnknownProperty", f"no property {name} of {interface} here")
        return (self._properties()[name],)

    async def Set(self, message: Message) -> "tuple[Any, ...]":
        raise Refused(f"{_FAILED}PropertyReadOnly", f"{message.body[1]} cannot be set")

    async def GetAll(self, message: Message) -> "tuple[Any, ...]":
        return (self._properties() if message.body[0] in (NAME, "") else {},)

    async def Introspect(self, message: Message) -> "tuple[Any, ...]":
        path = message.header.fields[HeaderFields.path]
        if path == PATH:
            return (_introspection(self._properties()),)
        child = PATH.removeprefix(path).strip("/").partition("/")[0]
        return (f'<node><node name="{child}"/></node>',)

    async def Ping(self, _: Message) -> "tuple[Any, ...]":
        return ()

    async def GetMachineId(self, _: Message) -> "tuple[Any, ...]":
        with contextlib.suppress(OSError), open("/etc/machine-id", encoding="ascii") as file:
            return (file.read().strip(),)
        raise Refused(f"{_FAILED}Failed", "this machine has no /etc/machine-id")

    def _signal(self, interface: str, name: str, *values: Any) -> None:
        signature = _signature(_SIGNALS[interface, name])
        self.bus.send(new_signal(DBusAddress(PATH, interface=interface), name, signature, values))

    async def _ask(self, method: str, **parameters: Any) -> "dict[str, Any]":
        try:
            link = await Link.open(self._path)
            with contextlib.closing(link):
                return await link.call(method, **parameters)
        except Gone as gone:
            raise Refused(f"{NAME}.NoManager", str(gone)) from None

    # ---- locks ----

    async def Inhibit(self, message: Message) -> "tuple[Any, ...]":
        """Returns the descriptor that is the lock."""
        uid, pid = await self._caller(message.header.fields.get(HeaderFields.sender, ""))
        mine = self._of_user[uid]
        if self._of_user.total() >= LOCKS_MOST or (uid != 0 and mine >= LOCKS_OF_ONE_USER):
            raise Refused(f"{_FAILED}LimitsExceeded", f"{mine} locks are held by user {uid}")
        self._of_user[uid] += 1  # before anything is waited for
        try:
            return await self._take_lock(message.body, uid, pid)
        except BaseException:
            self._of_user[uid] -= 1
            raise

    async def _take_lock(self, body: "tuple[Any, ...]", uid: int, pid: int) -> "tuple[int]":
        what, who, why, mode = body
        parameters = {"what": what, "who": who, "why": why, "mode": mode, "uid": uid, "pid": pid}
        try:
            link = await Link.open(self._path, trusted=uid == 0)
            try:
                await link.call("Inhibit", **parameters)
            except BaseException:
                link.close()
                raise
        except Gone as gone:
            raise Refused(f"{NAME}.NoManager", str(gone)) from None
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._locks[ours] = parameters, link
        asyncio.get_running_loop().add_reader(ours, self._readable, ours)
        return (theirs,)

    async def _caller(self, sender: str) -> "tuple[int, int]":
        denied = Refused(f"{_FAILED}AccessDenied", f"the bus does not tell who {sender} is")
        try:
            reply = await self.bus.ask(message_bus.GetConnectionCredentials(sender))
        except (OSError, asyncio.TimeoutError):
            raise denied from None
        if reply.header.message_type is not MessageType.method_return:
            raise denied
        told = {name: value for name, (_, value) in reply.body[0].items()}
        return told["UnixUserID"], told.get("ProcessID", 0)

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
        asked, link = self._locks.pop(fd)
        self._of_user[asked["uid"]] -= 1
        link.close()

    def close(self) -> None:
        for fd in list(self._locks):
            self._release(fd)

    async def _take_locks_again(self) -> None:
        """A manager that was restarted knows of no lock; while a snapshot is being taken it gives none."""
        for fd, (asked, old) in list(self._locks.items()):
            if old.alive:
                continue
            link = await Link.open(self._path, trusted=asked["uid"] == 0)
            held = False
            try:
                with contextlib.suppress(Refused):
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
                link = await Link.open(self._path, trusted=True)
                with contextlib.closing(link):
                    self._delay_max = (await link.call("Describe"))["inhibitDelayMax"]
                    link.send("Monitor", more=True)
                    while True:
                        state = (await link.receive())["state"]
                        self._tell(state)
                        if state == "running":
                            await self._take_locks_again()
            self._tell(UNKNOWN)
            await asyncio.sleep(AGAIN_SECONDS)

    def _tell(self, state: str) -> None:
        if state == self._state:
            return
        self._state = state
        preparing = state in ("quiescing", "quiesced")
        changed: dict[str, tuple[str, Any]] = {"State": ("s", state)}
        if preparing != self._preparing:
            self._preparing = preparing
            changed["PreparingForSnapshot"] = ("b", preparing)
            self._signal(NAME, "PrepareForSnapshot", preparing)
        self._signal(_PROPERTIES, "PropertiesChanged", NAME, changed, [])


def _above(path: str) -> bool:
    """Is it on the way to our object?"""
    return PATH.startswith(path if path.endswith("/") else path + "/")


def _connect(address: str) -> DBusConnection:
    """With our name. Raises Failure."""
    try:
        connection = open_dbus_connection(
            {"system": "SYSTEM", "session": "SESSION"}.get(address, address), enable_fds=True, auth_timeout=BUS_SECONDS
        )
    except (OSError, ValueError, RuntimeError, KeyError, StopIteration) as error:
        raise Failure(f"no bus at {address} ({error}): is dbus-daemon or dbus-broker running?") from None
    try:
        reply = connection.send_and_get_reply(message_bus.RequestName(NAME, _DO_NOT_QUEUE), timeout=BUS_SECONDS)
        if reply.header.message_type is MessageType.error:
            way = "`snapsafe manager --print org.snapsafe.Manager1.conf` prints the policy"
            raise Failure(f"{NAME} is not permitted here ({reply.body[0]}): {way}", NOT_PERMITTED)
        if reply.body[0] != _PRIMARY_OWNER:
            raise Failure(f"{NAME} is another's on this bus: end that one")
    except OSError as error:
        connection.close()
        raise Failure(f"the bus at {address} does not answer ({error})") from None
    except Failure:
        connection.close()
        raise
    return connection


async def _serve(connection: DBusConnection, path: str) -> int:
    facade = Facade(connection, path)
    try:
        following = asyncio.create_task(facade.follow())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, following.cancel)
        await asyncio.wait((following, facade.bus.lost), return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            following.cancel()
            raise Failure("the bus has gone")
        if not following.cancelled():
            await following  # what went wrong
        return OK
    finally:
        facade.close()
        facade.bus.close()
        await asyncio.sleep(0)  # for what was closed to be closed


def run(address: str, path: str) -> int:
    """Until SIGTERM or SIGINT, or the bus is gone. Raises Failure."""
    return asyncio.run(_serve(_connect(address), path))
