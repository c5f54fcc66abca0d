"""Activates snapsafe_rt when this folder is on PYTHONPATH, then runs the sitecustomize that this one hides.

Nothing here may break a program: without a build for this interpreter it does nothing, unless SNAPSAFE_STRICT=1.
"""

import os
import sys


def _activate() -> None:
    if os.environ.get("SNAPSAFE") == "0":
        return
    try:
        try:
            __import__("snapsafe_rt.activation")
        except ImportError:
            _load_from_beside()
        sys.modules["snapsafe_rt.activation"].from_site()
    except Exception as error:
        _refuse(f"{type(error).__name__}: {error}")


def _load_from_beside() -> None:
    """The package this file belongs to, for an interpreter (a venv's, say) on whose path it is not. sys.path stays."""
    here = os.path.dirname(os.path.abspath(__file__))
    for root in (os.path.dirname(here), os.path.join(os.path.dirname(here), "snapsafe_rt")):
        start = os.path.join(root, "__init__.py")
        if os.path.basename(root) == "snapsafe_rt" and os.path.exists(start):
            break
    else:
        raise ImportError("the package snapsafe_rt was not found")
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


def _refuse(reason: str) -> None:
    if os.environ.get("SNAPSAFE_STRICT") == "1":
        os.write(2, f"snapsafe: refusing to start (SNAPSAFE_STRICT=1): {reason}\n".encode("utf-8", "backslashreplace"))
        os._exit(78)


def _chain() -> None:
    """The next sitecustomize of the path takes this module's name, as if ours had not been there.

    Its exceptions pass: site reports them, or not, as it would have.
    """
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    here = os.path.realpath(os.path.dirname(os.path.abspath(__file__)))
    behind = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]
    spec = PathFinder.find_spec("sitecustomize", behind)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if not sys.flags.ignore_environment:
    _activate()
_chain()
