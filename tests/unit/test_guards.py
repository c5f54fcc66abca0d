"""The list of guarded methods (cython/guard.h) against this Python: what a row names is there, and is guarded."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snapsafe_rt.core import native

pytestmark = pytest.mark.internals

ROWS = re.findall(
    r'^    X\(\w+, "(\w+)", "(\w*)", "(\w+)", (\w+), \w+, \w+\)',
    (Path(__file__).parents[2] / "cython/guard.h").read_text(),
    re.M,
)
NOT_ALWAYS = {  # methods by the versions that have them
    "unshare": sys.version_info >= (3, 12),
    "setns": sys.version_info >= (3, 12),
    "RAND_pseudo_bytes": sys.version_info < (3, 12),
    "sendfile": sys.version_info >= (3, 15),
    "blobopen": sys.version_info >= (3, 11),
    "write": sys.version_info >= (3, 11),  # Blob's; _SSLSocket's is older, but asked for with all of its type
}


def names():
    return {f"{module}.{type_ or method}" for module, type_, method, _ in ROWS}


def test_there_is_what_they_name():
    missing = []
    for module, type_, method, _ in ROWS:
        owner = __import__(module)
        if type_:
            owner = getattr(owner, type_, None)
        if not hasattr(owner, method):
            missing.append(method)
    assert {method for method in missing if NOT_ALWAYS.get(method, True)} == set()


def test_each_is_in_place():
    """But those of `_ssl`, which are for one that draws past every hook (tests/process/test_openssl.py)."""
    script = f"""
import json, sys
from snapsafe_rt import _core as native
failed = native.install(False)
for name in {sorted({row[0] for row in ROWS})!r}:
    __import__(name)
guarded = [name for name in {sorted(names())!r} if native.guarded(name)]
native.remove()
print(json.dumps([failed, guarded, [name for name in guarded if native.guarded(name)]]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    failed, guarded, left = json.loads(done.stdout)
    absent = {name for name, there in NOT_ALWAYS.items() if not there}
    expected = {name for name in names() if not name.startswith("_ssl.") and name.partition(".")[2] not in absent}
    if sys.version_info < (3, 11):
        expected -= {"_sqlite3.Connection", "_sqlite3.Blob"}  # not all of it, none of it
    assert (failed, set(guarded), left) == ([], expected, [])


def test_a_name_that_no_row_has():
    for name in ("posix.system", "posix", "_random.Random.random", ""):
        try:
            native.guarded(name)
        except KeyError:
            continue
        raise AssertionError(name)
