"""The start of a Python that does nothing: stock against activated, part by part, and against what starts others."""

from benchmarks.case import Case

# A Python of nobody's: ours does at each start what an editable installation and the peers put into it.
BARE = """
import subprocess, tempfile
home = tempfile.TemporaryDirectory()
subprocess.run([sys.executable, "-m", "venv", "--without-pip", home.name], check=True)
bare = f"{home.name}/bin/python"
"""
MEMORY = """
import os
SHOW = "import os; print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')])"

def memory():
    with os.popen(f'{bare} -c "{SHOW}"') as answer:
        return int(answer.read())
"""
# The process with snapsafe_rt starts Pythons whose sitecustomize does less than ours.
PART = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
paths = os.environ["PYTHONPATH"].split(os.pathsep)
if fence() is not None:
    core = sys.modules["snapsafe_rt._core"].__file__
    with open(f"{folder.name}/sitecustomize.py", "w") as file:
        file.write(TEXT)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder.name, *paths[1:]])
"""
EMPTY = PART.replace("TEXT", "''")
CORE = PART.replace(
    "TEXT",
    '''f"""
import _imp
from _frozen_importlib import ModuleSpec
_imp.exec_dynamic(_imp.create_dynamic(ModuleSpec("snapsafe_rt._core", None, origin={core!r})))
"""''',
)
PACKAGE = PART.replace("TEXT", "'import snapsafe_rt'")
# A bundle just made, of which no interpreter may keep what it compiles: most images set that variable.
UNWRITTEN = (
    BARE
    + """
import os, subprocess, tempfile
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
if fence() is not None:
    made = tempfile.TemporaryDirectory()
    bundle = f"{made.name}/bundle"
    subprocess.run([sys.executable, "-m", "snapsafe_rt", "bundle", bundle], check=True, stdout=subprocess.DEVNULL)
    os.environ["PYTHONPATH"] = bundle
"""
)
# As a user would start them, but for what talks to others; neither finds anybody to send anything to.
OTHER = """
import os
os.environ.update(
    DD_INSTRUMENTATION_TELEMETRY_ENABLED="0", DD_TRACE_STARTUP_LOGS="0", DD_REMOTE_CONFIGURATION_ENABLED="0",
    OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none",
)
starter = os.path.join(os.path.dirname(sys.executable), "{command}")

def spawn(*arguments):
    begin = clock()
    pid = os.posix_spawn(sys.executable, [sys.executable, starter, sys.executable, *arguments], os.environ)
    status = os.waitpid(pid, 0)[1]
    if status:
        raise SystemExit(f"{{starter}} ended with {{status}}")
    return clock() - begin
"""
PASS, IMPORTS = "spawn('-c', 'pass', python=bare)", "spawn('-c', 'import random, uuid, ssl', python=bare)"


def starts(name: str, setup: str) -> Case:
    return Case(f"python -c pass, {name}", PASS, BARE + setup, own=True, calls=1, rounds=40, processes=2)


def outdoes(command: str, needs: str) -> Case:
    rival = OTHER.format(command=command)
    name = f"python -c pass, against {command}"
    return Case(
        name, "spawn('-c', 'pass')", own=True, rival=rival, needs=needs, ratio=1.0, calls=1, rounds=8, processes=1
    )


def resident(name: str, part: str, more: float | None = None) -> Case:
    setup = BARE + MEMORY + part
    return Case(name, "memory()", setup, own=True, unit="KiB", more=more, calls=1, processes=2)


CASES = [
    Case("python -c pass", PASS, BARE, own=True, more=1_000_000, calls=1, rounds=60, processes=2),
    Case("python -c pass, no bytecode written", PASS, UNWRITTEN, own=True, more=1_300_000, calls=1, processes=2),
    starts("of that: an empty sitecustomize", EMPTY),
    starts("of that: and the core loaded", CORE),
    starts("of that: and the package imported", PACKAGE),
    resident("python -c pass, resident memory", "", more=400),
    resident("python -c pass, resident memory, of that: the core", CORE),
    outdoes("ddtrace-run", "ddtrace"),
    outdoes("opentelemetry-instrument", "opentelemetry"),
    Case("import random, uuid, ssl", IMPORTS, BARE, own=True, more=2_500_000, calls=1, processes=2),
]
