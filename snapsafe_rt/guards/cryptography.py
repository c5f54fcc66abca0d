"""cryptography: the OpenSSL that its wheels have linked into them, out of reach of every hook.

RAND_add, which its binding for pyOpenSSL offers, reaches the primary generator; those of all threads draw a seed from
that one as soon as they see that it was reseeded (OpenSSL 3.0 to 4.0, providers/implementations/rands/drbg.c). So one
call in any thread is enough. A cryptography that uses the system's libcrypto (a distribution's) is guarded with it.
"""

import sys

from snapsafe_rt.core import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

COVERS = ("keys and nonces made by cryptography", "its ECDSA signatures", "pyOpenSSL")

_SEED = 48  # bytes of seed and nonce that OpenSSL's CTR-DRBG with AES-256 takes

_RUST = "cryptography.hazmat.bindings._rust"


def install(module: "ModuleType") -> None:
    """Nothing to patch."""


def remove() -> None:
    """Nothing to undo."""


def protection() -> tuple[str, str]:
    module = sys.modules.get(_RUST)
    if module is None:
        return "not loaded", "renewed as soon as it is imported"
    provider = native.provider(module.__file__, "RAND_bytes") if module.__file__ else None
    if provider and (provider, 1) in native.libcrypto_states():
        # Hooked. What else may be wrong with it, the row openssl tells.
        return "guarded", f"draws through {provider}, which is guarded"
    rust = module.openssl
    version = rust.openssl_version_text()
    if any(getattr(rust, f"CRYPTOGRAPHY_IS_{other}", False) for other in ("AWSLC", "BORINGSSL", "LIBRESSL")):
        return "unprotected", f"{version} is linked into it, which takes no entropy from outside"
    if not version.startswith("OpenSSL "):
        return "unprotected", f"{version} is linked into it, which is not known"
    if rust.is_fips_enabled():
        return "unprotected", "its FIPS provider draws past whatever is added"
    if "_openssl" in vars(module) and not hasattr(module._openssl.lib, "RAND_add"):
        return "unprotected", f"{version} is linked into it, and RAND_add is not offered"
    return "refreshed", f"{version} is linked into it: given new entropy after a restore, once for all threads"


def refresh() -> None:
    """Any thread; the next draw of every other thread follows."""
    lib = sys.modules[_RUST]._openssl.lib
    lib.RAND_add(native.entropy(_SEED), _SEED, float(_SEED))
