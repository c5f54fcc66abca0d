"""For tests: interpreters that may be altered. A Python with a library of links, environments made of it, listings."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}{'t' if 't' in sys.abiflags else ''}"


def make_python(prefix: Path) -> Path:
    """A copy of this interpreter with a library folder of its own, whose entries are links. Returns its executable."""
    base = Path(sysconfig.get_paths(vars={"base": sys.base_prefix})["stdlib"])
    library = prefix / "lib" / VERSION
    for folder in ("", "__pycache__"):
        (library / folder).mkdir(parents=True)
        for entry in (base / folder).iterdir() if (base / folder).is_dir() else ():
            if (
                entry.name not in ("site-packages", "dist-packages", "__pycache__")
                and "sitecustomize" not in entry.name
            ):
                (library / folder / entry.name).symlink_to(entry)
    (prefix / "bin").mkdir()
    executable = prefix / "bin" / VERSION
    shutil.copy2(os.path.realpath(sys.executable), executable)
    (library / "site-packages").mkdir()
    (prefix / "local" / "lib" / VERSION / "dist-packages").mkdir(parents=True)  # Debian's
    for name in ("pythonXY.zip", "dist-packages"):
        assert not (prefix / name).exists()
    facts = "import sys, os; print(sys.prefix, os.path.dirname(os.__file__))"
    # Once before anybody looks, so that what Python compiles for itself is there.
    said = subprocess.run([executable, "-c", facts], capture_output=True, text=True, timeout=60)
    assert said.stdout.split() == [str(prefix), str(library)], said
    return executable


def make_venv(python: Path, folder: Path, *options: str) -> Path:
    done = subprocess.run(
        [python, "-m", "venv", "--without-pip", *options, folder], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "python"


def site_packages(python: Path) -> Path:
    """The folder that pip would install to."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())


def copy_package(package: Path, activation: Path, target: Path) -> Path:
    """The package as pip would lay it into a folder, with the core of this interpreter only."""
    core = f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    skip = shutil.ignore_patterns("__pycache__", "sitecustomize")
    shutil.copytree(package, target / "snapsafe_rt", ignore=skip)
    shutil.copytree(activation, target / "snapsafe_rt" / "sitecustomize", ignore=skip)
    for path in (target / "snapsafe_rt").glob("_core*.so"):
        if path.name != core:
            path.unlink()
    return target / "snapsafe_rt"


def listing(*folders: Path) -> dict[str, object]:
    """Every name below, with content, target or time: what an exact undo must give back."""
    seen: dict[str, object] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            about = path.lstat()
            if path.is_symlink():
                seen[str(path)] = (os.readlink(path), about.st_mtime_ns)
            elif path.is_dir():
                seen[str(path)] = about.st_mode
            else:
                seen[str(path)] = (path.read_bytes(), about.st_mode, about.st_mtime_ns)
    return seen
