"""PATH EXAMPLES MODULE DRAWS: how many different values clones draw of each expression of DRAWS, as JSON."""

import asyncio
import contextlib
import importlib
import io
import json
import queue
import sys

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
