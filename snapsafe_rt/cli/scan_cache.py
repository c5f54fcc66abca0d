"""What was found in shared objects, kept between commands: to read 300 of them anew takes a second.

A file of this user's own, in a folder of his own; one that anybody else may write is neither read nor replaced. It is
always right to delete it.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator

from snapsafe_rt import settings
from snapsafe_rt.guards import scan

MOST = 5000  # files; beyond that it begins anew


def path() -> str:
    if os.geteuid() == 0:
        return "/var/cache/snapsafe/found.json"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "snapsafe", "found.json")


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Know what was found by earlier commands, and remember what is found now. Fails silently: then all is read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        scan.cache.update(_load(path()))
    before = set(scan.cache)
    try:
        yield
    finally:
        if set(scan.cache) != before:
            with contextlib.suppress(OSError):
                _save(path())


def _load(name: str) -> "dict[scan.Key, scan.Found]":
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(file) as text:
        status = os.fstat(text.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return {}
        told = json.load(text)
    if told["version"] != _VERSION:
        return {}
    found = {}
    for key, *kinds in told["found"]:
        dev, ino, size, modified, changed = map(int, key)
        found[dev, ino, size, modified, changed] = scan.Found(*(tuple(map(str, kind)) for kind in kinds))
    return found


# What is looked for may differ with each version.
_VERSION = [settings.VERSION, *(text.decode("latin-1") for text in (*scan.TEXTS, *scan.EXPORTS, *scan.DRAWING))]


def _save(name: str) -> None:
    folder = os.path.dirname(name)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    status = os.stat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        return
    entries = [[list(key), *map(list, found)] for key, found in list(scan.cache.items())[-MOST:]]
    fresh = f"{name}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh)
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(file, "w") as text:
            json.dump({"version": _VERSION, "found": entries}, text)
        os.replace(fresh, name)
    except OSError:
        os.unlink(fresh)
        raise
