"""What the manager answers over Varlink, as introspection shows it, and how a call finds its method.

Descriptors go with the first byte of a reply, and the reply has their index, as sd-varlink does it (systemd
src/libsystemd/sd-varlink).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from snapsafe_rt import varlink
from snapsafe_rt.varlink import MANAGER, SERVICE, Malformed

MESSAGE_MOST = 16384  # bytes; the largest request holds 512 bytes of entropy

INTERFACE = """\
# Tells programs of this machine or container that it was restored from a snapshot.
interface org.snapsafe.Manager

# Somebody who is to be asked before a snapshot (mode delay), or does not let it be taken (block). uid, pid: of the
# process that holds the lock.
type Inhibitor (what: string, who: string, why: string, mode: string, uid: int, pid: int)

# One that was announced. at: seconds since 1970; the other times in seconds, null while it is not so far. late: who was
# waited for in vain. restored: a restore was published before the machine ran again. ended: unquiesced, restored (a
# restore was noticed), overdue (nobody called Unquiesce), failed (a callback did), abandoned (who called Quiesce went),
# not frozen (the programs of --freeze did not stand still), not told (programs would have gone on too early).
type Snapshot (
  number: int,
  at: float,
  quiesceSeconds: ?float,
  quiescedSeconds: ?float,
  unquiesceSeconds: ?float,
  late: []string,
  restored: bool,
  ended: ?string
)

type Failure (who: string, pid: int, errors: []string)

# What is watched, and what became of it. source: what tells of a restore, null if only the kernel's log or gVisor does;
# how: poll, inotify, timer, kmsg, gvisor, off. generation: of the file that is written, null while there is none.
# published: restores since the manager started; reseeded: the kernel's generator was, after the last one; lastRestore:
# seconds since 1970. state: of the machine, running, quiescing, quiesced or unquiescing; snapshot: number of the last
# one that was announced; inhibitors: how many there are; inhibitDelayMax: seconds.
method Describe() -> (
  version: string,
  pid: int,
  source: ?string,
  how: string,
  vmgenid: bool,
  file: string,
  generation: ?int,
  published: int,
  reseeded: bool,
  lastRestore: ?float,
  clients: int,
  problems: []string,
  state: string,
  snapshot: int,
  inhibitors: int,
  inhibitDelayMax: float,
  lastSnapshot: ?Snapshot
)

# The device that is watched, open for reading: the descriptor comes with the answer, at that index. source: only if it
# is this one.
method GetSource(source: ?string) -> (source: string, fileDescriptor: int)

# The machine was restored, says an agent. entropy: 16 to 512 bytes in base64, secret and different in every clone,
# which the kernel is fed with first. Takes root or the manager's own user.
method Bump(entropy: ?string) -> (generation: int, reseeded: bool)

# A snapshot is about to be taken: the programs of the cgroup of --freeze are stopped, and the answer comes when they
# stand still. They go on after a restore was published, by Thaw, or after that many seconds, then as if restored: 60 if
# not given, 3600 at the most. Takes root or the manager's own user, as does Thaw.
method Freeze(seconds: ?int) -> ()

# The snapshot was taken, or will not be. restored: this is a clone, so that it is published first.
method Thaw(restored: bool) -> ()

# To be asked before a snapshot (mode delay), or to let none be taken (block; takes root or the manager's own user).
# what: snapshot, and nothing else. The lock is this connection's: it goes when that ends, or by Ready. Who comes while
# the machine is quiescing is asked, too. uid, pid: for whom it is taken; only root or the manager's user may say.
method Inhibit(what: ?string, who: string, why: string, mode: string, uid: ?int, pid: ?int) -> (state: string)

# Answered when a snapshot is announced: to the holder of a delay lock, who has that many seconds. dump: CRIU takes it,
# and dumps no process that maps a device.
method Prepare() -> (snapshot: int, seconds: float, state: string, dump: bool)

# All is ready for the snapshot, but for these errors, and the lock is let go of.
method Ready(errors: ?[]string) -> ()

method ListInhibitors() -> (inhibitors: []Inhibitor)

# A snapshot is about to be taken. Announced to all, answered when the last delay lock is gone and the programs of
# --freeze stand still, or after that many seconds (the manager's --inhibit-delay-max, which is also the most): then
# late names those who were waited for in vain. hold: nothing but Unquiesce, and the manager's --quiesced-max, ends it,
# even if a restore is noticed. dump: for CRIU, the programs map no device meanwhile; in a snapshot of the machine they
# should, for it is what tells a clone. If the connection ends before the answer, all go on. Takes root or the manager's
# user.
method Quiesce(
  timeout: ?float,
  hold: ?bool,
  dump: ?bool
) -> (snapshot: int, late: []Inhibitor, seconds: float, frozen: bool)

# The snapshot was taken, or will not be. restored: this is a clone, so that it is published first, if no source has
# told of it; the answer says if one was published since Quiesce. Takes root or the manager's own user.
method Unquiesce(restored: ?bool) -> (restored: bool, generation: ?int, snapshot: Snapshot)

# With more: a reply for each change; who reads slowly gets the last.
method Monitor() -> (state: string, snapshot: int, generation: ?int)

# Not in this state.
error OperationInProgress (state: string)

# This lock refuses the snapshot; nobody was told of one.
error BlockedByInhibitor (who: string, why: string, uid: int, pid: int)

# Callbacks before the snapshot failed: the machine runs, and nothing is quiesced.
error CallbackFailed (failed: []Failure)

# One lock a connection.
error AlreadyInhibits ()

# This connection holds no delay lock.
error NotInhibiting ()

# The machine runs. snapshot: the last one, if any, and how it ended.
error NotQuiesced (snapshot: ?Snapshot)

# The programs were not stopped.
error NotFrozen (reason: string)

# No such device is watched here.
error NoSource (reason: string)

# The generation or the state could not be written.
error NotPublished (reason: string)
"""

VARLINK_SERVICE = """\
# The Varlink Service Interface is provided by every varlink service. It
# describes the service and the interfaces it implements.
interface org.varlink.service

# Get a list of all the interfaces a service provides and information
# about the implementation.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# Get the description of an interface that is implemented by this service.
method GetInterfaceDescription(interface: string) -> (description: string)

# The requested interface was not found.
error InterfaceNotFound (interface: string)

# The requested method was not found
error MethodNotFound (method: string)

# The interface defines the requested method, but the service does not
# implement it.
error MethodNotImplemented (method: string)

# One of the passed parameters is invalid.
error InvalidParameter (parameter: string)

# Client is denied access
error PermissionDenied ()

# Method is expected to be called with 'more' set to true, but wasn't
error ExpectedMore ()
"""


class Error(Exception):
    """The answer is this error: `name` with its interface, and its parameters."""

    def __init__(self, name: str, **parameters: Any) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


def invalid(parameter: str) -> Error:
    return Error(f"{SERVICE}InvalidParameter", parameter=parameter)


def denied() -> Error:
    return Error(f"{SERVICE}PermissionDenied")


class Reply(NamedTuple):
    """`fd`: a descriptor to pass along, owned by the reply; the parameter that names it is for the caller to add."""

    parameters: Mapping[str, Any]
    fd: int | None = None


class Client(Protocol):
    """Who calls. `uid`, `pid`: of the process that connected (SO_PEERCRED); -1 and 0 if unknown."""

    uid: int
    pid: int

    def finish(self, outcome: "Reply | Error") -> None:
        """Answer the call whose method returned None. Returns at once and raises nothing, as does tell()."""

    def follow(self, news: "Callable[[], Reply]") -> None:
        """Instead of that: send now, and at each tell(), what news() returns by then."""

    def tell(self) -> None:
        """There is news. A client that reads slowly gets the last only."""


class Call(NamedTuple):
    """A request. `more`: more than one reply is welcome."""

    method: str
    parameters: dict[str, Any]
    oneway: bool
    more: bool
    client: Client

    def take(self, **types: type) -> list[Any]:
        """The parameters of these names, None where not given. Raises Error for others and for other types. A float may
        be given as an integer, a list is one of strings."""
        for name in self.parameters:
            if name not in types:
                raise invalid(name)
        for name, kind in types.items():
            value = self.parameters.get(name)
            if value is None:
                continue
            if isinstance(value, bool):
                fits = kind is bool
            elif isinstance(value, list):
                fits = kind is list and all(isinstance(one, str) for one in value)
            else:
                fits = isinstance(value, (int, float) if kind is float else kind)
            if not fits:
                raise invalid(name)
        return [self.parameters.get(name) for name in types]


def parse(message: bytes, client: Client) -> Call:
    """Raises Malformed."""
    found = varlink.decode(message)
    method = found.get("method")
    if not isinstance(method, str):
        raise Malformed("no method")
    if found.get("upgrade"):
        raise Malformed("asks for another protocol")
    return Call(method, found["parameters"], found.get("oneway") is True, found.get("more") is True, client)


def encode(call: Call, outcome: "Reply | Error", *, continues: bool = False) -> bytes:
    """The answer to it; empty for a oneway call."""
    if call.oneway:
        return b""
    message: dict[str, Any] = {"error": outcome.name} if isinstance(outcome, Error) else {}
    message["parameters"] = outcome.parameters
    if continues:
        message["continues"] = True
    return varlink.encode(message)


Method = Callable[[Call], Reply | None]


class Service:
    """The methods of the manager, and those of org.varlink.service about them."""

    def __init__(self, product: str, version: str, methods: Mapping[str, Method]) -> None:
        self._about = {"vendor": "snapsafe_rt", "product": product, "version": version, "url": ""}
        self._interfaces = {SERVICE.rstrip("."): VARLINK_SERVICE, MANAGER.rstrip("."): INTERFACE}
        self._methods = {
            f"{SERVICE}GetInfo": self._info,
            f"{SERVICE}GetInterfaceDescription": self._description,
            **methods,
        }

    def answer(self, call: Call) -> "Reply | Error | None":
        """What to answer; None: call.client will be told later."""
        try:
            return self._find(call.method)(call)
        except Error as error:
            return error

    def _find(self, name: str) -> Method:
        interface, _, _ = name.rpartition(".")
        if interface not in self._interfaces:
            raise Error(f"{SERVICE}InterfaceNotFound", interface=interface)
        if name not in self._methods:
            raise Error(f"{SERVICE}MethodNotFound", method=name)
        return self._methods[name]

    def _info(self, call: Call) -> Reply:
        call.take()
        return Reply({**self._about, "interfaces": list(self._interfaces)})

    def _description(self, call: Call) -> Reply:
        [interface] = call.take(interface=str)
        if interface is None:
            raise invalid("interface")
        if interface not in self._interfaces:
            raise Error(f"{SERVICE}InterfaceNotFound", interface=interface)
        return Reply({"description": self._interfaces[interface]})
