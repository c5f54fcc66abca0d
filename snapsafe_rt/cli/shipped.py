"""Files that come with the package: the activation folder, units, scripts; and the line for one that is refused."""

import os

from snapsafe_rt.errors import NOT_PERMITTED, Failure

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def activation_folder() -> str:
    """The folder whose sitecustomize activates."""
    return os.path.dirname(shipped("sitecustomize", "sitecustomize.py"))


def shipped(folder: str, *names: str) -> str:
    """The path of a file that comes with the package: inside it where it is installed, beside it in a checkout."""
    for root in (PACKAGE, os.path.dirname(PACKAGE)):
        path = os.path.join(root, folder, *names)
        if os.path.exists(path):
            return path
    raise Failure(f"the folder {folder} is missing from {PACKAGE}: install snapsafe-rt again")


def failure(path: str, error: OSError, way_out: str) -> Failure:
    """What the system refused at `path`; `way_out`: instead of running this as root."""
    where = error.filename or path
    if isinstance(error, PermissionError):
        refused = f"{where}: not permitted to user {os.geteuid()} ({error.strerror})"
        return Failure(f"{refused}; run this as root, or {way_out}", NOT_PERMITTED)
    return Failure(f"{where}: {error.strerror or error}")
