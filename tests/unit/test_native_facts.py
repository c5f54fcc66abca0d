"""What the core says of itself: the stub, and what Python repeats for the case that there is no core, agree with it."""

import ast
import ctypes
import itertools
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from snapsafe_rt.core import native
from snapsafe_rt.guards import openssl, sqlite3, table
from snapsafe_rt.report import remote
from snapsafe_rt.restore import watcher
from snapsafe_rt.snapshot import announcers
from snapsafe_rt.source import selection, vmclock_file

pytestmark = pytest.mark.internals

ROOT = Path(__file__).parents[2]
STUB = ast.parse((ROOT / "snapsafe_rt/_core.pyi").read_text())
PYTHON_TYPES = {"int": int, "bool": bool, "float": float, "str": str}


def shown():
    """One of each struct; a program of a few lines loads what they are of."""
    native.install(False)
    import sqlite3  # noqa: F401
    import ssl  # noqa: F401

    kind, path = next(("vmclock", path) for path in vmclock_file.private_folders())
    file = vmclock_file.FileSource(f"{path}/snapsafe-facts").create()
    _, _, slot = native.map_source(kind, file.path)
    Path(file.path).unlink()
    yield "SourceState", native.describe_source(slot)
    yield "EpochState", native.inspect_epoch()
    yield "EntropyState", native.inspect_entropy()
    yield "WatcherState", native.inspect_watcher()
    yield "LibcryptoState", native.libcryptos()[0]
    yield "LibsqliteState", native.libsqlites()[0]


class Facts:
    """The headers' words for states, each at the place of its number; and their constants and offsets, by name."""

    KINDS = ("cause", "fence", "how", "connection", "openssl", "sqlite", "kind", "word", "source")

    def __init__(self, library):
        library.number.restype = library.word.restype = ctypes.c_char_p
        self.words = {kind: tuple(self._each(library.word, kind.encode())) for kind in self.KINDS}
        number = ctypes.c_longlong()
        self.numbers = {}
        for name in self._each(library.number, ctypes.byref(number)):
            self.numbers[name] = number.value

    @staticmethod
    def _each(look, argument):
        for at in itertools.count():
            text = look(argument, at)
            if text is None:
                return
            yield text.decode()


@pytest.fixture(scope="module")
def facts(compile_native):
    flags = ("-Wno-unused-function", "-Wno-unused-parameter", "-Wno-missing-field-initializers")
    return Facts(ctypes.PyDLL(compile_native("facts.c", "-I", str(ROOT / "cython"), *flags)))


def literals():
    return {
        node.targets[0].id: ast.literal_eval(node.value.slice)
        for node in STUB.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
    }


def stub_of(name):
    [cls] = [node for node in STUB.body if isinstance(node, ast.ClassDef) and node.name == name]
    return {node.target.id: node.annotation.id for node in cls.body}


def test_structs_are_as_the_stub_says():
    seen = set()
    try:
        for name, value in shown():
            types = stub_of(name)
            assert set(value.__match_args__) == set(types), name
            for field, told in types.items():
                if told in PYTHON_TYPES:
                    assert type(getattr(value, field)) is PYTHON_TYPES[told], (name, field)
                else:
                    assert getattr(value, field) in literals()[told], (name, field)
            seen.add(name)
    finally:
        native.remove()
    assert seen == {node.name for node in STUB.body if isinstance(node, ast.ClassDef) and node.name.endswith("State")}


def test_words_are_as_the_stub_says(facts):
    words = {f"_{name.capitalize()}": words for name, words in facts.words.items()}
    assert {name: words[name] for name in literals()} == literals()


def test_words_without_a_core(facts):
    words = facts.words
    assert words["how"] == remote.HOW
    assert words["cause"] == remote.CAUSES
    assert words["connection"] == remote.CONNECTION
    assert words["openssl"] == remote.OPENSSL
    assert words["sqlite"] == remote.SQLITE
    assert words["kind"] == selection._KINDS
    assert words["source"] == ("", *selection._REASONS)
    assert {"none", *selection._RANK_OF} == set(words["word"])
    assert set(openssl.REASONS) == set(words["openssl"]) - {"none", "guarded", "released"}
    assert set(sqlite3.REASONS) == set(words["sqlite"]) - {"none", "seen", "ready", "released"}
    states = announcers.ABSENT, announcers.UNTRUSTED, announcers.FAILED, announcers.ENDED
    assert ("none", *states, announcers.ASKED, announcers.HELD, announcers.HEARD) == words["connection"]


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("ss_hot_state", remote._HOT),
        ("ss_epoch_cold", remote._COLD),
        ("ss_fence_state", remote._FENCE),
        ("ss_source", remote._SOURCE),
        ("ss_library_table", remote._LIBRARIES),
    ],
)
def test_structs_that_are_read_from_outside(facts, name, layout):
    tokens = re.findall(r"(\d*)([a-zA-Z?])", layout.format)
    offsets, at = [], 0
    for count, code in tokens:
        for _ in range(1 if code == "x" else int(count or 1)):
            size = struct.calcsize(f"<{count}x") if code == "x" else struct.calcsize(f"<{code}")
            if code != "x":
                offsets.append(at)
            at += size
    fields = sorted(at for field, at in facts.numbers.items() if field.startswith(f"{name}."))
    assert offsets[: len(fields)] == fields
    assert len(offsets) - len(fields) <= (name == "ss_library_table")  # its last word is reserved


def test_numbers_without_a_core(facts):
    numbers = facts.numbers
    assert numbers["WATCH_ITEMS"] == watcher.WATCH_ITEMS
    assert numbers["FENCE_SECONDS"] == remote.FENCE_SECONDS
    assert numbers["FENCE_STEP_SECONDS"] == remote.FENCE_STEP_SECONDS
    assert (numbers["STATUS_PAGE_VERSION"], numbers["STATUS_PAGE_TEXT"]) == (remote.VERSION, remote.TEXT_AT)
    assert numbers["VMCLOCK_MAGIC"] == vmclock_file.MAGIC
    assert numbers["VMCLOCK_SIZE"] == vmclock_file.LAYOUT
    assert numbers["VMCLOCK_FLAG_GENERATION"] == vmclock_file.HAS_GENERATION
    for ours, theirs in (
        ("SEQ", "VMCLOCK_OFF_SEQ"),
        ("FLAGS", "VMCLOCK_OFF_FLAGS"),
        ("GENERATION", "VMCLOCK_OFF_GENERATION"),
        ("RESEEDED", "FILE_OFF_RESEEDED"),
        ("SYNCHRONOUS", "FILE_OFF_FROZEN"),
        ("MANAGED", "FILE_OFF_MANAGED"),
        ("SIGNALLER", "FILE_OFF_SIGNALLER"),
        ("SEEN", "FILE_OFF_SEEN"),
    ):
        assert getattr(vmclock_file, f"OFF_{ours}") == numbers[theirs], ours


def test_unreliable_filesystems():
    """The core knows them by number, Python by the name that mountinfo has."""
    listed = re.search(
        r"#define SS_UNRELIABLE_FILE_SYSTEMS\(X\)(.*?)\n\n", (ROOT / "cython/source.h").read_text(), re.S
    )
    named = set(re.findall(r'"(.*?)"', listed[1]))
    assert all(name.startswith(vmclock_file.UNRELIABLE) for name in named)
    assert all(any(name.startswith(known) for name in named) for known in vmclock_file.UNRELIABLE)


def test_the_core_watches_the_modules_of_the_table():
    """Before Python is loaded the core goes by the names that it was built with: after a new line, build it again."""
    script = f"""
import sys
package = sys.modules["snapsafe_rt"] = type(sys)("snapsafe_rt")
package.__path__ = [{str(Path(table.__file__).parents[1])!r}]
from snapsafe_rt import _core
print(*sorted(_core.watched_modules()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(table.TRIGGERS), "the table has other lines than the core: build it again"
