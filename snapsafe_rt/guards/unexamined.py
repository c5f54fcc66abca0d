"""What is loaded and stands in no table: judged by what scan.py finds in the mapped files. Reports ask for it.

Three answers, never two. A library is known, and guarded or refreshed (its own row says that), or it needs nothing. Or
it is known and *unprotected*. Or it bears signs of a generator, nobody has measured it, and it is *unexamined*: then
the process is not called protected, unless the operator vouches for it (SNAPSAFE_TRUST).
"""

import os
import re

from snapsafe_rt import settings
from snapsafe_rt.core import native
from snapsafe_rt.guards import examined, scan, table
from snapsafe_rt.state import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What of Python draws from the OpenSSL or SQLite linked into it: the rows openssl and sqlite3 tell of these files.
_MODULE = re.compile(r"/lib-dynload/_(?:ssl|hashlib|sqlite3)\.[^/]*$")

_TITLES = ("site-packages", "dist-packages")
_TAIL = re.compile(r"(?:-[0-9a-f]{8,})?(?:\.(?:cpython|pypy|abi)[^/]*)?\.so[\d.]*$|\.libs$")

Row = tuple[str, str, str]
_last: "tuple[int, list[Row]] | None" = None  # how often libraries had come or gone by then, and what was found


def report() -> "list[Row]":
    """(name, level, sentence) of what no guard covers in this process."""
    global _last
    count = native.find_libraries()
    if _last is not None and _last[0] == count and not os.path.exists("/proc/self/maps"):
        return _last[1]  # it has gone where there is no /proc, and has loaded nothing since
    try:
        files = scan.mapped()
    except OSError as error:
        why = f"what is loaded cannot be seen: /proc/self/maps: {error.strerror}"
        rows = [("loaded files", "unexamined", why)]
    else:
        rows = judge(files, _known(), state.settings.trust, set(table.named()))
    _last = count, rows
    return rows


def _known() -> "dict[str, list[str]]":
    """Hooks what has come meanwhile."""
    native.find_libraries()
    sqlites = native.libsqlites()
    return {"openssl": [path for path, _ in native.libcrypto_states()], "sqlite3": [one.path for one in sqlites]}


def judge(
    files: "list[scan.Mapped]",
    known: "dict[str, list[str]]",
    trusted: "frozenset[str]",
    named: "set[str]",
    pid: "int | str" = "self",
) -> "list[Row]":
    """Of process `pid`. `known`: the paths of the libraries in its core's tables, read after the maps were, for they
    grow; `named`: the libraries that have their row already."""
    found: dict[str, Row] = {}
    root = "" if pid == "self" else f"/proc/{pid}/root"
    for one in files:
        seen = scan.examine(one, pid)
        if seen == scan.NOTHING:
            continue
        for title in seen.exports if seen else ():
            if not is_one_of(one, known.get(title, []), pid):
                why = "loaded since, by a subinterpreter, or into another namespace"
                found[title] = title, "unprotected", f"the record does not know {one.path}: {why}"
        if seen is not None and not (seen.copies or seen.signs):
            continue
        if scan.PROGRAM.search(one.path) or scan.LIBRARY.search(one.path) or _MODULE.search(one.path):
            continue
        name = name_of(one.path, lambda folder: os.path.exists(f"{root}{folder}/__init__.py"))
        row = _verdict(name, one.path, seen, trusted)
        if row is not None and row[0] not in named and (row[1] == "unprotected" or row[0] not in found):
            found[row[0]] = row
    return list(found.values())


def _verdict(name: str, path: str, seen: "scan.Found | None", trusted: "frozenset[str]") -> "Row | None":
    """None where there is nothing to say."""
    entry = examined.find(name)
    if entry is not None and on_this_cpu(entry.level) == "unprotected":
        guard = table.find(entry.name) if entry.name in table.NAMED else None
        return entry.name, "unprotected", guard.note() if guard else f"{entry.what} (measured with {entry.version})"
    if entry is not None and seen is not None:
        signs = examined.measured(entry, path.rpartition("/")[2])
        told = entry.level == "refreshed" or not seen.copies  # a row of ours tells of a copy in its own file
        if signs is not None and told and set(seen.signs).issubset(signs):
            return None
    title = f"{name} (library)" if name in table.TABLE else name
    if seen is not None and seen.copies:
        what = " and ".join(seen.copies)
        return title, "unprotected", f"{what} linked into {path}, where no hook reaches it: what draws from it repeats"
    if name in trusted:
        return None
    if seen is None:
        return title, "unexamined", f"{path} cannot be read; SNAPSAFE_TRUST={name} accepts it"
    note = f"may have a generator of its own ({', '.join(seen.signs)} in {path}), and was not measured"
    return title, "unexamined", f"{note}; SNAPSAFE_TRUST={name} accepts it"


def on_this_cpu(level: str) -> str:
    """What a level of examined.py is here: "intel" is "safe" on an Intel CPU with RDRAND, else "unprotected". BoringSSL
    mixes RDRAND into each draw there alone, for it is slow elsewhere (have_fast_rdrand(), crypto/fipsmodule/rand)."""
    if level != "intel":
        return level
    try:
        with open("/proc/cpuinfo", "rb") as file:
            text = file.read(8192)
    except OSError:
        return "unprotected"
    return "safe" if b"GenuineIntel" in text and b" rdrand" in text else "unprotected"


def is_one_of(one: "scan.Mapped", paths: "list[str]", pid: "int | str" = "self") -> bool:
    """Is the mapped file one of these? The loader names it as it found it, the maps by its real path."""
    root = "" if pid == "self" else f"/proc/{pid}/root"
    for path in paths:
        if one.path == path:
            return True
        try:
            if os.stat(root + path).st_ino == one.inode:
                return True
        except OSError:
            pass
        if one.path == os.path.realpath(path):
            return True
    return False


def name_of(path: str, is_package: "Callable[[str], bool]") -> str:
    """The name of the library that a file belongs to, as its folder is called in site-packages."""
    *folders, last = path.split("/")
    top = last
    for number, folder in enumerate(folders):
        if folder in _TITLES:
            top = [*folders, last][number + 1]
    if top == last:  # beside site-packages, or in no such folder
        while len(folders) > 1 and is_package("/".join(folders)):
            top = folders.pop()
    return settings.library_name(_TAIL.sub("", top))


def refuse_libcryptos() -> None:
    """SNAPSAFE_STRICT=1: end the process where an OpenSSL draws past every hook, in whatever file it is."""
    own = [("openssl", *table.load("openssl").cheap_protection())]
    for name, level, note in own + report():
        if level == "unprotected" and (name == "openssl" or note.startswith("OpenSSL ")):
            settings.die(f"{name} is unprotected: {note}")
