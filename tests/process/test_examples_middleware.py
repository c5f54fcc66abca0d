"""examples/middleware.py behind real servers, and what it answers while a restore is worked off or has failed."""

import pytest

from ..helpers.running import EXAMPLES, get, port_in

pytestmark = pytest.mark.any_python

STAGE = """
    from middleware_stage import *
"""
ALONE = {"SNAPSAFE_WATCH": "0"}


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_wsgi_server(start, source_file, protection):
    server = start("middleware.py", SNAPSAFE=protection)
    port = port_in(server.line())
    restores = []
    for _ in range(3):
        restores.append(get(port)["restores"])
        source_file.bump()
    assert restores == ([0, 1, 2] if protection == "1" else [0, 0, 0])
    server.interrupt(130)


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_uvicorn(start, source_file, protection):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (pip install uvicorn)")
    arguments = ["--app-dir", EXAMPLES, "--port", "0", "middleware:asgi_app"]
    server = start("uvicorn", *arguments, merged=True, SNAPSAFE=protection)
    port = port_in(server.line(having="running on"))
    restores = []
    for _ in range(3):
        restores.append(get(port)["restores"])
        source_file.bump()
    assert restores == ([0, 1, 2] if protection == "1" else [0, 0, 0])
    server.interrupt(0)


@pytest.mark.parametrize("ask", ["wsgi", "asgi"])
def test_a_callback_that_fails_costs_a_request(run_python, source_file, ask):
    script = f"""
    ask = {ask}
    def fails():
        raise ConnectionError("no database")
    assert ask() == (200, None)
    snapsafe_rt.register_after_restore(fails)
    bump()
    assert ask() == (503, "1")
    assert ask() == (200, None)
    if ask is asgi:
        bump()
        assert asgi("websocket") == [("websocket.close", 1013)]
        assert asgi("websocket") == [] == asgi("lifespan")
    """
    run_python(STAGE + script, source_file.path, EXAMPLES, env=source_file.env | ALONE)


@pytest.mark.parametrize("ask", ["wsgi", "asgi"])
def test_a_restore_that_takes_long(run_python, source_file, ask):
    """Until its callbacks are done every request is told to come again, within the time that is set."""
    script = f"""
    ask = {ask}
    began, done = threading.Event(), threading.Event()
    def slow():
        began.set()
        assert done.wait(30)
    snapsafe_rt.register_after_restore(slow)
    bump()
    other = threading.Thread(target=snapsafe_rt.check)
    other.start()
    assert began.wait(30)
    assert ask(timeout=0.05) == ask(timeout=0) == (503, "1")
    done.set()
    assert ask(timeout=30) == (200, None)
    other.join()
    """
    run_python(STAGE + script, source_file.path, EXAMPLES, env=source_file.env | ALONE)


def test_why_is_in_the_log(run_python, source_file):
    script = """
    middleware.log.disabled = False
    def fails():
        raise ConnectionError("no database")
    snapsafe_rt.register_after_restore(fails)
    import logging
    logging.basicConfig(stream=sys.stdout)
    bump()
    assert wsgi() == (503, "1")
    """
    said = run_python(STAGE + script, source_file.path, EXAMPLES, env=source_file.env | ALONE)
    assert "ERROR:snapsafe.middleware:not ready after a restore\n" in said
    assert said.startswith("ERROR:snapsafe_rt:__main__.fails failed after a restore\n")  # the library's own word
    assert "ConnectionError: no database" in said
