"""examples/reconnect: each program speaks to a real server, loses all connections that it has at a restore, and goes
on at once; its twin, which is not told, waits for an answer on such a connection, or fails."""

import contextlib
import http.client
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from ..helpers import postgres, redis_server, web_server
from ..helpers.lost_network import Network, own_address
from ..helpers.running import EXAMPLES, SECONDS, SNAPSAFE_RUN, Running, port_in, wait_asleep

pytestmark = [pytest.mark.any_python, pytest.mark.xdist_group("reconnect")]  # the servers are started once

FOLDER = EXAMPLES / "reconnect"
GRPC_SERVER = """
import itertools, sys
from concurrent.futures import ThreadPoolExecutor
import grpc
count = itertools.count(1)
class Numbers(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: str(next(count)).encode())
server = grpc.server(ThreadPoolExecutor(2), [Numbers()])
print(server.add_insecure_port(sys.argv[1] + ":0"), flush=True)
server.start()
server.wait_for_termination()
"""


class Program(NamedTuple):
    """`needs`: its libraries. `reset`: what its twin does where the peer answers what it does not know: "fails", or
    "goes on", where the library tries again by itself; "" for either: gRPC tries again what it takes for not sent."""

    server: str
    needs: tuple[str, ...]
    address: str
    reset: str = "fails"


POSTGRES = "host={host} port={port} user=tests dbname=postgres"
ASYNCPG = "postgresql+asyncpg://tests@{host}:{port}/postgres"
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
UVICORN = ("-m", "uvicorn", "--app-dir", FOLDER, "fastapi_app:app", "--port", "0", "--no-access-log")
WORKER = ("-m", "celery", "--workdir", FOLDER, "-A", "celery_app", "worker", "--pool=solo", "--loglevel=INFO")
WORKER += ("--without-mingle", "--without-gossip")
PROGRAMS = {
    "sqlalchemy_sync": Program(
        "postgres", ("sqlalchemy", "psycopg"), "postgresql+psycopg://tests@{host}:{port}/postgres"
    ),
    "sqlalchemy_async": Program("postgres", ("sqlalchemy", "asyncpg", "greenlet"), ASYNCPG),
    "psycopg3_pool": Program("postgres", ("psycopg_pool",), POSTGRES),
    "asyncpg_pool": Program("postgres", ("asyncpg",), "postgresql://tests@{host}:{port}/postgres"),
    "redis_py": Program("redis", ("redis",), "redis://{host}:{port}"),
    "boto3_client": Program("web", ("boto3",), "https://{host}:{port}", "goes on"),  # with the old credentials
    "requests_session": Program("web", ("requests",), "https://{host}:{port}"),
    "httpx_client": Program("web", ("httpx",), "https://{host}:{port}"),
    "aiohttp_session": Program("web", ("aiohttp",), "https://{host}:{port}", "goes on"),
    "grpc_aio": Program("grpc", ("grpc",), "{host}:{port}", ""),
    "celery_app": Program("redis", ("celery", "redis"), "redis://{host}:{port}"),
    "django_app": Program("postgres", ("django", "psycopg"), "{host}:{port}", "goes on"),
    "fastapi_app": Program("postgres", ("fastapi", "uvicorn", "sqlalchemy", "asyncpg", "greenlet"), ASYNCPG),
}


def need(names):
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: .ci/companions runs this with it")


@pytest.fixture(scope="module")
def host():
    """Not loopback, which recipes.connections() leaves alone."""
    return own_address() or pytest.skip("this machine has no address but loopback")


@pytest.fixture(scope="module")
def servers(tmp_path_factory, host):
    """servers("redis") -> where it listens; each is started once."""
    with contextlib.ExitStack() as stack:
        found = {}

        def start(name):
            if name == "web":
                server = web_server.Server(host, tmp_path_factory.mktemp("web"))
                stack.callback(server.close)
                return server
            if name == "grpc":
                server = stack.enter_context(Running([sys.executable, "-c", GRPC_SERVER, host], dict(os.environ)))
                server.address = (host, int(server.line()))
                return server
            module, kind = {"postgres": (postgres, "Postgres"), "redis": (redis_server, "Redis")}[name]
            if not (postgres.PROGRAMS if name == "postgres" else redis_server.PROGRAM):
                pytest.skip(f"no server of {name} here (Debian: postgresql, redis-server)")
            server = getattr(module, kind)(stack.enter_context(short_folder()))
            stack.callback(server.close)
            server.address = server.socket if name == "redis" else f"{server.folder}/.s.PGSQL.5432"
            return server

        yield lambda name: found.get(name) or found.setdefault(name, start(name))


@contextlib.contextmanager
def short_folder():
    """The path of a Unix socket has 107 bytes at the most."""
    path = Path(tempfile.mkdtemp(prefix="snapsafe-", dir="/dev/shm"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class Asked:
    """An example that runs, and the network between it and its server. Each line that it is told is a number."""

    def __init__(self, stack, network, running, port=None):
        self.stack, self.network, self.running, self.port = stack, network, running, port
        self.told = 0

    def tell(self):
        self.told += 1
        if self.port is None:
            self.running.tell(self.told)
            return
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        self.stack.callback(self.connection.close)
        self.connection.request("GET", "/")

    def answer(self):
        if self.port is None:
            return self.running.line()
        answer = self.connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, self.running.streams()
        return text

    def ask(self):
        self.tell()
        return self.answer()


def until(true):
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def begin(servers, host, environment):
    """begin(name, protection) -> Asked, which was asked once; it is ended with the test."""
    with contextlib.ExitStack() as stack:

        def lead(name):
            need(PROGRAMS[name].needs)
            network = Network(servers(PROGRAMS[name].server).address, host)
            stack.callback(network.close)
            return network, PROGRAMS[name].address.format(host=host, port=network.port)

        def run(command, protection, settings, **how):
            quiet = ["--quiet"] if protection == "0" else []
            settings = environment | {"PYTHONWARNINGS": "ignore", "SNAPSAFE": protection} | settings
            return stack.enter_context(Running([*SNAPSAFE_RUN, *quiet, sys.executable, *command], settings, **how))

        def begin(name, protection, worker="0"):
            network, address = lead(name)
            program, port = [FOLDER / f"{name}.py", address], None
            if name == "celery_app":
                far, there = lead(name)
                of_worker = run(WORKER, worker, {"BROKER": there}, merged=True)
                of_worker.line(" ready")
                running = run(program, protection, {"BROKER": address})
            elif name == "fastapi_app":
                running = run(UVICORN, protection, {"DATABASE": address}, merged=True)
                port = port_in(running.line("running on"))
            else:
                settings = {}
                if PROGRAMS[name].server == "web":
                    settings = dict.fromkeys(CERTIFICATES, servers("web").certificate)
                if name == "boto3_client":
                    role = web_server.Server("127.0.0.1")
                    stack.callback(role.close)
                    settings["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"http://127.0.0.1:{role.address[1]}/credentials"
                    settings["AWS_ENDPOINT_URL"] = address
                running = run(program, protection, settings)
            asked = Asked(stack, network, running, port)
            if name == "celery_app":
                asked.worker, asked.far = of_worker, far
            asked.first = asked.ask()
            return asked

        yield begin


@pytest.mark.parametrize("how", ["silent", "reset"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_goes_on_at_once(begin, source_file, name, how):
    asked = begin(name, "1")
    made = asked.network.made
    asked.network.lose(how)
    source_file.bump()
    assert asked.ask() != asked.first
    assert asked.ask()
    assert asked.network.made > made


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_twin_waits_where_its_peer_is_silent(begin, source_file, name):
    """It has spoken on a connection that is lost, sleeps, and has not made another one."""
    asked = begin(name, "0")
    made = asked.network.made
    asked.network.lose("silent")
    source_file.bump()
    asked.tell()
    until(lambda: asked.network.swallowed or asked.running.process.poll() is not None)
    wait_asleep(asked.running.process)
    assert asked.running.process.poll() is None, asked.running.streams()
    assert asked.network.made == made


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_twin_where_its_peer_answers(begin, source_file, name):
    asked = begin(name, "0")
    asked.network.lose("reset")
    source_file.bump()
    asked.tell()
    try:
        same = asked.answer() == asked.first
        went = "goes on"
    except (AssertionError, OSError):
        same, went = False, "fails"
    assert went == PROGRAMS[name].reset or not PROGRAMS[name].reset, asked.running.streams()
    assert same == (name == "boto3_client")  # with the key of before


@pytest.mark.parametrize("protection", ["1", "0"], ids=["", "twin"])
def test_a_worker_of_celery_waits_for_tasks_on_a_new_connection(begin, servers, source_file, protection):
    asked = begin("celery_app", "0", worker=protection)
    import redis

    asked.far.lose("silent")
    source_file.bump()
    asked.tell()
    if protection == "1":
        assert asked.answer() == "4"
        return
    with redis.Redis(unix_socket_path=servers("redis").address) as client:
        until(lambda: client.llen("celery"))
        wait_asleep(asked.worker.process)
        assert client.llen("celery") == 1
        client.delete("celery")


CLONES = """
    import os, sys
    import redis, snapsafe_rt
    from snapsafe_rt.publish import FileSource
    from snapsafe_rt.testing.clones import run_clones
    client = redis.Redis(unix_socket_path=sys.argv[2], socket_timeout=1, retry=None)
    snapsafe_rt.register_after_restore(client.connection_pool.disconnect, inuse_connections=False)
    got, sent, read = os.pipe(), os.pipe(), os.pipe()
    def ask(number):
        # the first one speaks first, the second one listens first
        snapsafe_rt.check()
        ours = client.connection_pool.get_connection()
        if number == 1:
            os.write(got[1], b".")
            os.read(sent[0], 1)
        else:
            os.read(got[0], 1)
        ours.send_command("ECHO", number)
        os.write(sent[1], b".")
        if number == 0:
            os.read(read[0], 1)
        try:
            return ours.read_response()
        except redis.RedisError as error:
            return type(error).__name__.encode()
        finally:
            os.write(read[1], b".")
    print(*run_clones(2, ask, prepare=client.ping, source=FileSource(sys.argv[1]), parallel=2))
"""


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
def test_clones_do_not_read_each_others_answers(run_python, servers, source_file, activated):
    """Clones of a process share the connection itself: whoever reads first has the answer."""
    need(PROGRAMS["redis_py"].needs)
    env = source_file.env | {"SNAPSAFE_WATCH": "0"} if activated else {}
    said = run_python(CLONES, source_file.path, servers("redis").address, env=env, activated=activated)
    assert said.split()[1] == ("b'1'" if activated else "b'0'"), said


def test_each_program_is_among_these():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PROGRAMS)
