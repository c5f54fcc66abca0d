"""An HTTPS server for a test, which keeps connections and tells of each request by which one it came. It also hands out
credentials as AWS's container service does, and answers as AWS's STS, with the key that the request was signed by."""

import http.server
import itertools
import json
import re
import ssl
import threading

from . import certificate

IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    "<Arn>{}</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps connections

    def setup(self):
        super().setup()
        self.number = next(self.server.numbers)

    def do_GET(self):
        if self.path == "/credentials":
            key = f"KEY{next(self.server.keys)}"
            found = {"AccessKeyId": key, "SecretAccessKey": "s", "Token": "t", "Expiration": "2999-01-01T00:00:00Z"}
            self.answer(json.dumps(found))
        else:
            self.answer(f"connection {self.number}")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(IDENTITY.format(re.search(r"Credential=(\w+)/", self.headers["Authorization"])[1]))

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    keys = numbers = None

    def __init__(self, host, folder=None):
        """`folder`: where the certificate goes, for HTTPS; else it is HTTP."""
        super().__init__((host, 0), Handler)
        self.keys, self.numbers = itertools.count(1), itertools.count(1)
        self.address = self.server_address[:2]
        if folder is not None:
            self.certificate = str(folder / "certificate")
            certificate.make(folder, f"IP:{host}")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, folder / "key")
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def handle_error(self, request, client_address):
        pass  # a connection that was lost

    def close(self):
        self.shutdown()
        self.server_close()
