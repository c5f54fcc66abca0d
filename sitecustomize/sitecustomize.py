"""Activates snapsafe_rt when this folder is on PYTHONPATH, then runs the sitecustomize that this one hides.

`snapsafe install --stdlib` writes the same into the standard library's folder, and `snapsafe bundle` into a bundle.
PYTHONPATH is for every Python on the machine. So an older one, down to 2.7, reads this file without an error, and only
runs the next sitecustomize.
"""

import os
import sys

# The sitecustomize whose place this one took; written by `snapsafe install --stdlib`.
KEPT = ""


def _place(entry):  # type: (str) -> object
    """The same for two ways to one folder. Not realpath(): that costs more than all the rest of this file."""
    try:
        found = os.stat(entry or os.curdir)
    except OSError:
        return entry
    return found.st_dev, found.st_ino


def _has_none(entry):  # type: (str) -> bool
    """Of a plain folder that is told without reading it, most of what a search costs. What is none may have a hook."""
    from _imp import extension_suffixes

    # Two hooks are zipimport's and that of folders. Who puts others than str there is not asked by the importer either.
    if len(sys.path_hooks) > 2 or not isinstance(entry, str) or not os.access(os.path.join(entry, ""), os.F_OK):
        return False
    name = os.path.join(entry, "sitecustomize")
    suffixes = ["", ".py", ".pyc"] + extension_suffixes()  # noqa: RUF005
    return not any(os.access(name + suffix, os.F_OK) for suffix in suffixes)


def _behind(here):  # type: (str) -> list[str]
    """What stands in front of us has run or hides us as well: looking there could call each other for ever."""
    ours = _place(here)
    places = [_place(entry) for entry in sys.path]
    first = places.index(ours) if ours in places else len(places)
    return [entry for entry, place in list(zip(sys.path, places))[first:] if place != ours]  # noqa: B905


def _chain():  # type: () -> None
    """The next sitecustomize takes this module's name, as if ours had not been there.

    Its exceptions pass: site reports them, or not, as it would have.
    """
    from _frozen_importlib import ModuleSpec, module_from_spec
    from _frozen_importlib_external import PathFinder, SourceFileLoader

    here = os.path.dirname(os.path.abspath(__file__))
    kept = os.path.join(here, KEPT)
    if KEPT and os.path.exists(kept):
        spec = ModuleSpec("sitecustomize", SourceFileLoader("sitecustomize", kept), origin=kept)
        spec.has_location = True
    else:
        found = PathFinder.find_spec("sitecustomize", [entry for entry in _behind(here) if not _has_none(entry)])
        if found is None:
            return
        spec = found
    if spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _chain_in_older():  # type: () -> None
    """_chain() for a Python that this package does not support."""
    us, path = (
        sys.modules.pop("sitecustomize"),
        sys.path[:],
    )  # Python 2 clears the globals of a module that nobody holds
    sys.path[:] = _behind(os.path.dirname(os.path.abspath(__file__)))
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        sys.modules["sitecustomize"] = us
    finally:
        sys.path[:] = path


if sys.version_info < (3, 10):  # noqa: UP036
    _chain_in_older()
else:
    try:
        import _snapsafe_start
    except ImportError:  # half of an installation was deleted: no program's fault
        pass
    else:
        _snapsafe_start.activate()
    _chain()
