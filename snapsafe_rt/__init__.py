"""Unchanged Python programs that never repeat themselves in a clone of a virtual machine or container.

A snapshot that is restored many times wakes every copy with the same memory: the same random state, OpenSSL DRBG, UUID
clock sequence. Activated, this package looks at a counter that the hypervisor (or whoever restores) changes, before and
after every draw, and renews what the copies would share.

Nothing is patched by importing it: activate() does that, or the folder that `snapsafe run` puts on PYTHONPATH.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    from snapsafe_rt.asynchronous import acheck
    from snapsafe_rt.callbacks import (
        register_after_restore,
        register_at_snapshot,
        register_before_snapshot,
        unregister,
    )
    from snapsafe_rt.events import cause, check
    from snapsafe_rt.report import Status


def _preload() -> None:
    """Import what every start needs, without the search for each: that is a third of what activation costs.

    Its place is known, and beside it lies its bytecode, which is believed on the importer's own terms: this Python's
    magic number, time and size of the source. Whatever is not so (no bytecode yet, or such as goes by hashes; a zip;
    another importer; PYTHONPYCACHEPREFIX) or fails is left to the import statements below. Runs while the package is
    imported, so with its lock held.
    """
    from _frozen_importlib import ModuleSpec, module_from_spec
    from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader
    from _imp import extension_suffixes

    package = sys.modules[__name__]
    cached, folder = str(getattr(__spec__, "cached", None)), __path__[0]
    suffix = cached.removeprefix(f"{folder}/__pycache__/__init__")  # has the version and the level of optimisation
    if type(getattr(__spec__, "loader", None)) is not SourceFileLoader or suffix == cached:
        return
    # Each after what it imports.
    for short in ("settings", "_core", "core", "patches", "record", "imports", "sources", "activation", "generation"):
        name, place, file = f"{__name__}.{short}", folder, short
        if name in sys.modules or (short == "_core" and "t" in getattr(sys, "abiflags", "")):
            continue  # it was put there, or core.py tells why it is not loaded
        if short == "_core":
            extension = ExtensionFileLoader(name, f"{folder}/_core{extension_suffixes()[0]}")
            spec = ModuleSpec(name, extension, origin=extension.path)
        else:
            if short == "patches":
                place, file = f"{folder}/patches", "__init__"
            source = f"{place}/{file}.py"
            spec = ModuleSpec(name, SourceFileLoader(name, source), origin=source, is_package=place is not folder)
            if place is not folder:
                spec.submodule_search_locations = [place]
        spec.has_location = True
        try:
            code = None if short == "_core" else _bytecode(source, f"{place}/__pycache__/{file}{suffix}")
            module = sys.modules[name] = module_from_spec(spec)
            if code is None:
                extension.exec_module(module)
            else:
                exec(code, vars(module))  # noqa: S102 - as the importer does
        except BaseException as error:
            sys.modules.pop(name, None)
            if not isinstance(error, Exception):
                raise  # Ctrl-C: who imports it again finds nothing half-made
            return
        setattr(package, short, module)


def _bytecode(source: str, compiled: str) -> "CodeType":
    """What `compiled` holds, if it is of `source` as it is now. Raises OSError or ValueError."""
    import marshal
    import posix
    from _frozen_importlib_external import MAGIC_NUMBER

    found = posix.stat(source)
    fd = posix.open(compiled, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        read = posix.read(fd, posix.fstat(fd).st_size)
    finally:
        posix.close(fd)
    stamp = b"".join(part.to_bytes(4, "little") for part in (0, int(found.st_mtime), found.st_size))
    if read[:16] != MAGIC_NUMBER + stamp:
        raise ValueError(compiled)
    code: CodeType = marshal.loads(memoryview(read)[16:])
    return code


_preload()

from snapsafe_rt.activation import activate, deactivate  # noqa: E402
from snapsafe_rt.generation import entropy, epoch, notify_restored, per_generation  # noqa: E402
from snapsafe_rt.settings import VERSION as __version__  # noqa: E402

__all__ = [
    "__version__",
    "acheck",
    "activate",
    "cause",
    "check",
    "deactivate",
    "entropy",
    "epoch",
    "notify_restored",
    "per_generation",
    "register_after_restore",
    "register_at_snapshot",
    "register_before_snapshot",
    "status",
    "unregister",
]


def __getattr__(name: str) -> object:
    """What only programs with callbacks pay for is imported when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = {"acheck": "asynchronous", "cause": "events", "check": "events"}.get(name, "callbacks")
    # All at once: the package may not be read any more when the program has dropped its privileges.
    snapshots = ("lifecycle",) if name in ("register_before_snapshot", "register_at_snapshot") else ()
    for needed in (room, "callbacks", "events", "watching", "groups", *snapshots):
        __import__(f"{__name__}.{needed}")
    value: object = getattr(sys.modules[f"{__name__}.{room}"], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def status() -> "Status":
    """What is true of this process now: source, epoch, fence, and the protection of each subsystem.

    Returns a snapsafe_rt.report.Status; `.as_dict()` is what `snapsafe status --json` prints. Looks for a better source
    first, and draws one byte from each libcrypto to see its guard run. Any thread; raises nothing of its own.
    """
    from snapsafe_rt.report import Status

    return Status.now()
