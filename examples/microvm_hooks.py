"""AWS Lambda MicroVMs: their lifecycle hooks, answered by a WSGI application.

    snapsafe run python examples/microvm_hooks.py

Look at: Lambda calls POST /aws/lambda-microvms/runtime/v1/HOOK when a MicroVM begins to run (all of them from the
image's snapshot), when it was resumed, and before it is suspended. `snapsafe_rt.webhooks` renews what the MicroVMs
share and runs the program's callbacks before the hook is answered. If a callback fails the answer is 500, and Lambda
ends the MicroVM. Nobody else may call: where Lambda does not call from a loopback address, name its network with
--peer.

Of a server with several processes only one gets the call. Then use `everybody`: it changes the file that all processes
watch. Set `SNAPSAFE_SOURCES=vmclock:/run/snapsafe/vmclock0`, and make the file by `snapsafe trigger --create` while the
image is built.
"""

import argparse
import subprocess
import sys
import wsgiref.simple_server

import snapsafe_rt
from snapsafe_rt import webhooks


def everybody():
    subprocess.run([sys.executable, "-m", "snapsafe_rt", "trigger"], check=True, capture_output=True)
    snapsafe_rt.check()


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
    parser.add_argument("--peer", action="append", metavar="NETWORK", help="from where hooks may be called")
    options = parser.parse_args()
    after = everybody if options.everybody else webhooks.after_restore
    app = webhooks.WSGI(application, webhooks.MICROVM, peers=options.peer or webhooks.LOOPBACK, after=after)
    with wsgiref.simple_server.make_server("127.0.0.1", options.port, app, handler_class=Quiet) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
