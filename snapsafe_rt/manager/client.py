"""Asks the manager, for the commands."""

import os
import pwd
import socket
import time
from collections.abc import Mapping
from typing import Any

from snapsafe_rt import settings, varlink
from snapsafe_rt.errors import BUSY, FAILED, NO_MANAGER, NOT_PERMITTED, Failure

NAMED_MOST = 16
SLICE_SECONDS = 1.0
ANSWER_SECONDS = 10.0  # for what is answered at once
ANSWER_MOST = 32 << 20  # bytes: twice what all locks come to that there may be, with the longest words


class Refused(Exception):
    """The manager's answer is an error: `name`, without the interface, and its parameters."""

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


class Manager:
    """A connection. What fails is a Failure, with the exit code of docs/command.md."""

    def __init__(self, path: str = settings.MANAGER, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.path = path
        self._answer_seconds = answer_seconds
        self.connect()

    def connect(self) -> None:
        """Anew: by the socket for root and the manager's own user, where there is one that takes us."""
        self._received = b""
        try:
            self._connect(self.path + settings.TRUSTED)
        except OSError:
            try:
                self._connect(self.path)
            except OSError as error:
                raise self._failure(error) from None

    def _connect(self, path: str) -> None:
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self.peer.settimeout(self._answer_seconds)
            self.peer.connect(path)
        except OSError:
            self.peer.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process that listens; 0 where it cannot be seen from here, or is another user's."""
        pid, uid = varlink.credentials(self.peer)
        return pid if varlink.trusted(uid) else 0

    def _failure(self, error: OSError) -> Failure:
        if isinstance(error, PermissionError):
            return Failure(f"{self.path}: not permitted to user {os.geteuid()}; run this as root", NOT_PERMITTED)
        if isinstance(error, BlockingIOError | TimeoutError):  # the first of a backlog that is full
            return Failure(f"the manager at {self.path} is busy: others wait for it; try again, or as root", BUSY)
        reason = error.strerror or error
        return Failure(
            f"no manager at {self.path} ({reason}): start `snapsafe manager`, see docs/manager.md", NO_MANAGER
        )

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()

    def call(self, method: str, *, answer_seconds: "float | None" = None, **parameters: Any) -> "dict[str, Any]":
        """Raises Refused, Failure. Parameters that are None are left out."""
        answer_seconds = self._answer_seconds if answer_seconds is None else answer_seconds
        given = {name: value for name, value in parameters.items() if value is not None}
        self.peer.settimeout(answer_seconds)
        try:
            self.peer.sendall(varlink.call(method, given))
            name, answer = varlink.reply(self._receive(answer_seconds))
        except TimeoutError:
            raise Failure(
                f"the manager at {self.path} does not answer within {answer_seconds:g} s: restart it", BUSY
            ) from None
        except varlink.Malformed as error:
            raise Failure(f"what answers at {self.path} is no manager ({error})", NO_MANAGER) from None
        except OSError as error:
            raise Failure(
                f"the manager at {self.path} has gone ({error.strerror}): start it anew", NO_MANAGER
            ) from None
        if not name:
            return answer
        if name == "PermissionDenied":
            raise Failure(
                f"the manager does not permit that to user {os.geteuid()}: run this as root, or as its own user",
                NOT_PERMITTED,
            )
        raise Refused(name, answer)

    def _receive(self, seconds: float) -> bytes:
        """In slices: a restore in between, over which the clock jumps, takes one of them and no more. Bounded, for in a
        container's folder somebody else may listen."""
        message, self._received = varlink.split(self._received)
        while message is None:
            if len(self._received) > ANSWER_MOST:
                raise varlink.Malformed("its answer has no end")
            if seconds <= 0:
                raise TimeoutError
            piece = min(seconds, SLICE_SECONDS)
            self.peer.settimeout(piece)
            began = time.monotonic()
            try:
                part = self.peer.recv(65536)
            except TimeoutError:
                seconds -= piece
                continue
            seconds -= min(max(time.monotonic() - began, 0.0), piece)
            if not part:
                raise ConnectionResetError(0, "it ended the connection")
            message, self._received = varlink.split(self._received + part)
        return message


def refusal(refused: Refused) -> Failure:
    """What holds for every command."""
    told = refused.parameters
    if refused.name == "OperationInProgress":
        return Failure(
            f"the machine is {told['state']}, by another's word: wait for it, or end that with `snapsafe unquiesce`"
        )
    reason = f": {told['reason']}" if "reason" in told else ""
    return Failure(f"the manager refuses ({refused.name}){reason}", FAILED)


def named(inhibitor: "Mapping[str, Any]") -> str:
    """Who it is, for a person."""
    try:
        user = pwd.getpwuid(inhibitor["uid"]).pw_name
    except (KeyError, OverflowError):
        user = str(inhibitor["uid"])
    return f"{inhibitor['who']} (pid {inhibitor['pid']} of {user}: {inhibitor['why']})"


def listed(names: "list[str]") -> str:
    more = f" and {len(names) - NAMED_MOST} more" if len(names) > NAMED_MOST else ""
    return ", ".join(names[:NAMED_MOST]) + more


def snake_case(told: Any) -> Any:
    """The same with names as the commands' JSON has them."""
    if isinstance(told, list):
        return [snake_case(one) for one in told]
    if not isinstance(told, dict):
        return told
    return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): snake_case(told[key]) for key in told}
