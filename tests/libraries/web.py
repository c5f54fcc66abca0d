"""Databases, messages, tracing."""

import contextlib

from .listed import guarded, intel, kernel, library, refreshed

QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_TRACE_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}


@library("pymongo", folder="bson")
def pymongo():
    import bson
    from pymongo import MongoClient

    client = MongoClient("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=1", connect=False)
    pool = client._topology._session_pool
    pool.return_server_session(pool.get_server_session(30))

    def session():
        taken = pool.get_server_session(30)
        pool.return_server_session(taken)
        return bytes(taken.session_id["id"])

    return {
        "ObjectId()": guarded(lambda: bson.ObjectId().binary[4:9], "its random bytes are drawn anew after a restore"),
        "pooled sessions": guarded(session, "those of before the restore are let go of"),
    }


@library("nats-py", folder="nats")
def nats():
    from nats.nuid import NUID

    made = NUID()
    return {"NUID": guarded(lambda: bytes(made.next()), "begins anew after a restore")}


@library("celery")
def celery():
    import celery.utils
    import kombu.common

    return {
        "task id": guarded(celery.utils.uuid, "draws from uuid.uuid4"),
        "node id": refreshed(lambda: kombu.common.oid_from(kombu), "of kombu, made anew by the restore event"),
    }


@library("kombu")
def kombu():
    import kombu.common as common

    return {"node id": refreshed(lambda: common.oid_from(common), "made anew by the restore event")}


@library("sentry-sdk")
def sentry_sdk():
    import sentry_sdk as library
    from sentry_sdk.tracing_utils import PropagationContext

    library.init(dsn=None, traces_sample_rate=1.0)
    return {
        "a new trace id": guarded(lambda: PropagationContext().trace_id, "draws from uuid.uuid4"),
        "trace id of the scope": refreshed(library.get_traceparent, "made anew by the restore event"),
    }


@library("opentelemetry-sdk", folder="opentelemetry")
def opentelemetry():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    provider = TracerProvider()
    drawn = {"trace id": RandomIdGenerator().generate_trace_id, "span id": RandomIdGenerator().generate_span_id}
    found = {what: guarded(draw, "draws from random") for what, draw in drawn.items()}
    if "service.instance.id" in provider.resource.attributes:  # of 1.4x and later
        found["service.instance.id"] = refreshed(
            lambda: provider.resource.attributes["service.instance.id"], "made anew by the restore event"
        )
    return found


@library("ddtrace", env=QUIET)
def ddtrace():
    from ddtrace.internal.runtime import get_runtime_id

    try:
        from ddtrace.internal.native import rand64bits
    except ImportError:
        from ddtrace.internal._rand import rand64bits
    return {
        "span id": guarded(rand64bits, "its generator is seeded anew before it draws"),
        "runtime id": refreshed(get_runtime_id, "made anew by the restore event"),
    }


@library("apsw")
def apsw():
    import apsw as library

    asked = library.Connection(":memory:")
    how = "SQLite's generator is reset by the restore event"
    return {"randomblob()": refreshed(lambda: next(iter(asked.execute("select randomblob(8)")))[0], how)}


def rand_bytes():
    """RAND_bytes of each libcrypto in this process that the library brought."""
    import ctypes
    import sys

    with open("/proc/self/maps") as maps:
        files = sorted({line.split()[-1] for line in maps if "libcrypto" in line and sys.prefix in line})
    libraries, buffer = [ctypes.CDLL(file) for file in files], ctypes.create_string_buffer(8)
    assert libraries, "it has no libcrypto of its own"
    return lambda: [(one.RAND_bytes(buffer, 8), buffer.raw) for one in libraries]


@library("psycopg-binary", "psycopg=={version}")
def psycopg_binary():
    import psycopg.pq

    assert psycopg.pq.__impl__ == "binary"
    return {"RAND_bytes() of its libcrypto": guarded(rand_bytes(), "that libcrypto is hooked")}


@library("psycopg2-binary")
def psycopg2_binary():
    import psycopg2

    assert psycopg2.connect
    return {"RAND_bytes() of its libcrypto": guarded(rand_bytes(), "that libcrypto is hooked")}


@library("tantivy")
def tantivy():
    import os
    import tempfile

    import tantivy as library

    builder = library.SchemaBuilder()
    builder.add_text_field("t", stored=True)
    schema = builder.build()

    def draw():
        with tempfile.TemporaryDirectory() as folder:
            writer = library.Index(schema, path=folder).writer(15_000_000, 1)
            document = library.Document()
            document.add_text("t", "x")
            writer.add_document(document)
            writer.commit()
            writer.wait_merging_threads()
            return sorted(file.split(".")[0] for file in os.listdir(folder) if len(file) > 30)

    return {"ids of segments": kernel(draw, "its native code asks the kernel, in each thread that it starts")}


@library("curl-cffi")
def curl_cffi():
    import os
    import socket

    from curl_cffi import Curl, CurlOpt

    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(50)
    curl, port = Curl(), server.getsockname()[1]

    def draw():
        """The 32 random bytes of its ClientHello, received by a process that is forked for it."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            connection, _ = server.accept()
            connection.settimeout(3)
            os.write(writing, connection.recv(2000)[11:43])
            os._exit(0)
        os.close(writing)
        curl.setopt(CurlOpt.URL, f"https://127.0.0.1:{port}/".encode())
        curl.setopt(CurlOpt.FRESH_CONNECT, 1)
        curl.setopt(CurlOpt.TIMEOUT, 3)
        with contextlib.suppress(Exception):  # the other end closes
            curl.perform()
        os.waitpid(pid, 0)
        with os.fdopen(reading, "rb") as file:
            return file.read()

    how = "BoringSSL mixes the CPU's random numbers into each draw, where they are fast: on Intel's"
    return {"ClientHello": intel(draw, how, only_main=True)}
