"""WSGI and ASGI middleware, for who tells a web application by HTTP of its snapshot and of a restore.

    from snapsafe_rt import webhooks

    app = webhooks.WSGI(app)  # or ASGI(app)

The paths are those of AWS's Lambda Web Adapter, by its own variables, or those of `hooks`, for a POST:

    ASGI(app, hooks={"/hooks/pre": "before", "/hooks/post": "after"})
    WSGI(app, hooks=MICROVM)

"before" calls what was registered for the time before a snapshot, "after" counts a restore and runs its event, "ready"
is answered and nothing else. The answer is 200 when all is done, and 500 where something failed: who takes the snapshot
then leaves it. All other requests go to the application.

A hook is for who runs the machine, not for whoever may speak to the application. So the peer has to be of `peers`, the
loopback addresses by default, and a request that a proxy passed on, or a browser sent, is refused (403), as far as it
says so: docs/orchestrators.md names who does not. Nothing here is imported but by who asks for it.
"""

import ipaddress
import os
from _thread import allocate_lock

from snapsafe_rt import hooks as _hooks
from snapsafe_rt import log
from snapsafe_rt.core import native
from snapsafe_rt.errors import BaseExceptionGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

__all__ = ["ASGI", "MICROVM", "WSGI", "after_restore", "before_snapshot", "lambda_web_adapter"]

_ACTIONS = ("before", "after", "ready")
LOOPBACK = ("127.0.0.0/8", "::1/128")
_BEFORE, _AFTER = "AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH", "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH"

_MICROVM = "/aws/lambda-microvms/runtime/v1/"
MICROVM = {
    f"{_MICROVM}{name}": action
    for action, names in {
        "ready": ("ready", "validate", "terminate"),
        "before": ("suspend",),
        "after": ("run", "resume"),  # a clone begins; one goes on, without its connections
    }.items()
    for name in names
}
"""The hooks of AWS Lambda MicroVMs."""

# What a proxy adds, Lambda's adapter among them, or a browser. The hook of an orchestrator has none of it.
PASSED_ON = frozenset(
    (
        *("forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip"),
        *("true-client-ip", "cf-connecting-ip", "fastly-client-ip", "fly-client-ip", "cdn-loop"),
        *("x-amzn-request-context", "x-amzn-lambda-context", "x-amzn-trace-id", "x-apigateway-event"),
        *("origin", "referer", "cookie"),
    )
)
PASSED_ON_AS = ("x-forwarded-", "x-original-", "x-envoy-", "sec-fetch-")


def lambda_web_adapter(environ: "Mapping[str, str]" = os.environ) -> "dict[str, str]":
    """The hooks that the Lambda Web Adapter will call; none where its variables are not set. Raises ValueError where
    both are one path: which of them is meant could not be told."""
    found: dict[str, str] = {}
    for name, action in ((_BEFORE, "before"), (_AFTER, "after")):
        if environ.get(name):
            path = "/" + environ[name].lstrip("/")
            if path in found:
                raise ValueError(f"{_BEFORE} and {_AFTER} are both {path}: they have to differ")
            found[path] = action
    return found


# ---- what a hook does ----

_turn = allocate_lock()
_began: "tuple[int, tuple[int, int] | None] | None" = None  # before the snapshot: the epoch, and what the source showed


def _after_fork_in_child() -> None:
    global _turn
    _turn = allocate_lock()  # perhaps held by a thread that this process does not have


_hooks.forked.add(_after_fork_in_child)


def before_snapshot() -> None:
    """Call what was registered for the time before a snapshot, last-in first-out, each where it belongs. Raises a group
    of what they raised."""
    global _began
    from snapsafe_rt.restore import callbacks, dispatch, events  # what the restore wants is there by then
    from snapsafe_rt.snapshot import snapstart

    _began = None
    if native is None:
        return
    epoch = -2 - native.epoch()  # no event's; as snapsafe_rt.snapshot.lifecycle has it
    failed: list[tuple[object, BaseException]] = []
    for entry in reversed(tuple(callbacks.before)):
        entry.look_for_home()
        error = dispatch.run(entry, epoch) if entry.live else None
        if error is not None:
            failed.append((entry.func, error))
    if failed:
        for who, error in failed:
            log.failed("before", callbacks.name(who), error)
        log.flush()
        events.report(failed)
        raise BaseExceptionGroup("in callbacks before the snapshot", [error for _, error in failed])
    _began = native.epoch(), snapstart.counter()


def after_restore() -> None:
    """Count a restore, unless a synchronous source has moved since before_snapshot(): then that was it. Run its event,
    or wait for it. Raises a group of what callbacks raised."""
    global _began
    if native is None:
        return
    from snapsafe_rt.restore import events
    from snapsafe_rt.restore.generation import notify_restored
    from snapsafe_rt.snapshot import snapstart

    began, _began = _began, None
    earlier, seen = began or (native.epoch(), None)
    try:
        if snapstart.has_moved(seen):
            events.check()
        else:
            notify_restored()
    except BaseExceptionGroup as group:
        events.report([(after_restore, error) for error in group.exceptions])
        raise
    last = events.last
    if last is not None and last.epoch > earlier and last.failed:  # the watcher's thread was first, and has reported it
        raise events.group(last.failed, last.epoch)


class _Hooks:
    """What both kinds share. `hooks`: path -> "before", "after" or "ready"; `peers`: networks from which hooks may be
    called; `before`, `after`: what they do, for a server with several processes, of which one alone is asked."""

    def __init__(
        self,
        app: "Any",
        hooks: "Mapping[str, str] | None" = None,
        *,
        peers: "Iterable[str]" = LOOPBACK,
        before: "Callable[[], object]" = before_snapshot,
        after: "Callable[[], object]" = after_restore,
    ) -> None:
        self.app = app
        self.hooks = dict(lambda_web_adapter() if hooks is None else hooks)
        wrong = {action for action in self.hooks.values() if action not in _ACTIONS}
        if wrong:
            raise ValueError(f"a hook is one of {', '.join(_ACTIONS)}, not {', '.join(map(repr, sorted(wrong)))}")
        nowhere = [path for path in self.hooks if not path.startswith("/")]
        if nowhere:  # the application would get the request, and perhaps answer 200
            raise ValueError(f"a hook's path begins with a slash, not as {', '.join(map(repr, nowhere))}")
        self.peers = [ipaddress.ip_network(peer) for peer in peers]
        self._does = {"before": before, "after": after}

    def _refusal(self, method: str, peer: "str | None", headers: "Iterable[str]") -> "tuple[int, str]":
        """Status and text of a request that may not or cannot be answered; 0 for one that is to be."""
        if not self._is_peer(peer) or any(name in PASSED_ON or name.startswith(PASSED_ON_AS) for name in headers):
            return 403, "not from here"
        return (405, "POST it") if method != "POST" else (0, "")

    def _is_peer(self, peer: "str | None") -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:  # a Unix socket's, behind which there is a proxy
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.peers)

    def _act(self, path: str) -> "tuple[int, str]":
        action = self._does.get(self.hooks[path])
        if action is None:
            return 200, ""
        turn = _turn
        if not turn.acquire(blocking=False):
            return 409, "another hook is at work"
        try:
            if hasattr(action(), "__await__"):
                raise TypeError("before= and after= take no coroutine functions: what they return is not waited for")
        except BaseExceptionGroup as group:
            return 500, "; ".join(type(error).__name__ for error in group.exceptions)
        except (Exception, SystemExit) as error:  # which would end the server's loop
            if native is not None:
                native.report_unraisable(error, action)
            return 500, type(error).__name__
        finally:
            turn.release()
        return 200, ""


_REASONS = {200: "OK", 403: "Forbidden", 405: "Method Not Allowed", 409: "Conflict", 500: "Internal Server Error"}


def _headers(status: int, body: bytes) -> "list[tuple[str, str]]":
    allow = [("Allow", "POST")] if status == 405 else []
    return [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *allow]


class WSGI(_Hooks):
    """app = WSGI(app): the outermost middleware, for others may take a proxy's word for the peer."""

    def __call__(self, environ: "dict[str, Any]", start_response: "Callable[..., Any]") -> "Iterable[bytes]":
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if path not in self.hooks:
            answer: Iterable[bytes] = self.app(environ, start_response)
            return answer
        headers = {name[5:].replace("_", "-").lower() for name in environ if name.startswith("HTTP_")}
        status, text = self._refusal(environ.get("REQUEST_METHOD", ""), environ.get("REMOTE_ADDR"), headers)
        if not status:
            status, text = self._act(path)
        body = f"{text}\n".encode() if text else b""
        start_response(f"{status} {_REASONS[status]}", _headers(status, body))
        return [body]


class ASGI(_Hooks):
    """app = ASGI(app), the outermost middleware. A hook runs in a thread, so that the loop's callbacks run on it."""

    async def __call__(self, scope: "dict[str, Any]", receive: "Any", send: "Any") -> None:
        if scope["type"] != "http" or scope["path"] not in self.hooks:
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower() for name, _ in scope["headers"]}
        client = scope.get("client")
        status, text = self._refusal(scope["method"], client[0] if client else None, headers)
        if not status:
            status, text = await self._apart(scope["path"])
        body = f"{text}\n".encode() if text else b""
        told = [(name.lower().encode(), value.encode()) for name, value in _headers(status, body)]
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": body})

    async def _apart(self, path: str) -> "tuple[int, str]":
        from snapsafe_rt.restore import affinity

        if affinity.in_trio():
            import trio  # type: ignore[import-not-found]

            answer: tuple[int, str] = await trio.to_thread.run_sync(self._act, path)
            return answer
        import asyncio

        return await asyncio.to_thread(self._act, path)
