"""What a release says of itself agrees: its version, the CPythons that the core knows, the files of the sdist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snapsafe_rt import core, settings

tomllib = pytest.importorskip("tomllib")
pytestmark = [pytest.mark.checkout, pytest.mark.any_python]

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version_everywhere():
    assert PROJECT["version"] == settings.VERSION
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest[1] == settings.VERSION
    assert f"| {settings.VERSION.rpartition('.')[0]} | yes |" in (ROOT / "SECURITY.md").read_text()


def test_the_same_cpythons_everywhere():
    """compat.h refuses to be compiled for others."""
    bounds = re.compile(r"VERSION_HEX < 0x03(\w\w)0000 \|\| PY_VERSION_HEX >= 0x03(\w\w)0000")
    low, high = bounds.search((ROOT / "cython/compat.h").read_text()).groups()
    first, beyond = int(low, 16), int(high, 16)
    assert PROJECT["requires-python"] == f">=3.{first},<3.{beyond}"
    assert (3, beyond - 1) == core.NEWEST
    listed = [int(one[1]) for one in map(re.compile(r".*Python :: 3\.(\d+)$").match, PROJECT["classifiers"]) if one]
    assert listed == list(range(first, beyond))
    assert f"version_info >= (3, {beyond})" in (ROOT / "setup.py").read_text()


NEWER = """
import sys
sys.version_info = (3, 99, 0, "final", 0)
sys.modules["snapsafe_rt._core"] = None  # as where none was built for it
import snapsafe_rt
snapsafe_rt.activate()
status = snapsafe_rt.status()
print(status.active, status.protected, snapsafe_rt.core.MISSING)
"""


SETUP = """
import runpy, sys
from unittest.mock import MagicMock
for name in ("setuptools", "setuptools.command", "setuptools.command.build_py"):
    sys.modules[name] = MagicMock()  # it may not be installed
sys.version_info = (3, 99)
runpy.run_path("setup.py")
"""


def test_a_newer_cpython_is_refused_in_words():
    done = subprocess.run([sys.executable, "-c", NEWER], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("False False no native core for ")
    assert f"knows CPython up to 3.{core.NEWEST[1]}; look for a newer one" in done.stdout
    done = subprocess.run(
        [sys.executable, "-c", SETUP], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "snapsafe-rt knows CPython 3.10 to 3.15, and guards nothing on a newer one: look for a newer snapsafe-rt\n"
    )


def test_what_the_files_consist_of_and_how_they_were_made(tmp_path):
    """The same, made twice; of other versions' files nothing."""
    name = f"snapsafe_rt-{settings.VERSION}-cp311-cp311-linux_x86_64.whl"
    (tmp_path / name).write_bytes(b"a wheel")
    (tmp_path / "snapsafe_rt-0.0.1.tar.gz").write_bytes(b"an old one")
    made = []
    for _ in range(2):
        subprocess.run([sys.executable, ROOT / ".ci/provenance", tmp_path, sys.prefix], check=True, timeout=60)
        made.append([(tmp_path / one).read_text() for one in ("sbom.cdx.json", "provenance.intoto.json")])
    assert made[0] == made[1]
    sbom, statement = map(json.loads, made[0])
    assert [one["name"] for one in statement["subject"]] == [name]
    digest = statement["subject"][0]["digest"]["sha256"]
    assert {"alg": "SHA-256", "content": digest} in [h for one in sbom["components"] for h in one.get("hashes", ())]
    assert sbom["metadata"]["component"]["version"] == settings.VERSION
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/provenance", tmp_path / ".."], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "has no wheel and no sdist" in done.stderr


@pytest.mark.parametrize("page", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda page: page.stem)
def test_the_workflows_call_scripts_and_steps_that_there_are(page):
    text = page.read_text()
    called = re.findall(r"\.ci/[\w-]+", text)
    assert called
    assert [one for one in called if not (ROOT / one).exists()] == []
    steps = re.search(r"step: \[([^]]*)\]", text)
    known = (ROOT / ".ci/run").read_text()
    for name in steps[1].replace("\n", " ").split(",") if steps else ():
        kind = name.strip().partition("-")[0]
        assert re.search(rf"^    {kind}(-\*)?\) ", known, flags=re.MULTILINE), name


def test_the_sdist_takes_each_folder():
    """But those that git ignores."""
    told = (ROOT / "MANIFEST.in").read_text()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("this is no checkout")
    assert {name.partition("/")[0] for name in tracked if "/" in name} == set(
        re.findall(r"^graft (\S+)$", told, re.MULTILINE)
    )
