"""examples/ in real clones of a machine whose kernel and clock repeat: what they call unique is. Each has its twin."""

import json

import pytest

from ..conftest import PROGRAMS
from ..helpers.running import EXAMPLES

pytestmark = pytest.mark.any_python

CLONES = 50
# Else the template notices the first clone's restore, for they share the file, and is renewed before the next.
UNWATCHED = {"SNAPSAFE_WATCH": "0"}

# Of each module in examples/: what it makes, as bytes.
DRAWS = {
    "node_id": ["module.new_id().to_bytes(16, 'big')", "module.node().to_bytes(7, 'big')"],
    "cron_job": ["module.report_name().encode()", "repr(module.draw_delay(60)).encode()"],
    "middleware": ["ask_wsgi()", "ask_asgi()"],
    "asyncio_service": ["note().encode()"],
    "threads": ["worker_says(3)", "worker_says(5)", "worker_says(6)"],
    "app": ["module.instance().encode()", "ask_wsgi('application')"],
}


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
@pytest.mark.parametrize("module", DRAWS)
def test_what_is_unique(run_python, source_file, machine, module, protection):
    env = source_file.env | machine | UNWATCHED | {"SNAPSAFE": protection}
    output = run_python(
        PROGRAMS / "examples_drawing.py",
        source_file.path,
        EXAMPLES,
        module,
        json.dumps(DRAWS[module]),
        env=env,
        dev=False,
    )
    expected = CLONES if protection == "1" else 1
    assert json.loads(output.splitlines()[-1]) == dict.fromkeys(DRAWS[module], expected)


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_https_server_clones(run_python, source_file, machine, protection):
    env = source_file.env | machine | UNWATCHED | {"SNAPSAFE": protection}
    output = run_python(PROGRAMS / "https_server_clones.py", source_file.path, EXAMPLES, env=env)
    counts = json.loads(output.splitlines()[-1])
    assert counts.pop("restores") == 1
    client = counts.pop("client hello")
    assert client == 20 or protection == "0"  # its thread's generator is new, and mixes in the time
    assert counts == dict.fromkeys(["node", "session", "trace", "server hello"], 20 if protection == "1" else 1)
