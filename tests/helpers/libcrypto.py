"""For scripts: OpenSSL without the package under test and without a binding, by ctypes, and TLS in memory."""

import contextlib
import ctypes
import os
import struct

_POINTERS = ("EVP_PKEY_Q_keygen", "RAND_get_rand_method", "RAND_OpenSSL", "EC_KEY_new_by_curve_name", "BN_bn2hex")
_libraries = {}


def path_of(prefix="libcrypto"):
    """Of a library that is loaded."""
    with open("/proc/self/maps") as maps:
        names = {line.split()[-1] for line in maps}
    return next((name for name in sorted(names) if os.path.basename(name).startswith(prefix)), None)


def library(path=None):
    """The libcrypto at `path`; without one, the one that is loaded."""
    if path not in _libraries:
        crypto = ctypes.CDLL(path or path_of())
        for name in _POINTERS:
            if hasattr(crypto, name):
                getattr(crypto, name).restype = ctypes.c_void_p
        _libraries[path] = crypto
    return _libraries[path]


def method(path=None):
    """Address of the RAND_METHOD that is installed."""
    return library(path).RAND_get_rand_method()


def random_bytes(count=16, path=None):
    buffer = ctypes.create_string_buffer(count)
    assert library(path).RAND_bytes(buffer, count) == 1
    return buffer.raw


def private_bytes(count=16, path=None):
    buffer = ctypes.create_string_buffer(count)
    assert library(path).RAND_priv_bytes(buffer, count) == 1
    return buffer.raw


def private_key(kind, *arguments):
    """DER of a new private key, made by EVP_PKEY_Q_keygen(3)."""
    crypto = library()
    key = crypto.EVP_PKEY_Q_keygen(None, None, kind.encode(), *arguments)
    assert key, f"no {kind} key"
    key = ctypes.c_void_p(key)
    out = ctypes.POINTER(ctypes.c_ubyte)()
    size = crypto.i2d_PrivateKey(key, ctypes.byref(out))
    assert size > 0
    der = ctypes.string_at(out, size)
    crypto.EVP_PKEY_free(key)
    return der


def ec_key():
    return private_key("EC", b"P-256")


def rsa_key():
    return private_key("RSA", ctypes.c_size_t(512))


def ed25519_key():
    return private_key("ED25519")


def old_ec_key(path):
    """The private number of a new EC key, as OpenSSL 1.1.1 makes them."""
    crypto = library(path)
    crypto.EC_KEY_get0_private_key.restype = ctypes.c_void_p
    key = ctypes.c_void_p(crypto.EC_KEY_new_by_curve_name(415))  # P-256
    assert crypto.EC_KEY_generate_key(key) == 1
    text = ctypes.c_void_p(crypto.BN_bn2hex(ctypes.c_void_p(crypto.EC_KEY_get0_private_key(key))))
    number = ctypes.string_at(text)
    crypto.CRYPTO_free(text, None, 0)
    crypto.EC_KEY_free(key)
    return number


def client_hello():
    """(random, key share) of a TLS 1.3 client."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    data = outgoing.read()
    random = data[11:43]  # after record header, handshake header and version: RFC 8446 4.1.2
    at = 43
    at += 1 + data[at]  # session id
    at += 2 + struct.unpack_from(">H", data, at)[0]  # cipher suites
    at += 1 + data[at]  # compression methods
    at += 2
    while at < len(data):
        kind, size = struct.unpack_from(">HH", data, at)
        if kind == 51:
            return random, data[at + 4 : at + 4 + size]
        at += 4 + size
    raise AssertionError("no key share in the ClientHello")
