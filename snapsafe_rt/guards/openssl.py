"""openssl: every libcrypto, and with it ssl, TLS and whatever draws from the same library.

The work is native: cython/openssl.c hooks each libcrypto as it is loaded. Where `_ssl` draws past every hook (OpenSSL
linked into it, or one that ignores hooks), cython/ssl.pxi feeds it before it draws.
"""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard, answers, is_executing, names_of, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Any

    from snapsafe_rt.guards.guard import RemoteProcess, Site, Verdict

# Why a library is not guarded: for words of enum ss_openssl_state (cython/shown.h).
REASONS = {
    "displaced": "draws by the program's own RAND_METHOD or ENGINE, which is left alone",
    "ineffective": "ignores RAND_METHOD: AWS-LC and BoringSSL do",
    "fips": "has the FIPS provider loaded, which draws past every hook",
    "symbols": "has no RAND_METHOD: only OpenSSL 1.1.0 and later can be hooked",
    "full": "is one too many: no hook is left",
}


def is_guarded(path: str) -> bool:
    """Is the libcrypto that was loaded by this path hooked?"""
    return (path, "guarded") in native.libcrypto_states()


class OpenSSL(Guard):
    """Each loaded libcrypto is hooked; an `_ssl` that draws past every hook is fed before it draws, and *refreshed*."""

    name = "openssl"
    covers = ("ssl.RAND_bytes", "TLS handshakes and records", "keys made by the same libcrypto", "session tickets")
    triggers = ("_ssl", "_hashlib", "ssl")
    files = ("_ssl.", "_hashlib.")
    unloaded = "guarded as soon as a libcrypto is loaded"

    def protection(self) -> "Verdict":
        libraries = native.libcryptos()
        reseeds = sum(library.reseeds for library in libraries)
        return self._judge(
            [(_name(library), library.state, library.failures if library.failing else 0) for library in libraries],
            f"{', '.join(map(_name, libraries))}: hook seen to run, reseeded {reseeds} times",
        )

    def cheap_protection(self) -> "Verdict":
        """Without asking OpenSSL, which may load its configuration then: before the program wants it to."""
        return self._judge([(path, state, 0) for path, state in native.libcrypto_states()], "hooked when it was loaded")

    def _judge(self, libraries: "list[tuple[str, str, int]]", note: str) -> "Verdict":
        """`libraries`: of each its name, its state, and how often it could not be reseeded if the last time it could
        not."""
        replaced = _replaced()
        if replaced:
            return "unprotected", replaced
        ssl = sys.modules.get("_ssl")
        hooked = ssl is None or native.ssl_hooked(ssl)
        for name, state, failures in libraries:
            # One that ignores hooks may still be fed through _ssl, if it is _ssl's: that is judged below.
            if state != "guarded" and not (state == "ineffective" and not hooked):
                return "unprotected", f"{name} {REASONS[state]}"
            if failures:
                return "unprotected", f"{name} could not be reseeded, {failures} times so far"
        if not hooked:
            return _fed(ssl)
        return ("guarded", note) if libraries else ("not loaded", self.unloaded)

    def sites(self) -> "list[Site]":
        found = [
            (f"{module}.", native.attribute_words(names, tuple(name for name in _NAMES if name in names)))
            for module, names in _modules()
        ]
        found.append(("the module ", native.module_words(sys.modules, ("ssl", "_ssl"))))
        for owner in ("RAND_bytes", "_SSLSocket") if native.ssl_feeds() is not None else ():
            found.append((f"_ssl.{owner}", native.guard_words(f"_ssl.{owner}")))
        return found

    def corrected(self, noted: "Verdict", process: "RemoteProcess") -> "Verdict":
        known = process.native_table(self.name)
        for path, state, failing in known:
            fed = state == "ineffective" and noted[0] == "refreshed"
            if state in REASONS and not fed:
                return "unprotected", f"{path} {REASONS[state]}"
            if failing:
                return "unprotected", f"{path} could not be reseeded"
        if noted[0] == "not loaded" and any(state == "guarded" for _, state, _ in known):
            noted = "guarded", f"{known[0][0]}: hook seen to run"
        fips = process.mapped(("/fips.so",))
        if fips is not None and noted[0] == "guarded":
            return "unprotected", f"{fips} is loaded, which draws past every hook"
        return noted


_NAMES = ("RAND_bytes", "RAND_pseudo_bytes")


_seen: set[str] = set()  # modules that had them


def _modules() -> "Iterator[tuple[str, dict[str, object]]]":
    for module in ("ssl", "_ssl"):
        names = names_of(sys.modules.get(module))
        if "RAND_bytes" in names:  # else it is still being executed, or no such module
            _seen.add(module)
            yield module, names


def _replaced() -> str:
    for module, names in _modules():
        for name in _NAMES:
            own: Any = names.get(name)
            if name in names and not (type(own) is type(len) and (own.__module__, own.__name__) == ("_ssl", name)):
                return f"{module}.{name} was replaced by {who(own)}"
    for module in list(_seen):
        other = sys.modules.get(module)
        if other is not None and "RAND_bytes" not in names_of(other) and not is_executing(other):
            return f"the module {module} was replaced by {who(other)}"
    return answers("ssl")


def _fed(ssl: "ModuleType | None") -> "Verdict":
    """What is true of an `_ssl` that draws past every hook."""
    feeds = native.ssl_feeds()
    version: str = getattr(ssl, "OPENSSL_VERSION", "unknown")
    if feeds is None:
        return "unprotected", f"_ssl draws past every hook ({version}), and its methods cannot be guarded"
    if not version.startswith("OpenSSL "):
        return "unprotected", f"_ssl uses {version}, which takes neither hooks nor entropy from outside"
    return (
        "refreshed",
        f"_ssl draws past every hook ({version}): fed before handshakes, records and RAND_bytes, {feeds} times",
    )


def _name(library: "native.LibcryptoState") -> str:
    return f"{library.path} ({_version(library.version)})"


def _version(number: int) -> str:
    """OPENSSL_VERSION_NUMBER(3): MNN00PP0 from 3.0 on, MNNFFPPS before."""
    if not number:
        return "version unknown"
    major, minor = number >> 28, number >> 20 & 0xFF
    if major >= 3:
        return f"{major}.{minor}.{number >> 4 & 0xFF}"
    patch = number >> 4 & 0xFF
    return f"{major}.{minor}.{number >> 12 & 0xFF}{chr(96 + patch) if patch else ''}"


GUARD = OpenSSL()
