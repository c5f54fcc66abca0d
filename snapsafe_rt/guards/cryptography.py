"""cryptography: the OpenSSL that its wheels have linked into them, out of reach of every hook.

RAND_add, which its binding for pyOpenSSL offers, reaches the primary generator; those of all threads draw a seed from
that one as soon as they see that it was reseeded (OpenSSL 3.0 to 4.0, providers/implementations/rands/drbg.c). So one
call in any thread is enough. A cryptography that uses the system's libcrypto (a distribution's) is guarded with it.
"""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards import openssl
from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.guards.guard import Verdict

_SEED = 48  # bytes of seed and nonce that OpenSSL's CTR-DRBG with AES-256 takes

_RUST = "cryptography.hazmat.bindings._rust"


class Cryptography(Guard):
    """The OpenSSL in its wheels is given new entropy by the restore event; one that shares a libcrypto is guarded."""

    name = "cryptography"
    covers = ("keys and nonces made by cryptography", "its ECDSA signatures", "pyOpenSSL")
    triggers = (_RUST,)
    files = ("/cryptography/hazmat/bindings/_rust.abi3.so",)
    level = "refreshed"

    def protection(self) -> "Verdict":
        module = sys.modules.get(_RUST)
        provider = native.provider(module.__file__, "RAND_bytes") if module is not None and module.__file__ else None
        if provider and openssl.is_guarded(provider):
            # Hooked. What else may be wrong with it, the row openssl tells.
            return "guarded", f"draws through {provider}, which is guarded"
        return super().protection()

    def displaced(self) -> str:
        module = sys.modules[_RUST]
        rust = module.openssl
        version = rust.openssl_version_text()
        if any(getattr(rust, f"CRYPTOGRAPHY_IS_{other}", False) for other in ("AWSLC", "BORINGSSL", "LIBRESSL")):
            return f"{version} is linked into it, which takes no entropy from outside"
        if not version.startswith("OpenSSL "):
            return f"{version} is linked into it, which is not known"
        if rust.is_fips_enabled():
            return "its FIPS provider draws past whatever is added"
        if "_openssl" in vars(module) and not hasattr(module._openssl.lib, "RAND_add"):
            return f"{version} is linked into it, and RAND_add is not offered"
        return ""

    def note(self) -> str:
        version = sys.modules[_RUST].openssl.openssl_version_text()
        return f"{version} is linked into it: given new entropy after a restore, once for all threads"

    def refresh(self) -> None:
        """The next draw of every other thread follows."""
        lib = sys.modules[_RUST]._openssl.lib
        lib.RAND_add(native.entropy(_SEED), _SEED, float(_SEED))


GUARD = Cryptography()
