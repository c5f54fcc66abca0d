"""What `snapsafe install`, `uninstall` and `bundle` share: where an interpreter looks, and the files they write there.

Each file written begins with a line that holds the hash of the rest. So it is known again later, also by another
version of this package, and what somebody has changed by hand is never overwritten or deleted.
"""

import contextlib
import errno
import filecmp
import glob
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from snapsafe_rt.cli.shipped import PACKAGE, activation_folder
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, USAGE, Failure

PTH, START, HOOK, SITE = "snapsafe_rt.pth", "snapsafe_rt.start", "_snapsafe_start.py", "sitecustomize.py"
KEPT = "_snapsafe_kept.py"  # the sitecustomize whose place ours took
OUTLIVES = (3, 18)  # from here on site ignores the import lines of a .pth (PEP 829)

# One line, and an import statement to site; nothing of it may raise.
_PTH_CODE = "try:\n import _snapsafe_start\nexcept ImportError:\n pass\nelse:\n _snapsafe_start.activate()"
_PTH_LINE = f"import sys; exec({_PTH_CODE!r})\n"
_START_LINE = "_snapsafe_start:activate\n"
_MARK = re.compile(
    rb"# Written by snapsafe-rt; `snapsafe uninstall` takes it away\. sha256 of what follows: ([0-9a-f]{64})\n"
)

_DESCRIBE = """
import _imp, json, os, site, sys, sysconfig
sites = [sysconfig.get_path("purelib"), *site.getsitepackages()]
if site.ENABLE_USER_SITE:
    sites.append(site.getusersitepackages())
print(json.dumps({"version": list(sys.version_info[:2]), "suffix": _imp.extension_suffixes()[0], "name": sys.executable,
    "stdlib": os.path.dirname(os.__file__), "sites": sites, "venv": sys.prefix != sys.base_prefix}))
"""
_COMPILE = """
import py_compile, sys
for path in sys.argv[1:]:
    try:
        py_compile.compile(path, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    except (OSError, py_compile.PyCompileError):
        pass
"""
_CHECK = """
import sys
core, room = sys.modules.get("snapsafe_rt._core"), sys.modules.get("snapsafe_rt.state")
print("yes" if core and core.active() else room.state.why_not if room else "it was not run")
"""


class Target(NamedTuple):
    """An interpreter that is to activate at its start."""

    name: str  # its executable, or the prefix it was found in
    version: tuple[int, int]
    suffix: str  # of its extension modules: names version, machine and libc; "" where nothing tells it
    stdlib: str
    sites: tuple[str, ...]  # the folders whose .pth files it runs, the preferred one first; those that exist
    venv: bool
    prefix: str  # "" if it was asked itself

    @property
    def abi(self) -> str:
        """What its names have behind the version where there is no GIL."""
        return "t" if os.path.basename(self.stdlib).endswith("t") else ""

    def __str__(self) -> str:
        about = f"CPython {self.version[0]}.{self.version[1]}{self.abi}"
        libc = self.suffix.split(".")[1].split("-", 2)[2] if self.suffix.count("-") >= 2 else ""
        return f"{self.name} ({about}{', ' + libc if libc else ''})"


def of_python(executable: str) -> Target:
    """Asks the interpreter. Raises Failure where it cannot be run or is no CPython that this package is made for."""
    found = shutil.which(executable)
    if found is None:
        raise Failure(f"{executable}: no such program; --python takes an interpreter, --prefix a folder", USAGE)
    try:
        # Not -I: that would hide the user's site-packages.
        done = _run(found, _DESCRIBE)
        facts = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        raise Failure(f"{executable}: did not say where its packages are; is it a Python 3.10 or newer?") from None
    sites = dict.fromkeys(os.path.realpath(folder) for folder in facts["sites"] if os.path.isdir(folder))
    name, version = facts["name"] or found, tuple(facts["version"])
    return Target(name, version, facts["suffix"], facts["stdlib"], tuple(sites), facts["venv"], "")


def _run(executable: str, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    dropped = ("SNAPSAFE", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONNOUSERSITE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return subprocess.run(
        [executable, "-c", script, *arguments],
        env=clean,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def beside(python: str) -> list[str]:
    """Commands, any one of which gives a Python that is a distribution's, where pip refuses (PEP 668), its package."""
    quoted = shlex.quote(python)
    return [
        f"{quoted} -m venv ~/snapsafe && ~/snapsafe/bin/pip install snapsafe-rt   # then ~/snapsafe/bin/snapsafe",
        f"pipx install --python {quoted} snapsafe-rt",
        f"uv tool install --python {quoted} snapsafe-rt",
    ]


def ways(python: str) -> str:
    """The same in a sentence."""
    return " or ".join(f"`{command.partition('   #')[0]}`" for command in beside(python))


def of_prefix(prefix: str) -> list[Target]:
    """What is installed below a prefix or is a virtual environment there; nothing of it is executed.

    Raises Failure where there is no Python's library.
    """
    prefix = os.path.realpath(prefix)
    config = os.path.join(prefix, "pyvenv.cfg")
    home = _value(config, "home") if os.path.exists(config) else ""
    base = os.path.dirname(os.path.realpath(home)) if home else prefix
    found = []
    for library in sorted(glob.glob(os.path.join(glob.escape(prefix), "lib", "python3.*"))):
        if not (match := re.fullmatch(r"python3\.(\d+)t?", os.path.basename(library))) or not os.path.isdir(library):
            continue
        stdlib = os.path.join(base, "lib", os.path.basename(library))
        places = [os.path.join(library, "site-packages")]
        if not home and _contains(os.path.join(stdlib, "site.py"), "dist-packages"):
            # Debian's site looks elsewhere, and only there; pip's folder first.
            local = os.path.join(prefix, "local", "lib", os.path.basename(library), "dist-packages")
            shared = os.path.join(prefix, "lib", "python3", "dist-packages")
            places = [local, shared, os.path.join(library, "dist-packages")]
        sites = tuple(place for place in places if os.path.isdir(place))
        if sites and (home or os.path.exists(os.path.join(stdlib, "os.py"))):
            version = (3, int(match[1]))
            found.append(Target(prefix, version, _suffix(stdlib), stdlib, sites, bool(home), prefix))
    if not found:
        inside = os.path.join(prefix, "usr")
        hint = f"; {inside} has" if glob.glob(os.path.join(glob.escape(inside), "lib", "python3.*")) else ""
        raise Failure(f"{prefix}: has no lib/python3.* with a library and site-packages{hint}", USAGE)
    return found


def _contains(path: str, word: str) -> bool:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return word in file.read()
    return False


def _value(path: str, key: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            name, _, value = line.partition("=")
            if name.strip().lower() == key:
                return value.strip()
    return ""


def _suffix(stdlib: str) -> str:
    """EXT_SUFFIX as the build wrote it down. Debug builds beside it have a "_d_" in the name."""
    for path in sorted(glob.glob(os.path.join(glob.escape(stdlib), "_sysconfigdata__*.py"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            if match := re.search(r"'EXT_SUFFIX': '(\.[^']+\.so)'", file.read()):
                return match[1]
    return ""


def cores(package: str) -> list[str]:
    """The suffixes of the cores that a package has."""
    names = glob.glob(os.path.join(glob.escape(package), "_core*.so"))
    return sorted(os.path.basename(name)[len("_core") :] for name in names)


def fits(target: Target, package: str) -> bool:
    """Has the package a core for it? Where the exact suffix is not known, one of its version must do."""
    if not os.path.exists(os.path.join(package, "__init__.py")):
        return False
    version = f".cpython-{target.version[0]}{target.version[1]}{target.abi}-"
    return any(suffix == target.suffix if target.suffix else suffix.startswith(version) for suffix in cores(package))


def choose(target: Target, stdlib: bool) -> tuple[str, str]:
    """(folder, package): where the files go, and which package they load. Raises Failure where none fits."""
    inside = [folder for folder in target.sites if fits(target, os.path.join(folder, "snapsafe_rt"))]
    # Beside this very package, if that is a place of the interpreter's.
    inside.sort(key=lambda folder: os.path.join(folder, "snapsafe_rt") != os.path.realpath(PACKAGE))
    if inside:
        package = os.path.join(inside[0], "snapsafe_rt")
        return (target.stdlib if stdlib else inside[0]), package
    outside = not target.prefix and fits(target, PACKAGE)
    if not target.sites or not outside:
        where = ", ".join(target.sites) or "its site-packages, which do not exist"
        what = target.suffix[1:].removesuffix(".so") or f"CPython 3.{target.version[1]}{target.abi}"
        way = f"pip install --prefix {target.prefix}" if target.prefix else f"{target.name} -m pip install"
        way = f"{way} snapsafe-rt"
        if not target.prefix and managed(target):
            way = f"make an environment beside it, as pip refuses there (PEP 668), by {ways(target.name)}"
        raise Failure(f"{target}: no snapsafe_rt built for {what} in {where}; first: {way}", FAILED)
    return (target.stdlib if stdlib else target.sites[0]), PACKAGE


def contents(target: Target, folder: str, package: str, *, stdlib: bool, start: bool, kept: bool) -> dict[str, bytes]:
    """Of each file for this folder, in the order in which they may appear one by one."""
    # In a prefix everything is relative: an image is seen at another path when it runs.
    near = target.prefix or os.path.dirname(package) == folder
    there = os.path.relpath(package, folder) if near else package
    names = {HOOK: filled(HOOK, "PACKAGE", there)}
    if stdlib:
        names[SITE] = filled(SITE, "KEPT", KEPT if kept else "")
    else:
        if start:
            names[START] = _START_LINE
        names[PTH] = _PTH_LINE
    return {name: signed(text) for name, text in names.items()}


def filled(name: str, variable: str, value: str) -> str:
    """A file of the activation folder with its constant set."""
    with open(os.path.join(activation_folder(), name), encoding="utf-8") as file:
        text = file.read()
    if f'\n{variable} = ""\n' not in text:
        raise Failure(f"{file.name}: is not this version's; install snapsafe-rt again")
    return text.replace(f'\n{variable} = ""\n', f"\n{variable} = {value!r}\n", 1)


def signed(text: str) -> bytes:
    body = text.encode()
    digest = hashlib.sha256(body).hexdigest()
    return (
        f"# Written by snapsafe-rt; `snapsafe uninstall` takes it away. sha256 of what follows: {digest}\n".encode()
        + body
    )


def state(path: str) -> str:
    """ "absent", "ours", "changed" (ours, then changed by somebody) or "foreign"."""
    try:
        if os.path.islink(path):
            return "foreign"
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return "absent"
    except OSError as error:
        raise refused(path, error) from None
    match = _MARK.match(content)
    if not match:
        return "foreign"
    return "ours" if hashlib.sha256(content[match.end() :]).hexdigest().encode() == match[1] else "changed"


def write(path: str, content: bytes, mode: int = 0o644) -> bool:
    """Whole or not at all. False where it stands there already. Raises Failure."""
    try:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            if file.read() == content and not os.path.islink(path):
                return False
        fd, temporary = tempfile.mkstemp(prefix=".snapsafe-", dir=os.path.dirname(path))
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                os.fchmod(fd, mode)  # whatever the umask: other users' programs read it
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise refused(path, error) from None
    return True


def compile_for(python: str, paths: "list[str]") -> None:
    """Have `python` put bytecode beside these files that is valid wherever they are put (PEP 552, checked by hash).

    So a start does not compile them, in a folder that cannot be written, or under PYTHONDONTWRITEBYTECODE. What cannot
    be compiled is left to each start.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        _run(python, _COMPILE, *paths)


def same(one: str, other: str) -> bool:
    """Equal links, or equal files."""
    if os.path.islink(one) or os.path.islink(other):
        return os.path.islink(one) and os.path.islink(other) and os.readlink(one) == os.readlink(other)
    return filecmp.cmp(one, other, shallow=False)


def move(source: str, target: str) -> None:
    """With what Python has compiled of it, so that this comes back as it was too. Raises Failure."""
    try:
        for compiled in _compiled(source):
            tag = os.path.basename(compiled).split(".", 1)[1]
            stem = os.path.basename(target).removesuffix(".py")
            os.replace(compiled, os.path.join(os.path.dirname(compiled), f"{stem}.{tag}"))
        os.replace(source, target)
    except OSError as error:
        raise refused(source, error) from None


def forget_compiled(path: str) -> None:
    for compiled in _compiled(path):
        os.unlink(compiled)


def _compiled(path: str) -> list[str]:
    folder, name = os.path.split(path)
    if not name.endswith(".py"):
        return []
    return glob.glob(os.path.join(glob.escape(folder), "__pycache__", name.removesuffix(".py") + ".*.pyc"))


def sweep(folder: str) -> None:
    """The folder of compiled files goes when nothing is left in it."""
    with contextlib.suppress(OSError):
        os.rmdir(os.path.join(folder, "__pycache__"))


def refused(path: str, error: OSError) -> Failure:
    """The line and the exit code for what the system did not permit."""
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return Failure(
            f"{path}: cannot be written ({error.strerror}): run this as the folder's owner, or use an environment of "
            "your own, or `snapsafe run`, which writes nothing",
            NOT_PERMITTED,
        )
    return Failure(f"{path}: {error.strerror}")


def works(target: Target) -> str:
    """Starts the interpreter: "" if it is active then, else why not."""
    try:
        answer = _run(target.name, _CHECK).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        answer = str(error)
    return "" if answer == "yes" else answer or "it did not start"


def others(target: Target) -> list[str]:
    """The other interpreters of this machine: on PATH, of pyenv, of uv. Each once, by the path a user would call."""
    home = os.path.expanduser("~")
    pyenv = os.environ.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(
        os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share"), "uv", "python"
    )
    places = sorted(glob.glob(os.path.join(pyenv, "versions", "*", "bin")) + glob.glob(os.path.join(uv, "*", "bin")))
    # A virtual environment's own programs are links to its base's, which is another one.
    seen = set() if target.venv else {os.path.realpath(target.name)}
    own = os.path.dirname(os.path.abspath(target.name))
    found = []
    for path in on_path(os.pathsep.join([os.environ.get("PATH", ""), *places])):
        real = os.path.realpath(path)
        if os.path.dirname(os.path.abspath(path)) != own and real not in seen:
            seen.add(real)
            found.append(path)
    return found


def on_path(path: str) -> list[str]:
    """The interpreters in these folders, in their order, by the names that a user would call."""
    found = []
    for place in filter(None, path.split(os.pathsep)):
        for name in sorted(glob.glob(os.path.join(glob.escape(place), "python*"))):
            is_python = re.fullmatch(r"python(3(\.\d+)?[td]*)?", os.path.basename(name))
            if is_python and _is_program(os.path.realpath(name)):
                found.append(name)
    return found


def _is_program(path: str) -> bool:
    """Not a script such as pyenv's shims."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return os.access(path, os.X_OK) and file.read(4) == b"\x7fELF"
    return False


def managed(target: Target) -> bool:
    """Does a distribution look after it (PEP 668)?"""
    return not target.venv and os.path.exists(os.path.join(target.stdlib, "EXTERNALLY-MANAGED"))


def targets(options: Any) -> list[Target]:
    """What --prefix, --python, or neither of them means."""
    if options.prefix is not None:
        return of_prefix(options.prefix)
    if options.python is None and not sys.executable:
        raise Failure("this interpreter does not know its own path: name one with --python", USAGE)
    return [of_python(options.python or sys.executable)]
