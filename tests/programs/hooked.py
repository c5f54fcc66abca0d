"""hooked.py wsgi|asgi: a web application behind snapsafe_rt.webhooks, with callbacks whose failing can be asked for."""

import asyncio
import json
import random
import sys
import wsgiref.simple_server

import snapsafe_rt
from snapsafe_rt import webhooks

called = []
fails = set()


@snapsafe_rt.register_before_snapshot
def before():
    called.append("before")
    if "before" in fails:
        raise OSError("the pool cannot be closed")


@snapsafe_rt.register_after_restore
def after():
    called.append(f"after {snapsafe_rt.cause()}")
    if "after" in fails:
        raise OSError("no way to the database")


def answer(path):
    if path.startswith("/fail/"):
        fails.add(path.removeprefix("/fail/"))
    elif path == "/heal":
        fails.clear()
    return json.dumps({"called": called, "epoch": snapsafe_rt.epoch(), "drawn": random.random()}).encode()


def wsgi(environ, start_response):
    body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


async def asgi(scope, receive, send):
    body = answer(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def serve(app):
    """As little of a server for ASGI as a hook takes."""

    async def of_loop():
        called.append("loop")
        await asyncio.sleep(0)

    snapsafe_rt.register_before_snapshot(of_loop)

    async def one(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = [tuple(part.strip().encode() for part in line.split(":", 1)) for line in head[1:] if line]
        sent = []

        async def send(message):
            sent.append(message)

        client = writer.get_extra_info("peername")[:2]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": client}
        await app(scope, None, send)
        body = b"".join(message.get("body", b"") for message in sent)
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (sent[0]["status"], len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "asgi":
        asyncio.run(serve(webhooks.ASGI(asgi)))
    with wsgiref.simple_server.make_server("127.0.0.1", 0, webhooks.WSGI(wsgi), handler_class=Quiet) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()
