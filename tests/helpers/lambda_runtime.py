"""A stand-in for AWS Lambda's runtime API, and awslambdaric (the real one) run against it."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "/2018-06-01/runtime"


class RuntimeApi(ThreadingHTTPServer):
    """`restored` is called between the snapshot and the restore. Holds what the runtime said."""

    daemon_threads = True

    def __init__(self, restored):
        super().__init__(("127.0.0.1", 0), Handler)
        self.restored = restored
        self.reports = []
        self.errors = []
        self.done = threading.Event()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        if self.path == VERSION + "/restore/next":
            self.server.restored()
            self.answer(200)
        else:
            self.server.done.wait(60)  # it asks for an invocation, and none comes
            self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/report":
            self.server.reports.append(json.loads(body))
            self.server.done.set()
        else:
            kind = self.headers.get("Lambda-Runtime-Function-Error-Type")
            self.server.errors.append((self.path.removeprefix(VERSION), kind, json.loads(body)))
        self.answer(202)


def run_function(folder, environment, restored=lambda: None, *, command=()):
    """Run app.handler of `folder` as Lambda does, up to what one of its hooks posts to /report; it is not invoked, for
    the wheel's native client crashes on every answer here. Returns (that report or None, the errors it told the runtime
    API of, exit status, stderr). `command`: what goes before the interpreter, as AWS_LAMBDA_EXEC_WRAPPER does."""
    with RuntimeApi(restored) as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        settings = {"AWS_LAMBDA_RUNTIME_API": api.address, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
        process = subprocess.Popen(
            [*command, sys.executable, "-m", "awslambdaric", "app.handler"],
            cwd=folder,
            env=kept | settings | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        ended = threading.Thread(target=lambda: (process.wait(), api.done.set()), daemon=True)
        ended.start()
        try:
            assert api.done.wait(60), "neither a report nor an end"
            if api.reports:
                process.kill()  # it waits for an invocation
            errors = process.communicate(timeout=30)[1]
        finally:
            process.kill()
            api.shutdown()
        return (api.reports or [None])[0], api.errors, process.returncode, errors
