"""Activates snapsafe_rt when an interpreter starts: for the sitecustomize beside it and the .pth of `snapsafe install`.

Nothing here may break a program: without a build for this interpreter it does nothing, unless SNAPSAFE_STRICT=1. An
ordinary start is the core's alone (cython/start.pxi); only where that declines is Python of ours imported.
"""

import os
import sys

# The package's folder, seen from this file's; written by `snapsafe install` and `snapsafe bundle`.
PACKAGE = ""


def activate() -> None:
    """Idempotent. Under -E and -I the variables do not count, as no environment variable does: the defaults hold."""
    if _variable("SNAPSAFE") == "0":
        return
    try:
        try:
            if _start():
                return
        except Exception:  # a broken core, say: what follows meets it again, and notes it for status()
            pass
        try:
            __import__("snapsafe_rt.activation")
        except ImportError:
            _load_from_beside()
            __import__("snapsafe_rt.activation")
        sys.modules["snapsafe_rt.activation"].from_site()
    except Exception as error:
        if _variable("SNAPSAFE_STRICT") == "1":
            line = f"snapsafe: refusing to start (SNAPSAFE_STRICT=1): {type(error).__name__}: {error}\n"
            os.write(2, line.encode("utf-8", "backslashreplace"))
            os._exit(78)


def _variable(name: str) -> str:
    return "" if sys.flags.ignore_environment else os.environ.get(name, "")


def _start() -> bool:
    """Have the core start, without a search for the package. False where that is for Python to do, or to say."""
    from _imp import create_dynamic, exec_dynamic

    name = "snapsafe_rt._core"
    if "snapsafe_rt" in sys.modules:
        return False
    # A package that the program has installed goes before the one beside this file.
    first = next((place for place in sys.path if os.access(os.path.join(place, "snapsafe_rt", "__init__.py"), 0)), None)
    try:
        root, core = _package() if first is None else _with_core(os.path.join(first, "snapsafe_rt"))
    except ImportError:
        return False
    # Not importlib.util: these modules of the frozen importer are there already.
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import ExtensionFileLoader

    if name not in sys.modules:
        spec = ModuleSpec(name, ExtensionFileLoader(name, core), origin=core)
        spec.has_location = True
        module = create_dynamic(spec)
        module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, core
        module.__package__ = "snapsafe_rt"
        sys.modules[name] = module
        try:
            exec_dynamic(module)
        except BaseException:
            del sys.modules[name]
            raise
    started: bool = sys.modules[name].start(root)
    return started


def _load_from_beside() -> None:
    """The package this file belongs to, for an interpreter (a venv's, say) on whose path it is not. sys.path stays."""
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    spec = PathFinder.find_spec("snapsafe_rt", [os.path.dirname(_package()[0])])
    if spec is None or spec.loader is None:
        return
    package = module_from_spec(spec)
    sys.modules["snapsafe_rt"] = package
    try:
        spec.loader.exec_module(package)
    except Exception:
        del sys.modules["snapsafe_rt"]
        raise


def _package() -> "tuple[str, str]":
    """The folder of the package that this file belongs to, and its core for this interpreter."""
    here = os.path.dirname(os.path.abspath(__file__))
    # Installed, this folder lies in the package; in a checkout beside it.
    for name in (PACKAGE,) if PACKAGE else (os.pardir, os.path.join(os.pardir, "snapsafe_rt")):
        root = os.path.normpath(os.path.join(here, name))
        if os.path.basename(root) == "snapsafe_rt" and os.access(os.path.join(root, "__init__.py"), os.F_OK):
            return _with_core(root)
    raise ImportError("the package snapsafe_rt was not found")


def _with_core(root: str) -> "tuple[str, str]":
    """The suffix of a core names version, libc and machine."""
    from _imp import extension_suffixes

    suffixes = extension_suffixes()
    for suffix in suffixes:
        core = os.path.join(root, "_core" + suffix)
        if os.access(core, os.F_OK):
            return root, core
    raise ImportError(f"{root} has no core for this interpreter (_core{suffixes[0]})")
