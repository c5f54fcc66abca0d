"""PATH EXAMPLES: how many different values clones of the example answer with, as JSON."""

import json
import socket
import ssl
import sys
import tempfile
import threading

sys.path.insert(0, sys.argv[2])
import https_server

from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import run_clones


def prepare():
    global server
    with tempfile.TemporaryDirectory() as folder:
        server = https_server.Server(0, *https_server.make_certificate(folder))
    serve()  # before the snapshot: the server is at work, its generators are drawn from


def serve():
    """One connection. The client has a thread; the server has this one, whose generators the snapshot holds."""
    thread = threading.Thread(target=lambda: answers.append(ask(server.server_port)))
    thread.start()
    server.finish_request(*server.get_request())
    thread.join()
    return answers.pop()


answers = []


def ask(port):
    """The answer, and the random parts of both hellos: RFC 8446 4.1.2, after record and handshake header."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    raw = socket.create_connection(("127.0.0.1", port), timeout=30)
    sent, received, body = b"", b"", b""

    def step(call, *arguments):
        nonlocal sent, received
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                pass
            finally:
                data = outgoing.read()
                raw.sendall(data)
                sent += data
            data = raw.recv(65536)
            received += data
            incoming.write(data) if data else incoming.write_eof()

    step(tls.do_handshake)
    step(tls.write, b"GET / HTTP/1.0\r\n\r\n")
    while True:
        try:
            piece = step(tls.read, 65536)
        except ssl.SSLZeroReturnError:
            break
        except ssl.SSLEOFError:
            break
        if not piece:
            break
        body += piece
    raw.close()
    answer = json.loads(body.partition(b"\r\n\r\n")[2])
    return answer | {"client hello": sent[11:43].hex(), "server hello": received[11:43].hex()}


# One clone at a time accepts: they all share the listening socket, as clones of a process do.
made = run_clones(
    20, lambda number: json.dumps(serve()).encode(), prepare=prepare, parallel=1, source=FileSource(sys.argv[1])
)
made = [json.loads(answer) for answer in made]
print(json.dumps({key: len({answer[key] for answer in made}) for key in made[0]}))
