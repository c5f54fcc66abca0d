"""Varlink, as far as a service needs it: messages, their errors, and org.varlink.service. https://varlink.org/

A message is a JSON object and a NUL on a Unix stream socket. Descriptors go with the first byte of a reply, and the
reply has their index, as sd-varlink does it (systemd src/libsystemd/sd-varlink).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

MESSAGE_MOST = 16384  # bytes; the largest request holds 512 bytes of entropy

SERVICE = """\
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


class Malformed(Exception):
    """Not a message: the connection ends, as there is no telling where the next one would begin."""


class Error(Exception):
    """The answer is this error: `name` with its interface, and its parameters."""

    def __init__(self, name: str, **parameters: Any) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


def invalid(parameter: str) -> Error:
    return Error("org.varlink.service.InvalidParameter", parameter=parameter)


def denied() -> Error:
    return Error("org.varlink.service.PermissionDenied")


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
    try:
        found = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if not isinstance(found, dict):
        raise Malformed("not an object")
    parameters = found.get("parameters")
    parameters = {} if parameters is None else parameters
    method = found.get("method")
    if not isinstance(method, str) or not isinstance(parameters, dict):
        raise Malformed("no method, or parameters that are no object")
    if found.get("upgrade"):
        raise Malformed("asks for another protocol")
    return Call(method, parameters, found.get("oneway") is True, found.get("more") is True, client)


def encode(call: Call, outcome: "Reply | Error", *, continues: bool = False) -> bytes:
    """The answer to it; empty for a oneway call."""
    if call.oneway:
        return b""
    message: dict[str, Any] = {"error": outcome.name} if isinstance(outcome, Error) else {}
    message["parameters"] = outcome.parameters
    if continues:
        message["continues"] = True
    return json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode() + b"\0"


Method = Callable[[Call], Reply | None]


class Service:
    """The methods of some interfaces, and those of org.varlink.service about them."""

    def __init__(
        self, product: str, version: str, interfaces: Mapping[str, str], methods: Mapping[str, Method]
    ) -> None:
        self._about = {"vendor": "snapsafe_rt", "product": product, "version": version, "url": ""}
        self._interfaces = {"org.varlink.service": SERVICE, **interfaces}
        self._methods = {
            "org.varlink.service.GetInfo": self._info,
            "org.varlink.service.GetInterfaceDescription": self._description,
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
            raise Error("org.varlink.service.InterfaceNotFound", interface=interface)
        if name not in self._methods:
            raise Error("org.varlink.service.MethodNotFound", method=name)
        return self._methods[name]

    def _info(self, call: Call) -> Reply:
        call.take()
        return Reply({**self._about, "interfaces": list(self._interfaces)})

    def _description(self, call: Call) -> Reply:
        [interface] = call.take(interface=str)
        if interface is None:
            raise invalid("interface")
        if interface not in self._interfaces:
            raise Error("org.varlink.service.InterfaceNotFound", interface=interface)
        return Reply({"description": self._interfaces[interface]})
