"""packaging/containers: each file is checked by the rules of its format, and what is a program is run."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ..conftest import PACKAGE
from ..helpers.lambda_runtime import run_function

FOLDER = Path(__file__).resolve().parents[2] / "packaging" / "containers"
pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the installed package has no packaging/"),
]

# container-device-interface, SPEC.md and specs-go/config.go: unknown fields make a runtime refuse the file.
LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
DOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+"
CDI = {
    "": ({"cdiVersion", "kind", "devices"}, {"annotations", "containerEdits"}),
    "devices": ({"name", "containerEdits"}, {"annotations"}),
    "containerEdits": (set(), {"env", "deviceNodes", "mounts", "hooks"}),
    "deviceNodes": (
        {"path"},
        {"hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"},
    ),
    "mounts": ({"hostPath", "containerPath"}, {"options", "type"}),
}


def check_fields(value, kind=""):
    if isinstance(value, list):
        for entry in value:
            check_fields(entry, kind)
    elif isinstance(value, dict):
        required, optional = CDI[kind]
        assert required <= value.keys() <= required | optional, (kind, value)
        for name, entry in value.items():
            check_fields(entry, name)


def test_the_cdi_specification_keeps_the_rules():
    specification = json.loads((FOLDER / "cdi.json").read_text())
    check_fields(specification)
    assert specification["cdiVersion"] == "0.5.0", "the least for hostPath; older runtimes refuse a newer one"
    prefix, name = specification["kind"].split("/")
    assert re.fullmatch(DOMAIN, prefix)
    assert re.fullmatch(LABEL, name)
    for device in specification["devices"]:
        assert re.fullmatch(LABEL, device["name"])
        edits = device["containerEdits"]
        assert edits
        for node in edits.get("deviceNodes", ()):
            assert node["permissions"] == "r", "nobody has to write it"
            assert node["fileMode"] == 0o444
        for mount in edits.get("mounts", ()):
            assert {"ro", "rbind"} <= set(mount["options"])
    named = set(re.findall(r"snapsafe\.org/source=(\w+)", (FOLDER / "README.md").read_text()))
    named |= set(re.findall(r"snapsafe\.org/source=(\w+)", (FOLDER / "kubernetes.yaml").read_text()))
    assert named == {device["name"] for device in specification["devices"]}


@pytest.fixture
def command(tmp_path):
    """An installed `snapsafe` and python3, as far as PATH goes."""
    script = tmp_path / "bin" / "snapsafe"
    script.parent.mkdir()
    script.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(PACKAGE.parent))} exec {shlex.quote(sys.executable)} "
        '-m snapsafe_rt "$@"\n'
    )
    script.chmod(0o755)
    (script.parent / "python3").symlink_to(sys.executable)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    return kept | {"PATH": f"{script.parent}:{os.environ['PATH']}"}


def shell(command, environment, **more):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, **more)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


FUNCTION = """
import http.client, json, os, random, sys
import snapshot_restore_py as hooks
sys.path.append(os.environ["LAYER"])
before = random.getstate()

@hooks.register_after_restore
def report():
    repeats = random.getstate() == before
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request("POST", "/report", json.dumps({"repeats": repeats}))
    connection.getresponse()

def handler(event, context): ...
"""
ASK = "import sys; core = sys.modules.get('snapsafe_rt._core'); print(bool(core and core.active()))"


def test_the_pod_is_whole_and_its_bundle_activates(command, tmp_path):
    yaml = pytest.importorskip("yaml")
    pod = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    spec = pod["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    (init,), (app,) = spec["initContainers"], spec["containers"]
    mounts = {c["name"]: {m["name"]: m["mountPath"] for m in c["volumeMounts"]} for c in (init, app)}
    assert {name for places in mounts.values() for name in places} == volumes
    environment = {one["name"]: one["value"] for one in app["env"]}
    assert environment["PYTHONPATH"] == mounts[app["name"]]["bundle"]
    assert "COPY bundle /bundle\n" in (FOLDER / "Containerfile").read_text()
    assert init["command"] == ["cp", "-R", "/bundle/.", mounts[init["name"]]["bundle"]]
    # The same with places of ours; .ci/images runs it in the image.
    shell(["snapsafe", "bundle", str(tmp_path / "bundle")], command)
    (tmp_path / "volume").mkdir()
    shell(["cp", "-R", f"{tmp_path}/bundle/.", tmp_path / "volume"], command)
    assert shell([sys.executable, "-c", ASK], command | {"PYTHONPATH": str(tmp_path / "volume")}) == "True\n"
    assert shell([sys.executable, "-c", ASK], command) == "False\n"


@pytest.fixture
def layer(command, tmp_path):
    """The unpacked layer, as Lambda has it in /opt."""
    shell([FOLDER / "lambda" / "make-layer", tmp_path / "layer.zip"], command)
    opt = tmp_path / "opt"
    with zipfile.ZipFile(tmp_path / "layer.zip") as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, opt))
            if not entry.is_dir():
                path.chmod(entry.external_attr >> 16)
        assert {name.partition("/")[0] for name in archive.namelist()} == {"python", "snapsafe-wrapper"}
    return opt


def test_the_lambda_layer_activates_the_runtime_by_its_wrapper(layer, command):
    runtime = layer.parent / "runtime"  # LAMBDA_RUNTIME_DIR, which Lambda's own PYTHONPATH names
    runtime.mkdir()
    (runtime / "bootstrap.py").write_text(
        f"import sys\n{ASK}\nimport snapsafe_rt\nprint(snapsafe_rt.__file__)\nprint(sys.argv[1:])\nsys.exit(3)\n"
    )
    python = getattr(sys, "_base_executable", sys.executable)  # a venv's may have the package, which goes first
    started = [python, "-c", "import bootstrap", "an argument", ""]
    environment = command | {"PYTHONPATH": str(runtime)}
    done = subprocess.run(
        [layer / "snapsafe-wrapper", *started], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stderr
    active, where, arguments = done.stdout.splitlines()
    assert active == "True"
    assert Path(where).is_relative_to(layer / "python")
    assert arguments == "['an argument', '']"
    # The twin: a layer that only lies there is on sys.path too late.
    assert shell([python, "-c", ASK], environment) == "False\n"


OTHER = """import os, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path = [path for path in sys.path if os.path.abspath(path or ".") != here]
os.environ["THEIRS"] = "1"
"""
BOTH = f"{ASK}; import os; print('THEIRS' in os.environ)"


@pytest.mark.parametrize("order", ["other, ours", "ours, other", "ours"])
def test_two_layers_wrappers_in_any_order(layer, command, order):
    """The other's sitecustomize stands in front and runs none behind it, as OpenTelemetry's does."""
    other = layer.parent / "other"
    (other / "python").mkdir(parents=True)
    (other / "python" / "sitecustomize.py").write_text(OTHER)
    (other / "wrapper").write_text(
        '#!/bin/bash\nexport PYTHONPATH=${BASH_SOURCE[0]%/*}/python${PYTHONPATH:+:$PYTHONPATH}\nexec "$@"\n'
    )
    (other / "wrapper").chmod(0o755)
    wrappers = {"ours": layer / "snapsafe-wrapper", "other": other / "wrapper"}
    chain = [wrappers[name] for name in order.split(", ")]
    python = getattr(sys, "_base_executable", sys.executable)
    assert shell([*chain, python, "-c", BOTH], command).split() == ["True", str("other" in order)]
    assert (
        shell([*chain, python, "-c", "import os; print([n for n in os.environ if 'WRAPPED' in n])"], command) == "[]\n"
    )


def test_two_wrappers_one_behind_the_other_without_ours(layer, command):
    """The twin: with the other's folder in front, ours is not even looked at."""
    (layer.parent / "sitecustomize.py").write_text(OTHER)
    path = f"{layer.parent}:{layer / 'python'}"
    python = getattr(sys, "_base_executable", sys.executable)
    assert shell([python, "-c", BOTH], command | {"PYTHONPATH": path}).split() == ["False", "True"]


@pytest.mark.skipif(importlib.util.find_spec("awslambdaric") is None, reason="awslambdaric is not installed")
@pytest.mark.parametrize("wrapped", [True, False], ids=["", "twin"])
def test_an_unchanged_function_is_told_by_snapstart(layer, tmp_path, wrapped):
    function = tmp_path / "function"
    function.mkdir()
    (function / "app.py").write_text(FUNCTION)
    opt = str(layer / "python")  # Lambda itself puts it on sys.path, but late
    wrapper = [layer / "snapsafe-wrapper"] if wrapped else []
    report, errors, _, said = run_function(function, {"LAYER": opt}, command=wrapper)
    assert report, (errors, said)
    assert report["repeats"] is not wrapped


def test_a_layer_without_a_bundle_starts_the_function_all_the_same(layer, command):
    (layer / "python").rename(layer / "gone")
    assert shell([layer / "snapsafe-wrapper", sys.executable, "-c", ASK], command) == "False\n"


def test_make_layer_says_what_is_wrong(command, tmp_path):
    make = FOLDER / "lambda" / "make-layer"
    done = subprocess.run([make], env=command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: make-layer LAYER.zip [WHEEL ...]\n")
    (tmp_path / "no.whl").write_text("nothing")
    arguments = [make, tmp_path / "layer.zip", tmp_path / "no.whl"]
    done = subprocess.run(arguments, env=command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "is not a wheel" in done.stderr
    nowhere = command | {"SNAPSAFE_COMMAND": "/no/such"}
    done = subprocess.run(arguments, env=nowhere, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 127
    assert "make-layer: /no/such: not found; " in done.stderr
    assert not (tmp_path / "layer.zip").exists()
