"""Activates snapsafe_rt when an interpreter starts: for the sitecustomize beside it and the .pth of `snapsafe install`.

Nothing here may break a program: without a build for this interpreter it does nothing, unless SNAPSAFE_STRICT=1.
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
            __import__("snapsafe_rt.activation")
        except ImportError:
            _load_from_beside()
        sys.modules["snapsafe_rt.activation"].from_site()
    except Exception as error:
        if _variable("SNAPSAFE_STRICT") == "1":
            line = f"snapsafe: refusing to start (SNAPSAFE_STRICT=1): {type(error).__name__}: {error}\n"
            os.write(2, line.encode("utf-8", "backslashreplace"))
            os._exit(78)


def _variable(name: str) -> str:
    return "" if sys.flags.ignore_environment else os.environ.get(name, "")


def _load_from_beside() -> None:
    """The package this file belongs to, for an interpreter (a venv's, say) on whose path it is not. sys.path stays."""
    root = _package()
    start = os.path.join(root, "__init__.py")
    # Not importlib.util: this module of the frozen importer is there already.
    from _frozen_importlib import ModuleSpec, module_from_spec
    from _frozen_importlib_external import SourceFileLoader

    loader = SourceFileLoader("snapsafe_rt", start)
    spec = ModuleSpec("snapsafe_rt", loader, origin=start, is_package=True)
    spec.submodule_search_locations = [root]
    spec.has_location = True
    package = module_from_spec(spec)
    sys.modules["snapsafe_rt"] = package
    try:
        loader.exec_module(package)
    except Exception:
        del sys.modules["snapsafe_rt"]
        raise


def _package() -> str:
    """Its folder, if it has a core for this interpreter. The suffix names version, libc and machine."""
    import _imp

    here = os.path.dirname(os.path.abspath(__file__))
    # Installed, this folder lies in the package; in a checkout beside it.
    for name in (PACKAGE,) if PACKAGE else (os.pardir, os.path.join(os.pardir, "snapsafe_rt")):
        root = os.path.normpath(os.path.join(here, name))
        if os.path.basename(root) == "snapsafe_rt" and os.path.exists(os.path.join(root, "__init__.py")):
            suffixes = _imp.extension_suffixes()
            if any(os.path.exists(os.path.join(root, "_core" + suffix)) for suffix in suffixes):
                return root
            raise ImportError(f"{root} has no core for this interpreter (_core{suffixes[0]})")
    raise ImportError("the package snapsafe_rt was not found")
