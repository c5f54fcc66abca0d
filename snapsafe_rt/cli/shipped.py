"""Files that come with the package: the activation folder, units, scripts."""

import os

from snapsafe_rt.errors import Failure


def activation_folder() -> str:
    """The folder whose sitecustomize activates."""
    return os.path.dirname(shipped("sitecustomize", "sitecustomize.py"))


def shipped(folder: str, *names: str) -> str:
    """The path of a file that comes with the package: inside it where it is installed, beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for root in (package, os.path.dirname(package)):
        path = os.path.join(root, folder, *names)
        if os.path.exists(path):
            return path
    raise Failure(f"the folder {folder} is missing from {package}: install snapsafe-rt again")
