"""One file a path; `every()` reads them all."""

import importlib
import pkgutil
import sys

from benchmarks.case import Case


def every() -> list[tuple[str, Case]]:
    """(file, case) of all that this Python has, in the order of the files' names."""
    found = []
    for info in pkgutil.iter_modules(__path__):
        for case in importlib.import_module(f"{__name__}.{info.name}").CASES:
            if case.since <= sys.version_info[:2] <= case.until:
                found.append((info.name, case))
    return found
