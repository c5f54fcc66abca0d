"""snapsafe_rt.webhooks: told by a stand-in for AWS's Lambda Web Adapter, and by whoever should not be able to."""

import asyncio
import json
import sys

import pytest

from snapsafe_rt import webhooks

from ..conftest import PROGRAMS
from ..helpers.running import port_in
from ..helpers.web_adapter import Adapter, Failed

pytestmark = pytest.mark.any_python

PATHS = {
    "AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": "/hooks/before",
    "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH": "/hooks/after",
}


@pytest.fixture(params=["wsgi", "asgi"])
def served(request, start):
    def served(environ=PATHS, **settings):
        server = start(str(PROGRAMS / "hooked.py"), request.param, **environ, **settings)
        adapter = Adapter(port_in(server.line()), environ)
        adapter.loop = ["loop"] if request.param == "asgi" else []  # its own callback, first because it came last
        return adapter

    return served


def told(adapter, path="/"):
    status, body = adapter.invoke("GET", path)
    assert status == 200
    return json.loads(body)


def test_one_snapshot_and_its_restore(served):
    adapter = served(SNAPSAFE_SOURCES="vmclock:/none")
    adapter.before_checkpoint()
    assert told(adapter)["called"] == [*adapter.loop, "before"]
    adapter.after_restore()
    found = told(adapter)
    assert (found["called"], found["epoch"]) == ([*adapter.loop, "before", "after notified"], 1)
    adapter.after_restore()  # called again: one restore too many is the lesser evil
    assert told(adapter)["epoch"] == 2


def test_twin_without_the_variables_nobody_is_told(served):
    adapter = served({}, SNAPSAFE_SOURCES="vmclock:/none")
    adapter.before_checkpoint()
    adapter.after_restore()
    assert adapter.ask("POST", "/hooks/after")[0] == 200, "the application's own answer"
    found = told(adapter)
    assert (found["called"], found["epoch"]) == ([], 0)


@pytest.mark.parametrize("watch", ["0", "1"])
def test_one_restore_is_one_epoch_with_a_counter_too(served, synchronous_source, watch):
    adapter = served(SNAPSAFE_WATCH=watch, **synchronous_source.env)
    adapter.before_checkpoint()
    synchronous_source.bump()
    adapter.after_restore()
    found = told(adapter)
    assert (found["called"], found["epoch"]) == ([*adapter.loop, "before", "after generation"], 1)


@pytest.mark.parametrize("watch", ["0", "1"])
def test_what_fails_fails_the_phase(served, synchronous_source, watch):
    """Also where the watcher's thread was first: then nobody else would tell of the error."""
    adapter = served(SNAPSAFE_WATCH=watch, **synchronous_source.env)
    told(adapter, "/fail/before")
    with pytest.raises(Failed, match="500: OSError"):
        adapter.before_checkpoint()
    told(adapter, "/heal")
    told(adapter, "/fail/after")
    adapter.before_checkpoint()
    synchronous_source.bump()
    if watch == "1":
        while "after generation" not in told(adapter)["called"]:
            pass
    with pytest.raises(Failed, match="500: OSError"):
        adapter.after_restore()
    told(adapter, "/heal")
    adapter.before_checkpoint()
    adapter.after_restore()


OUTSIDE = [
    {"x-amzn-request-context": "{}"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1"},
    {"Via": "1.1 a"},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Cookie": "a=b"},
]


def test_nobody_from_outside(served):
    adapter = served(SNAPSAFE_SOURCES="vmclock:/none")
    for path in PATHS.values():
        assert adapter.invoke("POST", path)[0] == 403
        for headers in OUTSIDE:
            assert adapter.ask("POST", path, headers)[0] == 403, headers
        for method in ("GET", "PUT", "HEAD", "OPTIONS", "DELETE"):
            assert adapter.ask(method, path)[0] == 405
    found = told(adapter)
    assert (found["called"], found["epoch"]) == ([], 0)
    for path in ("/hooks/before/", "/hooks/%62efore/x", "/x/hooks/before", "/Hooks/before"):
        adapter.ask("POST", path)
    assert told(adapter)["called"] == [], "another path is the application's"
    adapter.ask("POST", PATHS["AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH"])
    assert told(adapter)["called"] == [*adapter.loop, "before"], "the twin: without those headers it is called"


# ---- without a server ----


def wsgi(app, peer="127.0.0.1", path="/b", method="POST", **environ):
    said = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_ADDR": peer, **environ}
    body = b"".join(app({**environ}, lambda status, headers: said.append((int(status[:3]), dict(headers)))))
    return (*said[0], body.decode().strip())


def asgi(app, peer="127.0.0.1", path="/b", method="POST"):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "client": peer and (peer, 1)}
    asyncio.run(app(scope, None, send))
    headers = {name.decode().title(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, sent[1]["body"].decode().strip()


BOTH = pytest.mark.parametrize(("kind", "ask"), [(webhooks.WSGI, wsgi), (webhooks.ASGI, asgi)], ids=["wsgi", "asgi"])


@BOTH
@pytest.mark.parametrize(
    ("peer", "status"),
    [
        *[(peer, 200) for peer in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")],
        *[
            (peer, 403)
            for peer in ("10.0.0.1", "203.0.113.9", "::ffff:10.0.0.1", "fe80::1%eth0", "", None, "localhost")
        ],
    ],
)
def test_peers(kind, ask, peer, status):
    assert ask(kind(None, {"/b": "ready"}), peer)[0] == status


@BOTH
def test_peers_that_are_asked_for(kind, ask):
    app = kind(None, {"/b": "ready"}, peers=["10.1.0.0/16"])
    assert ask(app, "10.1.2.3")[0] == 200
    assert ask(app, "127.0.0.1")[0] == 403
    assert ask(app, "10.1.2.3", method="GET")[1]["Allow"] == "POST"
    with pytest.raises(ValueError, match="loopback"):
        kind(None, {"/b": "ready"}, peers=["loopback"])


@BOTH
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is told by that as well
def test_what_a_server_with_several_processes_gives(kind, ask):
    did = []

    def before():
        did.append(ask(app, path="/a")[0])  # while one is at work another is refused

    app = kind(None, {"/b": "before", "/a": "after"}, before=before, after=lambda: 1 / 0)
    assert ask(app)[0] == 200
    assert did == [409]
    assert ask(app, path="/a")[::2] == (500, "ZeroDivisionError")
    assert ask(kind(None, {"/b": "before"}, before=sys.exit))[::2] == (500, "SystemExit")


@BOTH
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is told by that as well
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_coroutine_function_is_not_called_done(kind, ask):
    did = []

    async def before():
        did.append(1)

    def twin():
        did.append(1)

    assert ask(kind(None, {"/b": "before"}, before=before))[::2] == (500, "TypeError")
    assert did == []
    assert ask(kind(None, {"/b": "before"}, before=twin))[0] == 200
    assert did == [1]


@pytest.mark.parametrize("name", ["X_FORWARDED_PORT", "X_FORWARDED_SERVER", "X_ORIGINAL_HOST", "X_ENVOY_PEER_METADATA"])
def test_what_one_header_of_a_proxy_says(name):
    app = webhooks.WSGI(None, {"/b": "ready"})
    assert wsgi(app, **{f"HTTP_{name}": "x"})[0] == 403
    assert wsgi(app, HTTP_X_REQUEST_ID="x")[0] == 200


@BOTH
def test_a_hook_that_is_none(kind, ask):
    with pytest.raises(ValueError, match="'resume'"):
        kind(None, {"/x": "resume"})
    with pytest.raises(ValueError, match="'hooks/pre'"):
        kind(None, {"hooks/pre": "before"})


def test_the_hooks_of_lambda():
    environ = {"AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": "b", "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH": ""}
    assert webhooks.lambda_web_adapter(environ) == {"/b": "before"}
    assert webhooks.lambda_web_adapter({}) == {}
    with pytest.raises(ValueError, match="both /b"):
        webhooks.lambda_web_adapter(dict.fromkeys(environ, "/b"))
    assert webhooks.MICROVM["/aws/lambda-microvms/runtime/v1/run"] == "after"
    assert wsgi(webhooks.WSGI(None, webhooks.MICROVM), path="/aws/lambda-microvms/runtime/v1/validate")[0] == 200


def test_what_is_no_request_passes():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(webhooks.ASGI(app, {"/b": "after"})({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


def test_a_child_is_not_in_its_parents_hook(run_python):
    """A callback that forks: the child's own hook is not refused for ever."""
    run_python(
        """
        import os
        from snapsafe_rt import webhooks

        def forks():
            child = os.fork()
            if not child:
                os._exit(0 if app._act("/a")[0] == 200 else 1)
            assert os.waitpid(child, 0)[1] == 0

        app = webhooks.WSGI(None, {"/b": "before", "/a": "after"}, before=forks, after=lambda: None)
        assert app._act("/b") == (200, "")
        """,
        env={"SNAPSAFE_SOURCES": "vmclock:/none"},
    )
