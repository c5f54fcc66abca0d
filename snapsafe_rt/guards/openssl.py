"""openssl: every libcrypto, and with it ssl, TLS and whatever draws from the same library.

The work is native: cython/openssl.c hooks each libcrypto as it is loaded. Where `_ssl` draws past every hook (OpenSSL
linked into it, or one that ignores hooks), cython/ssl.pxi feeds it before it draws.
"""

import sys

from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

COVERS = ("ssl.RAND_bytes", "TLS handshakes and records", "keys made by the same libcrypto", "session tickets")

# enum ss_openssl_state in cython/openssl.h: why a library is not guarded.
_GUARDED = 1
REASONS = {
    2: "draws by the program's own RAND_METHOD or ENGINE, which is left alone",
    3: "ignores RAND_METHOD: AWS-LC and BoringSSL do",
    4: "has the FIPS provider loaded, which draws past every hook",
    5: "has no RAND_METHOD: only OpenSSL 1.1.0 and later can be hooked",
    6: "is one too many: no hook is left",
}


def install(module: "ModuleType") -> None:
    """Nothing to add: the libraries were hooked when they were loaded, `_ssl` when it was executed."""


def remove() -> None:
    """Nothing to undo here: the native core gives each library its own method back."""


def protection() -> tuple[str, str]:
    libraries = native.libcryptos()
    ssl = sys.modules.get("_ssl")
    hooked = ssl is None or native.ssl_hooked(ssl)
    for library in libraries:
        # One that ignores hooks may still be fed through _ssl, if it is _ssl's: that is judged below.
        if library.state != _GUARDED and not (library.state == 3 and not hooked):
            return "unprotected", f"{_name(library)} {REASONS[library.state]}"
        if library.failing:
            return "unprotected", f"{_name(library)} could not be reseeded, {library.failures} times so far"
    if not hooked:
        return _fed(ssl)
    if not libraries:
        return "not loaded", "guarded as soon as a libcrypto is loaded"
    reseeds = sum(library.reseeds for library in libraries)
    return "guarded", f"{', '.join(map(_name, libraries))}: hook seen to run, reseeded {reseeds} times"


def glance() -> tuple[str, str]:
    """protection() without asking OpenSSL, which may load its configuration then: before the program wants it to."""
    ssl = sys.modules.get("_ssl")
    hooked = ssl is None or native.ssl_hooked(ssl)
    libraries = native.libcrypto_states()
    for path, state in libraries:
        if state != _GUARDED and not (state == 3 and not hooked):
            return "unprotected", f"{path} {REASONS[state]}"
    if not hooked:
        return _fed(ssl)
    if not libraries:
        return "not loaded", "guarded as soon as a libcrypto is loaded"
    return "guarded", "hooked when it was loaded"


def _fed(ssl: "ModuleType | None") -> tuple[str, str]:
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
