"""Identifiers, secrets, data made up for tests."""

from .listed import guarded, kernel, library, refreshed, safe, unprotected

OLD = "this version has no function that seeds its generator"
KERNEL = "its native code asks the kernel"


@library("uuid-utils")
def uuid_utils():
    import uuid_utils as ids

    if hasattr(ids, "reseed_rng"):
        level, how, of_node = guarded, "its generator is seeded anew before it draws", "a random node after a restore"
    else:
        level, how, of_node = unprotected, OLD, OLD
    return {
        "uuid4()": level(ids.uuid4, how),
        "uuid7()": level(lambda: str(ids.uuid7())[14:], how),
        "uuid1()": level(lambda: str(ids.uuid1())[19:], of_node),
    }


@library("bcrypt")
def bcrypt():
    import bcrypt as library

    return {"gensalt()": guarded(library.gensalt, "given fenced entropy in place of the kernel's")}


@library("fastuuid")
def fastuuid():
    import fastuuid as ids

    return {
        "uuid4()": kernel(ids.uuid4, KERNEL),
        "uuid7()": kernel(lambda: str(ids.uuid7())[14:], KERNEL),
        "uuid_v1mc()": unprotected(lambda: str(ids.uuid_v1mc())[19:], "Rust's ThreadRng, which cannot be seeded"),
    }


@library("ulid-transform")
def ulid_transform():
    import ulid_transform as ids

    how = "the generator of each thread is seeded anew before it draws"
    return {
        "ulid_now()": guarded(lambda: ids.ulid_now()[10:], how),
        "ulid_hex()": guarded(lambda: ids.ulid_hex()[12:], how),
        "ulid_at_time()": guarded(lambda: ids.ulid_at_time(1.0), how),
    }


@library("typeid-python", folder="typeid")
def typeid():
    from typeid import TypeID

    return {"TypeID()": guarded(lambda: str(TypeID())[-12:], "draws from uuid_utils, which is guarded")}


@library("snowflake-id", folder="snowflake")
def snowflake():
    from snowflake import SnowflakeGenerator

    made = SnowflakeGenerator(1)
    return {
        "SnowflakeGenerator": unprotected(lambda: next(made), "made of the time and a number that the program gave")
    }


@library("cryptography")
def cryptography():
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    how = "the OpenSSL in it is given new entropy by the restore event"
    return {
        "EC keys": refreshed(lambda: ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value, how),
        "Ed25519 keys": refreshed(lambda: ed25519.Ed25519PrivateKey.generate().private_bytes_raw(), how),
        "AESGCM.generate_key()": refreshed(lambda: AESGCM.generate_key(128), how),
        "Fernet.generate_key()": guarded(Fernet.generate_key, "draws from os.urandom"),
    }


@library("paramiko")
def paramiko():
    import paramiko as library

    def draw():
        return library.ECDSAKey.generate().signing_key.private_numbers().private_value

    return {"ECDSAKey.generate()": refreshed(draw, "draws from cryptography, which is refreshed")}


@library("pyopenssl", folder="openssl")
def pyopenssl():
    from OpenSSL import crypto

    def draw():
        key = crypto.PKey()
        key.generate_key(crypto.TYPE_RSA, 1024)
        return crypto.dump_privatekey(crypto.FILETYPE_ASN1, key)

    return {"PKey.generate_key()": refreshed(draw, "draws from cryptography, which is refreshed")}


@library("pynacl", folder="nacl")
def pynacl():
    import nacl.public
    import nacl.utils

    return {
        "utils.random()": guarded(lambda: nacl.utils.random(16), "draws from os.urandom"),
        "PrivateKey.generate()": guarded(lambda: bytes(nacl.public.PrivateKey.generate()), "draws from os.urandom"),
    }


@library("pyzmq", folder="zmq")
def pyzmq():
    import zmq

    return {"curve_keypair()": kernel(zmq.curve_keypair, KERNEL)}


@library("awscrt")
def awscrt():
    from awscrt import crypto

    def draw():
        return crypto.EC.new_generate(crypto.ECType.P_256).export_key(crypto.ECExportFormat.SEC1)

    return {"EC.new_generate()": safe(draw, "AWS-LC mixes the CPU's random numbers into each draw")}


@library("python-ulid", "typing-extensions", folder="ulid")
def python_ulid():
    from ulid import ULID

    how = (
        "draws from os.urandom; within a millisecond it counts on from the last id, which is forgotten after a restore"
    )
    return {"ULID()": guarded(lambda: str(ULID())[10:], how)}
