"""A threaded HTTPS server whose answers are its own in every clone of the machine.

    snapsafe run python examples/https_server.py
    python examples/https_client.py ADDRESS CERTIFICATE     (as the server prints them)

Look at: `node` and `restores` in the answers. Play a restore (README.md in this folder) between two calls of the
client: the next answer counts one more restore and comes from another node. Session ids, trace ids and TLS need no
code for this.
"""

import argparse
import http.server
import json
import os
import random
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile

import snapsafe_rt


@snapsafe_rt.per_generation
def node():
    """The name of this process among its clones: made at the first call, and anew after each restore."""
    return snapsafe_rt.entropy(8).hex()


@snapsafe_rt.register_after_restore
def tell():
    """Runs once after each restore. A real server renews here what clones must not share: leases, connections."""
    print(f"restored ({snapsafe_rt.cause()}): this is node {node()} now", flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    # HTTP/1.0 closes the connection after each answer. A TLS connection that is open at a snapshot goes on in every
    # clone with the same keys, so it has to be closed before.
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        restores = snapsafe_rt.check()  # from here on the callbacks of every restore so far have run
        answer = {
            "node": node(),
            "restores": restores,
            "session": secrets.token_urlsafe(16),
            "trace": f"{random.getrandbits(64):016x}",
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, port, certificate, key):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        super().__init__(("127.0.0.1", port), Handler)

    def finish_request(self, request, client_address):
        # The handshake is made in this connection's thread, so that a slow client keeps nobody else waiting.
        request.settimeout(10)
        try:
            with self.tls.wrap_socket(request, server_side=True) as connection:
                super().finish_request(connection, client_address)
        except OSError as error:  # ssl.SSLError is one
            print(f"{client_address[0]}: {error}", file=sys.stderr, flush=True)


def make_certificate(folder):
    """A certificate for this server alone. All clones have the same one, as all machines of a fleet have."""
    certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        sys.exit("https_server.py: making a certificate takes the command openssl; install it")
    except subprocess.CalledProcessError as error:
        sys.exit(f"https_server.py: no certificate: {error.stderr.decode(errors='replace').strip()}")
    return certificate, key


def main():
    parser = argparse.ArgumentParser(description="A threaded HTTPS server, safe to snapshot and clone.")
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # so that the `with` below removes the folder
    with tempfile.TemporaryDirectory() as folder, Server(port, *make_certificate(folder)) as server:
        print(f"https://localhost:{server.server_port} {folder}/certificate.pem", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"https_server.py: {error}; another --port?")
