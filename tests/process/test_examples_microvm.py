"""examples/microvm_hooks.py, told as Lambda would tell it."""

import http.client

import pytest

from ..helpers.running import EXAMPLES, SECONDS, port_in

pytestmark = pytest.mark.any_python

HOOKS = "/aws/lambda-microvms/runtime/v1/"


def ask(port, path="/", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request(method, path)
    answer = connection.getresponse()
    said = answer.status, answer.read().decode().strip()
    connection.close()
    return said


@pytest.mark.parametrize("options", [(), ("--everybody",)])
def test_told_by_run_and_resume_alone(start, options, living, source_file):
    port = port_in(start("microvm_hooks.py", *options).line())
    neighbour = living(env=source_file.env)  # another process of the same machine
    seen = [ask(port)]
    assert ask(port) == seen[0]
    for hook in ("ready", "validate", "suspend", "terminate"):
        assert ask(port, HOOKS + hook, "POST") == (200, "")
    assert ask(port) == seen[0], "nothing was restored"
    for number, hook in enumerate(("run", "resume", "run"), 1):
        assert ask(port, HOOKS + hook, "POST") == (200, "")
        seen.append(ask(port))
        assert neighbour("import snapsafe_rt; answer = snapsafe_rt.epoch()") == (number if options else 0)
    assert len(set(seen)) == 4


def test_what_is_no_hook_goes_to_the_application(start):
    port = port_in(start("microvm_hooks.py").line())
    first = ask(port)
    assert first[0] == 200
    assert ask(port, HOOKS + "unknown", "POST") == first
    assert ask(port, "/run", "POST") == first
    assert ask(port, HOOKS + "run")[0] == 405
    assert ask(port) == first


def test_nobody_else_may_call(start):
    port = port_in(start("microvm_hooks.py", "--peer", "10.0.0.0/8").line())
    first = ask(port)
    assert ask(port, HOOKS + "run", "POST")[0] == 403
    assert ask(port) == first


def test_a_failure_is_told(run_python):
    run_python(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        import microvm_hooks, snapsafe_rt
        from snapsafe_rt import webhooks

        sys.unraisablehook = lambda told: None  # read elsewhere

        @snapsafe_rt.register_after_restore
        def fails():
            raise RuntimeError("no way to the database")

        said = []
        path = "/aws/lambda-microvms/runtime/v1/run"
        environ = {"PATH_INFO": path, "REQUEST_METHOD": "POST", "REMOTE_ADDR": "127.0.0.1"}
        app = webhooks.WSGI(microvm_hooks.application, webhooks.MICROVM)
        assert app(environ, lambda status, headers: said.append(status)) == [b"RuntimeError\\n"]
        assert said == ["500 Internal Server Error"]
        assert snapsafe_rt.epoch() == 1
        snapsafe_rt.unregister(fails)
        app(environ, lambda status, headers: said.append(status))
        assert said[1] == "200 OK"
        """,
        EXAMPLES,
        env={"SNAPSAFE_SOURCES": "vmclock:/none"},
    )
