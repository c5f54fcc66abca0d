"""What is in the files that a process has mapped: OpenSSL and SQLite, and signs of a generator of random numbers.

Libraries are known by what is in them, not by name or by the door they came through. One routine serves this process
and another one, whose files are reached through /proc. It reads what the loader does not need: version strings, the
paths in Rust's panic messages, names of symbols. A sign proves nothing; it is a reason to measure (examined.py).

A file is read once: what was found in it is kept by device, inode, size and times.
"""

import os
import re
import stat
import struct

from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NamedTuple
else:
    from collections import namedtuple

if TYPE_CHECKING:

    class Found(NamedTuple):
        exports: tuple[str, ...]
        copies: tuple[str, ...]
        signs: tuple[str, ...]

else:
    Found = namedtuple("Found", "exports copies signs")

# Of one file. `exports`: rows whose libraries the core can hook, for their symbols are there; `copies`: OpenSSL and
# SQLite linked into it, out of reach; `signs`: of another generator.
NOTHING = Found((), (), ())

# By a symbol that the file defines for others: the rows that hook it, and other libraries that draw.
EXPORTS = {b"RAND_bytes": "openssl", b"sqlite3_randomness": "sqlite3"}
DRAWING = {
    b"gnutls_rnd": "GnuTLS",
    b"mbedtls_ctr_drbg_random": "Mbed TLS",
    b"wc_RNG_GenerateBlock": "wolfSSL",
    b"gcry_randomize": "Libgcrypt",
    b"gcry_create_nonce": "Libgcrypt",
    b"RNG_GenerateGlobalRandomBytes": "NSS",
    b"PK11_GenerateRandom": "NSS",
}

# By text. Cargo's paths are in the panic messages of stripped files too; so are OpenSSL's in its errors.
TEXTS = {
    b"rngs/thread.rs": "Rust's ThreadRng",
    b"/rand_chacha-": "Rust's rand_chacha",
    b"/fastrand-": "Rust's fastrand",
    b"/crypto/fipsmodule/": "BoringSSL or AWS-LC",
    b"bed TLS 3.": "Mbed TLS",
    b"bed TLS 2.": "Mbed TLS",
    b"random_device": "",  # in a libstdc++ that is linked in
    b"crypto/rand/rand_lib.c": "",
    b"SQLite format 3\0": "",
    b"OpenSSL ": "",
}
_OPENSSL = re.compile(
    rb"OpenSSL (?:(\d\.\d\.\d+[a-z]{0,2}(?:-[a-z0-9.]+)?) +\d{1,2} [A-Z][a-z]{2} \d{4}"
    rb"|\d\.\d\.\d+ \(compatible; ([^)\0]{1,40})\))"
)
_SOURCE_ID = re.compile(rb"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d [0-9a-f]{40}")
# Mangled names of C++. Who defines the second is libstdc++ itself, or has it linked in, without the library's name.
_DEVICE, _DEVICE_ITSELF = b"13random_device", b"_ZNSt13random_device9_M_getval"
_STDCPP = b"libstdc++"

_SECTION = struct.Struct("<IIQQQQIIQQ")  # Elf64_Shdr: name, type, flags, addr, offset, size, link, info, align, entsize
_SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr: type, flags, offset, vaddr, paddr, filesz, memsz, align
_SYMBOL = 24  # bytes of Elf64_Sym; st_name is the first word, st_shndx at 6
_PROGBITS, _DYNSYM, _LOAD = 1, 11, 1
_BULK = (b".eh_frame", b".eh_frame_hdr", b".gcc_except_table", b".nv_fatbin")  # big, and without text
_PIECE, _OVERLAP = 1 << 20, 128


# An interpreter, by its program or by its library.
PROGRAM = re.compile(r"/(?:python|pypy)[\d.]*[a-z]{0,2}$")
LIBRARY = re.compile(r"/lib(?:python|pypy)\d[\d.]*[a-z]{0,2}(?:-c)?\.so[\d.]*$")


class Mapped:
    """A file of which a process has code mapped. `parts`: (start, end, offset) of what is mapped and not written."""

    __slots__ = ("code", "inode", "parts", "path")

    def __init__(self, path: str, inode: int) -> None:
        self.path = path
        self.inode = inode
        self.code = ""
        self.parts: list[tuple[int, int, int]] = []


# 7f10-7f20 r-xp 00000000 08:01 1234   /lib/libc.so.6
_LINE = re.compile(r"^(\S+) (\S+) (\S+) (\S+) (\d+) +(/.*)$", re.MULTILINE)
Line = tuple[str, str, str, str, str, str]  # where, access, offset, device, inode, path


def read_maps(pid: "int | str" = "self", most: int = -1) -> str:
    """So many bytes at the most. Raises OSError. Not as a text file: that would take a \\r in a file's name for the end
    of a line."""
    with open(f"/proc/{pid}/maps", "rb") as maps:
        return maps.read(most).decode("utf-8", "surrogateescape")


def lines_of(maps: str) -> "list[Line]":
    """Of the parts of files that are mapped."""
    return _LINE.findall(maps)


def mapped(lines: "list[Line] | None" = None) -> "list[Mapped]":
    """By the lines of a process; without them this one. Raises OSError."""
    files: dict[tuple[str, str], Mapped] = {}
    for where, access, offset, _, inode, path in lines_of(read_maps()) if lines is None else lines:
        if access[1] == "w":
            continue
        one = files.get((path, inode))
        if one is None:
            one = files[path, inode] = Mapped(path.removesuffix(" (deleted)"), int(inode))
        start, _, end = where.partition("-")
        one.parts.append((int(start, 16), int(end, 16), int(offset, 16)))
        if access[2] == "x" and not one.code:
            one.code = where
    return [one for one in files.values() if one.code]


# ---- what was found, by file ----

Key = tuple[int, int, int, int, int]
cache: "dict[Key, Found]" = {}


def examine(one: Mapped, pid: "int | str" = "self") -> "Found | None":
    """What is in a mapped file; None where it cannot be read."""
    root = "" if pid == "self" else f"/proc/{pid}/root"
    for path in (root + one.path, f"/proc/{pid}/map_files/{one.code}"):
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue
        if status.st_ino != one.inode:
            continue  # another file has this name by now
        if not stat.S_ISREG(status.st_mode):
            return NOTHING
        found = cache.get(_key(status)) or _opened(path, one.inode, own=pid == "self")
        if found is not None:
            return found
    return _in_memory(one, pid)


def _key(status: os.stat_result) -> Key:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _opened(path: str, inode: int, *, own: bool = False) -> "Found | None":
    """A name of another process's may lead elsewhere at each look, and to open a device may do something: that one is
    opened as a place first. `own`: this process has it mapped, and may have no descriptor to spare."""
    try:
        file = os.open(path, (os.O_RDONLY if own else os.O_PATH) | os.O_CLOEXEC)
        try:
            status = os.fstat(file)
            if status.st_ino != inode or not stat.S_ISREG(status.st_mode):
                return None
            if not own:
                place, file = file, os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
                os.close(place)
            found = cache[_key(status)] = _of_file(file, status.st_size)
        finally:
            os.close(file)
    except (OSError, MemoryError, struct.error, ValueError):
        return None
    return found


# ---- reading ----


def _of_file(file: int, size: int) -> Found:
    """Raises OSError, struct.error, ValueError for a file that is not what it says."""
    head = os.pread(file, 64, 0)
    if head[:6] != b"\x7fELF\x02\x01":
        return NOTHING
    names, symbols = b"", b""
    texts: list[tuple[int, int]] = []
    signs: list[str] = []
    sections = _table(file, size, _SECTION, *struct.unpack_from("<Q", head, 40), *struct.unpack_from("<HH", head, 58))
    strings_at = struct.unpack_from("<H", head, 62)[0]
    if strings_at < len(sections):
        titles = _read(file, size, *sections[strings_at][4:6])
        for title, kind, flags, _, offset, length, link, *_ in sections:
            name = titles[title : titles.find(b"\0", title)]
            if kind == _DYNSYM and link < len(sections):
                symbols, names = _read(file, size, offset, length), _read(file, size, *sections[link][4:6])
            elif kind == _PROGBITS and flags & 7 == 2 and name not in _BULK:  # allocated, neither written nor executed
                texts.append((offset, length))
            if name == b".go.buildinfo":
                signs.append("the runtime of Go")

    def read(at: int, length: int) -> bytes:
        return os.pread(file, length, at)

    stripped = not symbols
    if stripped:  # of its section headers too: then what is loaded and not written, which has the names as well
        segments = _table(
            file, size, _SEGMENT, *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
        )
        texts = [(entry[2], entry[5]) for entry in segments if entry[0] == _LOAD and not entry[1] & 2]
    return _judge(
        lambda: (piece for at, length in texts for piece in _pieces(read, at, min(length, size - at))),
        None if stripped else (symbols, names),
        signs,
    )


def _table(file: int, size: int, entry: struct.Struct, at: int, each: int, count: int) -> "list[tuple[int, ...]]":
    if not count or each != entry.size:
        return []
    return list(entry.iter_unpack(_read(file, size, at, count * each)))


def _read(file: int, size: int, at: int, length: int) -> bytes:
    if at + length > size:
        raise ValueError("beyond its end")
    return os.pread(file, length, at)


def _pieces(read: "Callable[[int, int], bytes]", at: int, length: int) -> "Iterator[bytes]":
    """The text in pieces that overlap: nothing big is held in a program that is only looked at."""
    end = at + length
    while at < end:
        data = read(at, min(_PIECE, end - at))
        if not data:
            return
        yield data
        at += len(data) if at + len(data) >= end else max(len(data) - _OVERLAP, 1)


def _in_memory(one: Mapped, pid: "int | str") -> "Found | None":
    """Of a file whose name leads nowhere any more, or elsewhere, or may not be read: what is mapped of it."""
    if "/snapsafe_rt/_core." in one.path:
        return NOTHING  # it has the names by which it looks for others
    place = (one.path, one.inode, one.code)
    if pid == "self" and place in _own:
        return _own[place]
    try:
        if pid == "self" and native is not None:  # without /proc/self/mem, which is closed to who gave up privileges
            found = _own[place] = _of_memory(one, native.own_memory)
            return found
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _of_memory(one, lambda at, size: os.pread(memory, size, at))
        finally:
            os.close(memory)
    except (OSError, OverflowError):
        return None


_own: dict[tuple[str, int, str], Found] = {}


def _of_memory(one: Mapped, read: "Callable[[int, int], bytes]") -> Found:
    """Raises OSError."""
    if not any(offset == 0 and read(start, 4) == b"\x7fELF" for start, _, offset in one.parts):
        return NOTHING
    return _judge(lambda: (piece for start, end, _ in one.parts for piece in _pieces(read, start, end - start)), None)


# ---- judging ----


def _judge(
    pieces: "Callable[[], Iterator[bytes]]", table: "tuple[bytes, bytes] | None", signs: "Iterable[str]" = ()
) -> Found:
    """`table`: the dynamic symbols and their names; None where the text has all that is known of them."""
    wanted = list(TEXTS)
    if table is None:
        wanted += [*EXPORTS, *DRAWING, _DEVICE, _DEVICE_ITSELF, _STDCPP]
    hits: set[bytes] = set()
    for data in pieces():
        found = [text for text in wanted if text in data]
        if found:
            hits.update(found)
            wanted = [text for text in wanted if text not in hits]
    names = b"" if table is None else table[1]

    def defines(name: bytes, part: bool = False) -> bool:
        return name in hits if table is None else _defines(*table, name, part)

    exports = [row for name, row in EXPORTS.items() if defines(name)]
    copies = []
    version = _first(_OPENSSL, pieces) if b"OpenSSL " in hits else None
    if "openssl" not in exports:
        # The version alone is in whatever was compiled with OpenSSL's headers; what calls it elsewhere names that.
        calls = any(name in names for name in (b"\0EVP_", b"\0RAND_", b"\0SSL_"))
        if b"crypto/rand/rand_lib.c" in hits or (version and version[1] and not calls):
            copies.append(f"OpenSSL {((version and version[1]) or b'').decode()}".rstrip())
    copy = "sqlite3" not in exports and b"SQLite format 3\0" in hits and b"\0sqlite3_" not in names
    if copy and _first(_SOURCE_ID, pieces):
        copies.append("SQLite")
    seen = [*signs, *(sign for text, sign in TEXTS.items() if sign and text in hits)]
    seen += [sign for name, sign in DRAWING.items() if defines(name)]
    if version and version[2]:
        seen.append(version[2].decode(errors="replace"))
    itself = defines(_DEVICE_ITSELF, part=True) and (_STDCPP in names or _STDCPP in hits)
    if (_DEVICE in names or b"random_device" in hits or _DEVICE in hits) and not itself:
        seen.append("std::random_device")
    return Found(tuple(exports), tuple(copies), tuple(dict.fromkeys(seen)))


def _first(wanted: "re.Pattern[bytes]", pieces: "Callable[[], Iterator[bytes]]") -> "re.Match[bytes] | None":
    return next(filter(None, map(wanted.search, pieces())), None)


def _defines(symbols: bytes, names: bytes, name: bytes, part: bool) -> bool:
    """Is a symbol of exactly this name defined, or one that begins with it? Names may share their ends."""
    text = name if part else name + b"\0"
    at = names.find(text)
    while at >= 0:
        key = struct.pack("<I", at)
        entry = symbols.find(key)
        while entry >= 0:
            if entry % _SYMBOL == 0 and symbols[entry + 6 : entry + 8] != b"\0\0":
                return True
            entry = symbols.find(key, entry + 1)
        at = names.find(text, at + 1)
    return False
