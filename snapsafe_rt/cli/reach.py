"""What keeps `snapsafe run` from protecting a program, as far as its command and this machine tell."""

import glob
import mmap
import os
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Mapping

from snapsafe_rt import settings
from snapsafe_rt.cli import installation, matrix, output
from snapsafe_rt.core import MISSING, NEWEST, native
from snapsafe_rt.source import selection

NAME = re.compile(r"python(?:(\d+)(?:\.(\d+))?)?t?$")
PYINSTALLER = (
    b"MEI\014\013\012\013\016"  # the magic of its archive, which ends the file: PyInstaller/archive/writers.py
)
LEAST = (3, 10)
TAIL = 1 << 20
CLEARS = {  # programs that start others with an environment of their own
    "tox": "tox takes PYTHONPATH from its commands: add `pass_env = PYTHONPATH` and `SNAPSAFE_*` to its testenv",
    "sudo": "sudo clears PYTHONPATH: put `snapsafe run` behind it",
    "su": "su may clear PYTHONPATH: put `snapsafe run` into its command",
    "systemd-run": "systemd-run does not pass PYTHONPATH on: put `snapsafe run` behind it",
    "docker": "a container has an environment of its own: see `snapsafe bundle` and docs/activation.md",
    "podman": "a container has an environment of its own: see `snapsafe bundle` and docs/activation.md",
}
PEX = "a PEX file clears PYTHONPATH: build it with snapsafe-rt in it, and call snapsafe_rt.activate() in the program"
FROZEN = "a program frozen by PyInstaller ignores PYTHONPATH: freeze it with `--hidden-import snapsafe_rt`"


def why_not(program: list[str], environment: Mapping[str, str]) -> str:
    """Why the program will not be protected, with the way out; "" where nothing is known against it."""
    if environment.get("SNAPSAFE") == "0":
        return "SNAPSAFE=0 switches it off: `unset SNAPSAFE`"
    path = shutil.which(program[0])
    if path is None:
        return ""
    return _of_command(path, program[1:]) or _of_source()


def _of_command(path: str, arguments: list[str]) -> str:
    name = os.path.basename(path)
    if name in CLEARS:
        return CLEARS[name]
    if name == "opentelemetry-instrument":
        return next(iter(next(case for case in matrix.TOOLS if case.name == "opentelemetry").but.values()))
    try:
        with open(path, "rb") as file:
            first = file.read(256)
            if first.startswith(b"\x7fELF") and _is_frozen(file.fileno()):
                return FROZEN
    except (OSError, ValueError):  # it may be executable and not readable
        return ""
    if _is_pex(path):
        return PEX
    if first.startswith(b"#!") and not NAME.match(name):  # what the kernel does with it; pyenv's shims are scripts
        words = first[2:].split(b"\n")[0].decode("utf-8", "replace").split()
        words = words[1:] if words and os.path.basename(words[0]) == "env" else words
        interpreter = shutil.which(words[0]) if words else None
        return _of_python(interpreter, [*words[1:], path, *arguments]) if interpreter else ""
    return _of_python(path, arguments)


def _is_frozen(fd: int) -> bool:
    """By PyInstaller, and without packaging/pyinstaller's hook, which the archive's table would name."""
    size = os.fstat(fd).st_size
    begin = max(0, size - TAIL) & -mmap.ALLOCATIONGRANULARITY
    with mmap.mmap(fd, size - begin, access=mmap.ACCESS_READ, offset=begin) as tail:
        return tail.rfind(PYINSTALLER) >= 0 and tail.rfind(b"pyi_rth_snapsafe_rt") < 0


def _is_pex(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "PEX-INFO" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return os.path.exists(os.path.join(path, "PEX-INFO"))


def _of_python(path: str, arguments: list[str]) -> str:
    """A Python tells its version by its name, or by that which the name leads to."""
    named = NAME.match(os.path.basename(os.path.realpath(path)))
    if named is None:
        return ""
    major, minor = (int(one) if one else None for one in named.groups())
    if major is not None and minor is not None:
        if (major, minor) < LEAST:  # a script of the machine's own, say
            return ""
        abi = "t" if named.string.endswith("t") else ""
        has = _look_for_core(f"{major}{minor}{abi}", path)
        if not has:
            return f"no core for Python {major}.{minor} is here: {_core_for((major, minor), path, has is None)}"
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        word = rest.pop(0)
        if word.startswith("--"):
            continue
        letters = re.match(r"-([A-Za-z0-9?]*?)([cmWX]|$)", word)
        for letter in letters[1] if letters else "":
            case = next((case for case in matrix.OPTIONS if case.name == f"-{letter}" and "run" in case.but), None)
            if case is not None:
                install = f"`snapsafe install --python {shlex.quote(path)}`, or " if "install" not in case.but else ""
                return (
                    f"under {case.words} {case.but['run']}: {install}snapsafe_rt.activate() in the program reaches it"
                )
        if letters is None or letters[2] == "c":
            return ""
        value = word[letters.end() :] or (rest.pop(0) if letters[2] and rest else "")
        if letters[2] == "m":
            return CLEARS.get(value.partition(".")[0], "")
    return PEX if rest and _is_pex(rest[0]) else ""


def _core_for(version: tuple[int, int], path: str, managed: bool) -> str:
    """The way to one."""
    if version > NEWEST:
        return f"snapsafe-rt {settings.VERSION} knows Python up to {NEWEST[0]}.{NEWEST[1]}; look for a newer one"
    if managed:
        ways = installation.ways(path)
        return f"pip refuses there (PEP 668), so make an environment, by {ways}, and use the `snapsafe run` of that one"
    return f"`{shlex.quote(path)} -m pip install snapsafe-rt`, or see `snapsafe bundle --help`"


_ASK = """
import os, sys, sysconfig
try:
    import snapsafe_rt._core
except ImportError:
    marked = os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
    sys.exit(2 + (marked and sys.prefix == sys.base_prefix))
"""
_MANAGED = 3


def _look_for_core(version: str, python: str) -> bool | None:
    """None: it has none, and pip refuses to install one there (PEP 668)."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if glob.glob(f"_core.cpython-{version}-*", root_dir=package):
        return True
    try:
        code = subprocess.run([python, "-c", _ASK], capture_output=True, timeout=10).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False
    return None if code == _MANAGED else code == 0


def _of_source() -> str:
    if native is None:
        return MISSING
    candidates, problems = selection.parse(settings.Settings().sources)
    if selection.best(candidates) is not None:
        return ""
    why = "; ".join([output.reasons((one.name, one.why_not) for one in candidates), *problems])
    return f"no source shows a restore here, until one appears: {why}; `snapsafe doctor` tells what to do"
