"""systemd-logind as the announcer of snapshots (SNAPSAFE_LIFECYCLE=logind), for hosts that suspend a guest to snapshot
it: its delay lock on sleep, and PrepareForSleep. systemd docs/INHIBITOR_LOCKS.md; org.freedesktop.login1(5).

jeepney makes and reads the messages and opens nothing. The watcher has the connection and, passed on it, the descriptor
that is the lock. Nothing is detached for the sleep: it is the whole machine that stands still.
"""

import os

from snapsafe_rt.core import native
from snapsafe_rt.restore import events
from snapsafe_rt.restore.watcher import entry
from snapsafe_rt.snapshot import announcers
from snapsafe_rt.snapshot.announcers import ABSENT, HEARD, UNTRUSTED
from snapsafe_rt.snapshot.machine import RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from snapsafe_rt.restore.watcher import Item

MISSING = "SNAPSAFE_LIFECYCLE=logind takes jeepney, which is not installed: pip install 'snapsafe-rt[dbus]'"

# As sd-bus does it: the user is the socket's, and all lines are sent without waiting for an answer (systemd
# src/libsystemd/sd-bus/bus-socket.c).
_AUTH = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
_AUTH_ANSWERS = 3
_HELLO, _MATCH, _OWNER, _FIRST_ASKED = 1, 2, 3, 4  # serials
_PASSED = 8  # descriptors that may come along. The watcher keeps them in its own table; the parser gets None instead


def make(why: str) -> "Logind | None":
    """None where the library is missing."""
    try:
        import jeepney  # type: ignore  # noqa: F401 - untyped
    except ImportError:
        return None
    return Logind(why)


class Logind(announcers.Announcer):
    def __init__(self, why: str) -> None:
        from jeepney import DBusAddress, MatchRule, message_bus, new_method_call
        from jeepney.bus import find_system_bus  # type: ignore
        from jeepney.low_level import Parser  # type: ignore

        self._new_parser = Parser
        login = DBusAddress("/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager")
        properties = login.with_interface("org.freedesktop.DBus.Properties")
        rule = MatchRule(type="signal", sender=login.bus_name, interface=login.interface, path=login.object_path)
        owner = MatchRule(type="signal", sender=message_bus.bus_name, member="NameOwnerChanged")
        owner.add_arg_condition(0, login.bus_name)
        self._begin = b"".join(
            (
                _AUTH,
                message_bus.Hello().serialise(_HELLO),
                message_bus.AddMatch(rule).serialise(_MATCH),
                message_bus.AddMatch(owner).serialise(_OWNER),
            )
        )
        ask = new_method_call(login, "Inhibit", "ssss", ("sleep", announcers.who(), why, "delay"))
        look = new_method_call(properties, "Get", "ss", (login.interface, "PreparingForSleep"))
        self._questions = {True: ask, False: look}
        self._asked = _FIRST_ASKED  # serial. It is in the greeting, so that another number makes the watcher reconnect
        bus = self._no_bus = ""
        try:
            bus = find_system_bus().replace("\0", "@")
        except (RuntimeError, ValueError) as error:
            self._no_bus = f"DBUS_SYSTEM_BUS_ADDRESS: {error}"
        super().__init__(bus)
        self._stream: Any = None
        self._lines = 0
        self._held = False
        self._on = True

    def connection(self, phase: str) -> "tuple[str, bytes, bool] | None":
        if self._no_bus or (self._refused() and phase == RUNNING):
            return None
        return self.path, self._begin + self._questions[phase == RUNNING].serialise(self._asked), False

    def paths(self, phase: str) -> "list[Item]":
        if not self.path.startswith("/"):
            return []
        item = entry(self.path, announcers.look(self.path), announcer=True)
        return [item] if item is not None else []

    def hear(self) -> str:
        for message in self._messages():
            told = self._judge(message)
            if told:
                return told
        return ""

    def _judge(self, message: "Any") -> str:
        kind, fields = message.header.message_type.name, _fields(message)
        if kind == "signal" and fields.get("member") == "PrepareForSleep" and message.body:
            self._on = bool(message.body[0])
            if self._on and self._held:
                self.snapshot += 1
                return "announced"
        elif kind == "signal" and fields.get("member") == "NameOwnerChanged" and message.body:
            if message.body[2] and not self._held:
                self._asked += 1
        elif fields.get("reply_serial") == self._asked and kind == "method_return":
            self._held = True
            if message.body and isinstance(message.body[0], tuple):  # the property, a variant
                self._on = bool(message.body[0][1])
        elif fields.get("reply_serial") is not None and kind == "error":
            name = str(fields.get("error_name", ""))
            if name.endswith(".OperationInProgress"):
                return "late"
            if name.endswith(".ServiceUnknown"):
                self._on = False
            else:
                self._refuse(f"systemd-logind gives no lock ({name[:100]})")
        return ""

    def _messages(self) -> "list[Any]":
        data = native.connection_take()
        if data.startswith(b"DATA"):  # a connection's first word
            self._stream, self._lines, self._held = self._new_parser(), 0, False
            self._stream.add_data(b"", (None,) * _PASSED)
        elif data.startswith(b"REJECTED"):
            self._refuse("the bus does not take this user")
        if self._stream is None:
            return []
        while self._lines < _AUTH_ANSWERS and b"\r\n" in data:
            line, _, data = data.partition(b"\r\n")
            self._lines += 1
            if line.startswith((b"REJECTED", b"ERROR")):
                self._refuse(f"the bus answers {line[:60].decode('ascii', 'replace')}")
                self._stream = None
                return []
        try:
            messages: list[Any] = self._stream.feed(data)
            return messages
        except Exception as error:  # whatever its parser makes of what is no message
            self._stream = None
            self._refuse(f"what the bus says is not understood ({error})")
            return []

    def farewell(self, errors: "list[str]") -> None:
        """None: the lock is released by closing the connection, and logind takes no message with that."""

    def still_on(self) -> bool:
        """A restore counts as the end as well, for logind may forget to tell of it (systemd issue 30666)."""
        for message in self._messages():
            self._judge(message)
        gone = native.connection_state()[0] in (ABSENT, UNTRUSTED)
        return self._on and not gone and not self._refused() and not events.pending()

    def over(self) -> None:
        self._on = True

    def reason(self, state: str, error: int) -> str:
        if state == HEARD and self._held:
            return ""
        refused = self._no_bus or self._refused()
        if refused:
            return refused
        if state == ABSENT:
            return f"no system bus at {self.path} ({os.strerror(error)})"
        if state == UNTRUSTED:
            return f"who listens at {self.path} is another user, who is not root"
        return "systemd-logind does not run, or has not answered yet"


def _fields(message: "Any") -> "dict[str, Any]":
    return {field.name: value for field, value in message.header.fields.items()}
