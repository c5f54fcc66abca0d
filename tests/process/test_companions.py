"""Tools that start or change a program, together with each way of activation: protected exactly where
snapsafe_rt.cli.matrix says so.

 They are no dependencies: what is not installed is skipped. `.ci/companions` runs this with all of them."""

import sysconfig

import pytest

from snapsafe_rt.cli import matrix
from tests.conftest import need
from tests.helpers.own_python import site_packages
from tests.helpers.ways import CLONES, PROOF, clean

pytestmark = [pytest.mark.any_python, pytest.mark.xdist_group("companions")]  # what `ways` makes is made once

MODULES = {
    "coverage": "coverage",
    "ddtrace": "ddtrace",
    "opentelemetry": "opentelemetry.instrumentation.auto_instrumentation",
    "debugpy": "debugpy",
    "gevent": "gevent",
    "xdist": "xdist",
    "ipython": "IPython",
    "uv": "uv",
}
# As the tool's own program would, but by an interpreter of the test's.
DDTRACE = ("-c", "from ddtrace.commands.ddtrace_run import main; main()")
OPENTELEMETRY = ("-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()")
QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "UV_OFFLINE": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
THEIRS_RAN = {
    "ddtrace": "assert sys.modules['ddtrace.bootstrap.sitecustomize'].loaded\n",
    "opentelemetry": "assert 'opentelemetry.instrumentation.auto_instrumentation' in sys.modules\n",
}


@pytest.fixture(scope="module")
def ways(ways):
    """With the tools of the interpreter that runs the tests, and their own .pth files."""

    def get(name):
        way = ways(name)
        tools = site_packages(way.python) / "tools.pth"
        if not tools.exists():
            tools.write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        return way

    return get


def environment(way, tmp_path):
    return clean(**QUIET, **way.env, HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))


def command(way, tool, tmp_path):
    app = tmp_path / "app.py"
    script = way.script(PROOF)
    if tool == "gevent":
        script = "from gevent import monkey\nmonkey.patch_all()\n" + script
    app.write_text(script)
    python, before = way.python, way.before
    if tool == "coverage":
        return [*before, python, "-m", "coverage", "run", f"--data-file={tmp_path / 'data'}", app]
    if tool == "ddtrace":
        return [*before, python, *DDTRACE, python, app]
    if tool == "opentelemetry":
        return [*before, python, *OPENTELEMETRY, python, app]
    if tool == "debugpy":
        return [*before, python, "-m", "debugpy", "--listen", "0", app]
    if tool == "xdist":
        text = script.replace(
            "print(", f"with open({str(tmp_path / 'said')!r}, 'w') as said:\n    print(file=said, *(", 1
        )
        text = text.replace(", flush=True)", ",))")
        text = "".join(f"    {line}\n" for line in text.splitlines())
        (tmp_path / "test_app.py").write_text(
            f"def test_app():\n{text}    assert 'PYTEST_XDIST_WORKER' in __import__('os').environ"
        )
        pytest_ = f'cd "{tmp_path}" && "$@" -m pytest -q -n 2 -p no:cacheprovider test_app.py >&2 && cat said'
        return ["sh", "-c", pytest_, "sh", *before, python]
    if tool == "ipython":
        return [*before, python, "-m", "IPython", "--no-banner", app]
    if tool == "gevent":
        return [*before, python, app]
    uv = f'"$1" -m uv -q venv --no-project --python "$1" "{tmp_path}/venv" && shift && exec "$@"'
    return ["sh", "-c", uv, "sh", python, *before, tmp_path / "venv" / "bin" / "python", app]


CASES = [case for case in (*matrix.TOOLS, *matrix.PLACES) if case.name in MODULES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("name", matrix.WAYS)
def test_protected_or_said_to_be_not(stage, ways, tmp_path, name, case):
    need(MODULES[case.name])
    way = ways(name)
    different = stage.different(command(way, case.name, tmp_path), environment(way, tmp_path))
    assert different == (1 if name in case.but else CLONES), stage.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_unprotected_without(stage, ways, tmp_path, case):
    need(MODULES[case.name])
    way = ways("none")
    assert stage.different(command(way, case.name, tmp_path), environment(way, tmp_path)) == 1, stage.stderr


@pytest.mark.parametrize("tool", ["ddtrace", "opentelemetry"])
def test_ours_in_front_of_theirs(stage, ways, tmp_path, tool):
    """Their sitecustomize behind ours: both run."""
    need(MODULES[tool])
    way = ways("run")
    app = tmp_path / "app.py"
    app.write_text("import sys\n" + THEIRS_RAN[tool] + way.script(PROOF))
    theirs = DDTRACE if tool == "ddtrace" else OPENTELEMETRY
    line = [way.python, *theirs, way.python, "-m", "snapsafe_rt", "run", way.python, app]
    assert stage.different(line, environment(way, tmp_path)) == CLONES, stage.stderr


def test_ddtrace_in_front_runs_ours(stage, ways, tmp_path):
    need("ddtrace")
    way = ways("run")
    app = tmp_path / "app.py"
    app.write_text("import sys\n" + THEIRS_RAN["ddtrace"] + way.script(PROOF))
    line = [*way.before, way.python, *DDTRACE, way.python, app]
    assert stage.different(line, environment(way, tmp_path)) == CLONES, stage.stderr


def test_coverage_of_a_child_by_its_own_pth(stage, ways, tmp_path):
    """coverage's .pth and ours in one folder: the child is measured and protected."""
    need("coverage")
    way = ways("install")
    app = tmp_path / "app.py"
    app.write_text(way.script(PROOF))
    (tmp_path / "rc").write_text(f"[run]\ndata_file = {tmp_path / 'data'}\n")
    variables = environment(way, tmp_path) | {"COVERAGE_PROCESS_START": str(tmp_path / "rc")}
    assert stage.different([way.python, app], variables) == CLONES
    assert (tmp_path / "data").exists()
