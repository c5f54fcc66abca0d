"""AWS Lambda MicroVMs: their lifecycle hooks, answered by a WSGI application.

    snapsafe run python examples/microvm_hooks.py

Look at: Lambda calls POST /aws/lambda-microvms/runtime/v1/HOOK when a MicroVM begins to run (all of them from the
image's snapshot), and when it was resumed. `notify_restored()` renews what the MicroVMs share, and runs the program's
callbacks, before the hook is answered. If a callback fails the answer is 500, and Lambda ends the MicroVM.

Of a server with several processes only one gets the call. Then use `everybody`: it changes the file that all processes
watch. Set `SNAPSAFE_SOURCES=vmclock:/run/snapsafe/vmclock0`, and make the file by `snapsafe trigger --create` while the
image is built.
"""

import argparse
import logging
import subprocess
import sys
import wsgiref.simple_server

import snapsafe_rt

log = logging.getLogger("snapsafe.microvm")
HOOKS = "/aws/lambda-microvms/runtime/v1/"
RESTORED = {"run", "resume"}  # a clone of the image's snapshot begins; a MicroVM goes on without its connections
QUIET = {"ready", "validate", "suspend", "terminate"}


def everybody():
    subprocess.run([sys.executable, "-m", "snapsafe_rt", "trigger"], check=True, capture_output=True)
    snapsafe_rt.check()


class MicrovmHooks:
    """app = MicrovmHooks(app). `told` is called after a restore."""

    def __init__(self, app, told=snapsafe_rt.notify_restored):
        self.app, self.told = app, told

    def __call__(self, environ, start_response):
        hook = environ["PATH_INFO"].removeprefix(HOOKS)
        if not environ["PATH_INFO"].startswith(HOOKS) or hook not in RESTORED | QUIET:
            return self.app(environ, start_response)
        status = "200 OK"
        if environ["REQUEST_METHOD"] != "POST":
            status = "405 Method Not Allowed"
        elif hook in RESTORED:
            try:
                self.told()
            except Exception:  # an ExceptionGroup of what callbacks raised
                log.exception("not ready after %s", hook)
                status = "500 Internal Server Error"
        start_response(status, [("Content-Length", "0")])
        return [b""]


# ---- an application to try it with ----


@snapsafe_rt.per_generation
def node_id():
    return snapsafe_rt.entropy(8).hex()


def application(environ, start_response):
    body = node_id().encode() + b"\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


def main():
    parser = argparse.ArgumentParser(description="answers with an id of this MicroVM's; told by Lambda's hooks")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--everybody", action="store_true", help="tell the other processes too")
    options = parser.parse_args()
    app = MicrovmHooks(application, everybody if options.everybody else snapsafe_rt.notify_restored)
    with wsgiref.simple_server.make_server("127.0.0.1", options.port, app, handler_class=Quiet) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
