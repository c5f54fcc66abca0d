"""snapsafe bundle: one folder for PYTHONPATH that fits several versions of Python, machines and C libraries.

    DIR/sitecustomize.py, DIR/_snapsafe_start.py     what PYTHONPATH=DIR runs
    DIR/snapsafe-rt/snapsafe_rt/                     the package, with one core for each interpreter: _core.TAG.so

An interpreter takes the core that has its own tag, as for every extension module; without one it does nothing. The
package lies in a folder of its own so that it never hides one that a program has installed and that fits.
"""

import argparse
import os
import pathlib
import shlex
import sys
import zipfile
import zlib

from snapsafe_rt.cli import installation as files
from snapsafe_rt.cli import matrix, output
from snapsafe_rt.cli.shipped import PACKAGE, activation_folder
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, USAGE, Failure

INSIDE = os.path.join("snapsafe-rt", "snapsafe_rt")

EXAMPLES = ("snapsafe bundle /srv/snapsafe", "snapsafe bundle /srv/snapsafe --wheel dist/*.whl")
EXITS = {
    OK: "done",
    FAILED: "not all of one version, or no wheel",
    NOT_PERMITTED: "the folder may not be written",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="the bundle; made, or added to")
    parser.add_argument(
        "--wheel",
        metavar="FILE",
        nargs="+",
        action="extend",
        help="add what these wheels of snapsafe-rt hold (default: the package that runs this command)",
    )
    parser.epilog = "Run it with each interpreter, or give it their wheels. Then: PYTHONPATH=DIR python app.py"


def main(options: argparse.Namespace) -> int:
    folder = os.path.abspath(options.folder)
    if os.pathsep in folder:
        raise Failure(f"{folder}: PYTHONPATH cannot hold a path with {os.pathsep!r} in it", USAGE)
    # All are read before anything is written.
    added = [_of_wheel(path) for path in options.wheel] if options.wheel else [_of_this()]
    present = _present(os.path.join(folder, INSIDE))
    for name, package in added:
        _check_same(present or added[0][1], package, name, folder)
    for _, package in added:
        for path, content in package.items():
            _write(os.path.join(folder, INSIDE, path), content)
    for name, variable, value in ((files.HOOK, "PACKAGE", INSIDE), (files.SITE, "KEPT", "")):
        _write(os.path.join(folder, name), files.signed(files.filled(name, variable, value)))
    # For this interpreter; another one of the bundle does it when it runs this command.
    written = [os.path.join(folder, name) for name in (files.HOOK, files.SITE)]
    written += [os.path.join(folder, INSIDE, path) for path in added[0][1] if path.endswith(".py")]
    files.compile_for(sys.executable, written)
    _tell(folder)
    return OK


def _of_this() -> tuple[str, dict[str, bytes]]:
    if native is None:
        raise Failure(f"this interpreter has no core to give: {MISSING}")
    core = os.path.basename(native.__file__)
    package = _present(PACKAGE)
    package = {path: content for path, content in package.items() if path == core or not _is_core(path)}
    # In a checkout it lies beside the package.
    for name in (files.HOOK, files.SITE):
        package[os.path.join("sitecustomize", name)] = pathlib.Path(activation_folder(), name).read_bytes()
    return PACKAGE, package


def _of_wheel(path: str) -> tuple[str, dict[str, bytes]]:
    package: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                inside = os.path.normpath(name)
                if inside.startswith("snapsafe_rt" + os.sep) and not name.endswith("/"):
                    package[inside.partition(os.sep)[2]] = wheel.read(name)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise Failure(f"{path}: is not a wheel: {error}") from None
    if "__init__.py" not in package or not any(map(_is_core, package)):
        raise Failure(f"{path}: is no wheel of snapsafe-rt with a core in it")
    return path, package


def _is_core(path: str) -> bool:
    return path.startswith("_core.") and path.endswith(".so")


def _present(root: str) -> dict[str, bytes]:
    paths = (path.relative_to(root) for path in pathlib.Path(root).rglob("*") if path.is_file())
    return {str(path): pathlib.Path(root, path).read_bytes() for path in paths if "__pycache__" not in path.parts}


def _check_same(present: dict[str, bytes], package: dict[str, bytes], name: str, folder: str) -> None:
    """One package serves all cores, so they must be of one source."""
    for path in sorted(present.keys() | package.keys()):
        of_one_interpreter = _is_core(path) or path.endswith(".pyc")
        if not of_one_interpreter and present.get(path) != package.get(path):
            raise Failure(
                f"{name}: is another version than the rest of {folder} (they differ in {path}): make a new "
                "bundle, all of one version",
                FAILED,
            )


def _write(path: str, content: bytes) -> None:
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    except OSError as error:
        raise files.refused(path, error) from None
    files.write(path, content, 0o755 if path.endswith(".so") else 0o644)


def _tell(folder: str) -> None:
    output.say("The bundle has cores for:")
    for suffix in files.cores(os.path.join(folder, INSIDE)):
        output.say(f"  {suffix[1:].removesuffix('.so')}")
    output.say("To use it:")
    output.command(f"PYTHONPATH={shlex.quote(folder)} python app.py")
    output.say("Not reached, and left alone:")
    output.say("  interpreters with another tag (SNAPSAFE_STRICT=1 refuses them)")
    for words in matrix.unreached("bundle"):
        output.say(f"  {words}")
