"""For scripts, by *: examples/middleware.py, of the folder in argv[2], asked once. Whatever it answers is valid."""

# ruff: noqa: F401
import asyncio
import sys
import threading
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

sys.path.insert(0, sys.argv[2])
import middleware
from stage import bump

import snapsafe_rt

middleware.log.disabled = True  # it is read elsewhere


def wsgi(timeout=5.0):
    def start(status, headers, *_):
        answered.append((status, dict(headers)))

    answered = []
    environ = {"SERVER_PROTOCOL": "HTTP/1.0", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    iterator = validator(middleware.SnapsafeWSGI(middleware.hello, timeout))(environ, start)
    body = b"".join(iterator)
    iterator.close()
    ((status, headers),) = answered
    assert int(headers["Content-Length"]) == len(body)
    return int(status[:3]), headers.get("Retry-After")


def asgi(kind="http", timeout=5.0):
    async def call():
        sent = []

        async def send(message):
            sent.append(message)

        await middleware.SnapsafeASGI(middleware.hello_asgi, timeout)({"type": kind}, None, send)
        return sent

    sent = asyncio.run(call())
    if kind != "http":
        return [(message["type"], message["code"]) for message in sent]
    assert len(sent[1]["body"]) == int(dict(sent[0]["headers"])[b"content-length"])
    retry = dict(sent[0]["headers"]).get(b"retry-after")
    return sent[0]["status"], retry and retry.decode()
