"""WSGI and ASGI middleware: no request is answered with values from before a restore.

    snapsafe run python examples/middleware.py                                  (WSGI, by the standard library's server)
    snapsafe run uvicorn --app-dir examples middleware:asgi_app                 (ASGI)

Look at: `check()` and `acheck()` are called before the application. While nothing happened they only look at a counter.
After a restore they run the program's callbacks, or wait for them. If that fails or takes too long, this request is
answered with 503 and Retry-After, so that a load balancer goes to another machine; the reason is in the log. The next
request is served: a failed callback is not called again, so it has to try again itself, or to end the process.
"""

import argparse
import json
import logging
import random
import sys
import threading
import wsgiref.simple_server

import snapsafe_rt

log = logging.getLogger("snapsafe.middleware")
TEXT = b"This machine was restored a moment ago and is not ready yet.\n"


class SnapsafeWSGI:
    """app = SnapsafeWSGI(app). `timeout`: seconds to wait for a restore's callbacks that run in another thread."""

    def __init__(self, app, timeout=5.0, retry_after=1):
        self.app, self.timeout, self.retry_after = app, timeout, retry_after

    def __call__(self, environ, start_response):
        try:
            snapsafe_rt.check(self.timeout)
        except Exception:  # a TimeoutError, or an ExceptionGroup of what callbacks raised
            log.exception("not ready after a restore")
            headers = [("Retry-After", str(self.retry_after)), ("Content-Length", str(len(TEXT)))]
            start_response("503 Service Unavailable", [("Content-Type", "text/plain"), *headers])
            return [TEXT]
        return self.app(environ, start_response)


class SnapsafeASGI:
    """app = SnapsafeASGI(app). `timeout`: seconds to wait for a restore's callbacks."""

    def __init__(self, app, timeout=5.0, retry_after=1):
        self.app, self.timeout, self.retry_after = app, timeout, retry_after

    async def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):  # not "lifespan": that is the server's start and end
            try:
                await snapsafe_rt.acheck(self.timeout)
            except Exception:
                log.exception("not ready after a restore")
                return await self.refuse(scope, send)
        return await self.app(scope, receive, send)

    async def refuse(self, scope, send):
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})  # "try again later"
            return
        headers = [(b"retry-after", b"%d" % self.retry_after), (b"content-length", b"%d" % len(TEXT))]
        headers.append((b"content-type", b"text/plain"))
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": TEXT})


# ---- an application to try them with ----


def answer():
    return json.dumps({"restores": snapsafe_rt.epoch(), "trace": f"{random.getrandbits(64):016x}"}).encode()


def hello(environ, start_response):
    body = answer()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def hello_asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    body = answer()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


wsgi_app = SnapsafeWSGI(hello)
asgi_app = SnapsafeASGI(hello_asgi)


def main():
    parser = argparse.ArgumentParser(description="Serves a WSGI application behind SnapsafeWSGI.")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    with wsgiref.simple_server.make_server("127.0.0.1", parser.parse_args().port, wsgi_app) as server:
        print(f"http://localhost:{server.server_port}", flush=True)
        # Not in the main thread: there a Ctrl-C during a request would look like an error of the application.
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        thread.join()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"middleware.py: {error}; another --port?")
