"""examples/ in real clones of a machine whose kernel and clock repeat: what they call unique is. Each has its twin."""

import json

import pytest

from ..helpers.running import EXAMPLES

pytestmark = pytest.mark.any_python

CLONES = 50
# Else the template notices the first clone's restore, for they share the file, and is renewed before the next.
UNWATCHED = {"SNAPSAFE_WATCH": "0"}

# Of each module in examples/: what it makes, as bytes.
DRAWS = {
    "node_id": ["module.new_id().to_bytes(16, 'big')", "module.node().to_bytes(7, 'big')"],
    "cron_job": ["module.report_name().encode()", "repr(module.draw_delay(60)).encode()"],
    "middleware": ["ask_wsgi()", "ask_asgi()"],
    "asyncio_service": ["note().encode()"],
    "threads": ["worker_says(3)", "worker_says(5)", "worker_says(6)"],
    "app": ["module.instance().encode()", "ask_wsgi('application')"],
}

SCRIPT = """
    import asyncio, contextlib, importlib, io, json, queue, sys
    from drawing import distinct
    sys.path[:0] = [sys.argv[2], sys.argv[2] + "/gunicorn_prefork"]
    module = importlib.import_module(sys.argv[3])
    ROUGH = {"SERVER_PROTOCOL": "HTTP/1.0", "REQUEST_METHOD": "GET", "PATH_INFO": "/"}

    def trace(body):
        return json.loads(body)["trace"].encode()

    def ask_wsgi(name="wsgi_app"):
        return trace(b"".join(getattr(module, name)(ROUGH, lambda status, headers: None)))

    def ask_asgi():
        sent = []
        async def send(message):
            sent.append(message)
        asyncio.run(module.asgi_app({"type": "http"}, None, send))
        return trace(sent[1]["body"])

    def note():
        async def answer():
            service = module.Service(":memory:")
            await service.reopen()
            return (await service.answer("text"))["id"]
        with contextlib.redirect_stdout(io.StringIO()):
            return asyncio.run(answer())

    if sys.argv[3] == "threads":
        jobs = queue.Queue()
        worker = module.Worker(jobs, ":memory:")  # made before the snapshot; at work after it

    def worker_says(word):
        jobs.put("job")
        jobs.put(None)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            worker.run()
        return said.getvalue().split()[word + 1].encode()

    counts = {}
    for draw in json.loads(sys.argv[4]):
        make = eval("lambda: " + draw)
        counts[draw] = distinct(make, make)
    print(json.dumps(counts))
"""


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
@pytest.mark.parametrize("module", DRAWS)
def test_what_is_unique(run_python, source_file, machine, module, protection):
    env = source_file.env | machine | UNWATCHED | {"SNAPSAFE": protection}
    output = run_python(SCRIPT, source_file.path, EXAMPLES, module, json.dumps(DRAWS[module]), env=env, dev=False)
    expected = CLONES if protection == "1" else 1
    assert json.loads(output.splitlines()[-1]) == dict.fromkeys(DRAWS[module], expected)


HTTPS = """
    import json, ssl, socket, sys, tempfile, threading
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
        '''One connection. The client has a thread; the server has this one, whose generators the snapshot holds.'''
        thread = threading.Thread(target=lambda: answers.append(ask(server.server_port)))
        thread.start()
        server.finish_request(*server.get_request())
        thread.join()
        return answers.pop()

    answers = []

    def ask(port):
        '''The answer, and the random parts of both hellos: RFC 8446 4.1.2, after record and handshake header.'''
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
        step(tls.write, b"GET / HTTP/1.0\\r\\n\\r\\n")
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
        answer = json.loads(body.partition(b"\\r\\n\\r\\n")[2])
        return answer | {"client hello": sent[11:43].hex(), "server hello": received[11:43].hex()}

    # One clone at a time accepts: they all share the listening socket, as clones of a process do.
    made = run_clones(20, lambda number: json.dumps(serve()).encode(), prepare=prepare, parallel=1,
                      source=FileSource(sys.argv[1]))
    made = [json.loads(answer) for answer in made]
    print(json.dumps({key: len({answer[key] for answer in made}) for key in made[0]}))
"""


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_https_server_clones(run_python, source_file, machine, protection):
    env = source_file.env | machine | UNWATCHED | {"SNAPSAFE": protection}
    output = run_python(HTTPS, source_file.path, EXAMPLES, env=env)
    counts = json.loads(output.splitlines()[-1])
    assert counts.pop("restores") == 1
    client = counts.pop("client hello")
    assert client == 20 or protection == "0"  # its thread's generator is new, and mixes in the time
    assert counts == dict.fromkeys(["node", "session", "trace", "server hello"], 20 if protection == "1" else 1)
