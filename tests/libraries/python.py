"""Libraries that draw from what is guarded in Python itself, or from a library that is: a line or two for each."""

from .listed import guarded, library


def row(package: str, source: str, program: str, draws: dict[str, str], *, folder: str = "", brings: str = "") -> None:
    """`source`: what it draws from. `draws`: words, and an expression after `program`."""

    def use():
        names: dict[str, object] = {}
        exec(program, names)  # noqa: S102 - a program of this file
        made = {what: eval(f"lambda: {expression}", names) for what, expression in draws.items()}
        return {what: guarded(draw, f"draws from {source}") for what, draw in made.items()}

    library(package, folder=folder, brings=brings)(use)


row(
    "aiohttp", "uuid.uuid4", "from aiohttp import MultipartWriter", {"multipart boundary": "MultipartWriter().boundary"}
)
row(
    "aioquic",
    "os.urandom",
    """
from aioquic.quic.configuration import QuicConfiguration as C
from aioquic.quic.connection import QuicConnection as Q
""",
    {"connection id": "Q(configuration=C()).original_destination_connection_id"},
)
row(
    "anthropic",
    "random",
    """
import anthropic
from anthropic._models import FinalRequestOptions as O
c = anthropic.Anthropic(api_key='x', max_retries=9)
o = O(method='get', url='/')
""",
    {"retry jitter": "[c._calculate_retry_timeout(5, o) for _ in range(2)]"},
)
row(
    "apscheduler",
    "uuid.uuid4",
    """
from apscheduler.job import Job
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.background import BackgroundScheduler as S
""",
    {"job id": "S().add_job(print, 'interval', days=9).id"},
)
row(
    "argon2-cffi",
    "os.urandom",
    """
import argon2
h = argon2.PasswordHasher(time_cost=1, memory_cost=64)
""",
    {"salt": "h.hash('x')"},
    folder="argon2",
)
row(
    "authlib",
    "random.SystemRandom",
    "from authlib.common.security import generate_token",
    {"generate_token()": "generate_token()"},
)
row(
    "azure-core",
    "uuid.uuid1",
    """
from azure.core.pipeline.policies import RequestIdPolicy
from azure.core.pipeline import PipelineRequest, PipelineContext
from azure.core.rest import HttpRequest
def draw():
    r = PipelineRequest(HttpRequest('GET', 'http://x/'), PipelineContext(None))
    RequestIdPolicy().on_request(r)
    return r.http_request.headers['x-ms-client-request-id'][14:]
""",
    {"client request id": "draw()"},
)
row(
    "azure-storage-blob",
    "random",
    """
from azure.storage.blob import ExponentialRetry, LinearRetry
r = ExponentialRetry(initial_backoff=10**9, random_jitter_range=10**8)
""",
    {"retry jitter": "r.get_backoff_time({'count': 1})"},
)
row("backoff", "random", "import backoff", {"full_jitter()": "backoff.full_jitter(1e9)"})
row(
    "bokeh",
    "uuid.uuid4",
    "from bokeh.util.serialization import make_globally_unique_id",
    {"ids of documents": "make_globally_unique_id()"},
)
row(
    "boto3",
    "random",
    """
import boto3
from s3transfer.utils import OSUtils
u = OSUtils()
""",
    {"name of a download in progress": "u.get_temp_filename('x') + u.get_temp_filename('y')"},
)
row(
    "botocore",
    "uuid.uuid4",
    """
import botocore.handlers as h
class M:
    idempotent_members = ['t']
    name = 'x'
def draw():
    p = {}
    h.generate_idempotent_uuid(p, M())
    return p['t']
""",
    {"idempotency token": "draw()"},
)
row(
    "cachetools",
    "random",
    """
import cachetools
def draw():
    c = cachetools.RRCache(500)
    for i in range(600):
        c[i] = 1
    return sorted(c)
""",
    {"RRCache evicts": "draw()"},
)
row("coolname", "random", "import coolname", {"generate_slug(4)": "coolname.generate_slug(4)"})
row(
    "cuid2",
    "random.SystemRandom",
    """
from cuid2 import Cuid
c = Cuid()
""",
    {"generate()": "c.generate()"},
)
row(
    "deap",
    "random",
    """
from deap import tools
import random
""",
    {"selRandom()": "tools.selRandom(range(10**9), 3)"},
)
row(
    "diskcache",
    "os.urandom",
    """
import diskcache, tempfile
d = diskcache.Disk(tempfile.mkdtemp())
""",
    {"file name": "d.filename()[0]"},
)
row("django", "secrets", "import django.utils.crypto as c", {"get_random_string(20)": "c.get_random_string(20)"})
row(
    "dnspython",
    "random.SystemRandom",
    "import dns.message",
    {"query ids": "[dns.message.make_query('x.', 'A').id for _ in range(4)]"},
    folder="dns",
)
row(
    "dramatiq",
    "uuid.uuid4",
    """
import dramatiq
from dramatiq.message import Message
""",
    {"message id": "Message('q', 'a', (), {}, {}).message_id"},
)
row("ecdsa", "os.urandom", "import ecdsa", {"SigningKey.generate()": "ecdsa.SigningKey.generate().to_string()"})
row(
    "elastic-apm",
    "os.urandom",
    """
from unittest.mock import MagicMock
from elasticapm.traces import Transaction
""",
    {"transaction id": "Transaction(MagicMock(), 'x').id"},
    folder="elasticapm",
)
row(
    "elastic-transport",
    "random",
    """
from elastic_transport import RandomSelector
s = RandomSelector([])
""",
    {"nodes chosen": "[s.select(list(range(1000))) for _ in range(6)]"},
)
row("eth-account", "os.urandom", "from eth_account import Account", {"Account.create()": "Account.create().key.hex()"})
row(
    "factory-boy",
    "random",
    "import factory.fuzzy as f",
    {"FuzzyText()": "f.FuzzyText().fuzz() + f.FuzzyText().fuzz()"},
    folder="factory",
)
row(
    "faker",
    "random",
    """
from faker import Faker
f = Faker()
""",
    {"name(), address()": "f.name() + f.address()", "uuid4()": "f.uuid4()"},
)
row(
    "google-api-core",
    "random",
    "from google.api_core.retry import exponential_sleep_generator as e",
    {"retry jitter": "next(e(1e9, 1e9))"},
)
row(
    "google-cloud-bigquery",
    "uuid.uuid4",
    "from google.cloud.bigquery._job_helpers import make_job_id",
    {"job id": "make_job_id()"},
    brings="grpcio",
)
row(
    "google-cloud-storage",
    "uuid.uuid4",
    "from google.cloud.storage._helpers import _get_invocation_id",
    {"invocation id": "_get_invocation_id()"},
)
row(
    "httpx",
    "os.urandom",
    "import httpx",
    {"multipart boundary": "httpx.Request('POST', 'http://x/', files={'a': b'1'}).headers['content-type']"},
)
row(
    "huey",
    "uuid.uuid4",
    """
import huey
h = huey.MemoryHuey()
t = h.task()(print)
""",
    {"task id": "t.s().id"},
)
row(
    "hypothesis",
    "random",
    """
import hypothesis, hypothesis.strategies as st
def draw():
    out = []
    @hypothesis.settings(max_examples=8, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.integers(0, 2**60))
    def collect(x):
        out.append(x)
    collect()
    return out
""",
    {"integers": "draw()"},
)
row(
    "jinja2",
    "random",
    "import jinja2\nt = jinja2.Environment().from_string('{{ r | random }} {{ r | random }} {{ r | random }}')",
    {"random filter": "t.render(r=range(10**6))"},
)
row(
    "jupyter-client",
    "os.urandom",
    "from jupyter_client.session import new_id_bytes, Session",
    {"session key": "new_id_bytes()"},
)
row(
    "jwcrypto",
    "os.urandom",
    "from jwcrypto import jwk",
    {"symmetric key": "jwk.JWK.generate(kty='oct', size=256).export()"},
)
row(
    "langchain-core",
    "uuid.uuid4",
    """
from langchain_core.documents import Document
from langchain_core.callbacks import CallbackManager
m = CallbackManager([])
""",
    {"run id": "str(m.on_chain_start({}, {}).run_id)[14:]"},
)
row("langsmith", "uuid and os.urandom", "from langsmith import RunTree", {"run id": "str(RunTree(name='x').id)[14:]"})
row(
    "matplotlib",
    "uuid.uuid4",
    """
import matplotlib
matplotlib.use('svg')
from matplotlib.backends.backend_svg import RendererSVG
import io
r = RendererSVG(1, 1, io.StringIO())
""",
    {"ids in SVG": "r._make_id('a', 'b')"},
)
row(
    "mimesis",
    "random",
    """
from mimesis import Person
p = Person()
""",
    {"full_name(), email()": "p.full_name() + p.email()"},
)
row(
    "mlflow-skinny",
    "random and uuid.uuid4",
    "from mlflow.utils.name_utils import _generate_random_name",
    {"run name": "_generate_random_name()"},
    folder="mlflow",
)
row("mpmath", "random", "import mpmath", {"rand()": "mpmath.rand()"})
row(
    "nanoid",
    "os.urandom and random",
    "import nanoid",
    {"generate()": "nanoid.generate()", "non_secure_generate()": "nanoid.non_secure_generate()"},
)
row("nbformat", "uuid.uuid4", "import nbformat.v4 as v", {"cell id": "v.new_code_cell()['id']"})
row(
    "networkx",
    "random",
    "import networkx as nx",
    {"fast_gnp_random_graph()": "sorted(nx.fast_gnp_random_graph(50, 0.3).edges)"},
)
row(
    "oauthlib",
    "random.SystemRandom",
    "import oauthlib.common as c",
    {"generate_token()": "c.generate_token()", "generate_nonce()": "c.generate_nonce()[:19]"},
)
row(
    "openai",
    "random",
    """
import openai
from openai._models import FinalRequestOptions as O
c = openai.OpenAI(api_key='x', max_retries=9)
o = O(method='get', url='/')
""",
    {"retry jitter": "[c._calculate_retry_timeout(5, o) for _ in range(2)]"},
)
row(
    "paho-mqtt",
    "uuid.uuid4",
    "import paho.mqtt.client as m",
    {"client id": "m.Client(m.CallbackAPIVersion.VERSION2, protocol=m.MQTTv31)._client_id"},
    folder="paho",
)
row(
    "passlib",
    "random.SystemRandom",
    """
from passlib.hash import pbkdf2_sha256 as h
h = h.using(rounds=1)
""",
    {"salt": "h.hash('x')"},
)
row(
    "plotly",
    "uuid.uuid4",
    "import plotly.io as pio",
    {"div id": "pio.to_html({'data': []}, include_plotlyjs=False, full_html=False)"},
)
row(
    "pycryptodome",
    "os.urandom",
    """
from Crypto.Random import get_random_bytes, random
from Crypto.PublicKey import ECC
""",
    {
        "get_random_bytes()": "get_random_bytes(8)",
        "random.getrandbits()": "random.getrandbits(64)",
        "ECC key": "ECC.generate(curve='P-256').d",
    },
    folder="crypto",
)
row("pyotp", "secrets", "import pyotp", {"random_base32()": "pyotp.random_base32()"})
row(
    "python-engineio",
    "secrets",
    """
import engineio.base_server as b
s = b.BaseServer.__new__(b.BaseServer)
s.sequence_number = 0
""",
    {"session id": "s.generate_id()"},
    folder="engineio",
)
row(
    "redis",
    "random",
    "from redis.backoff import ExponentialWithJitterBackoff as B\nb = B(1e9, 1)",
    {"retry jitter": "b.compute(20)"},
)
row(
    "requests",
    "os.urandom, by urllib3",
    "import requests",
    {
        "multipart boundary": "requests.Request('POST', 'http://x/', files={'a': b'1'}).prepare().headers['content-type']"  # noqa: E501
    },
)
row(
    "requests-toolbelt",
    "uuid.uuid4",
    "from requests_toolbelt import MultipartEncoder as M",
    {"multipart boundary": "M({'a': 'b'}).boundary_value"},
)
row(
    "rq",
    "uuid.uuid4",
    """
import rq.job, redis
c = redis.Redis()
""",
    {"job id": "rq.job.Job.create(print, connection=c).id"},
)
row("rsa", "os.urandom", "import rsa", {"newkeys(128)": "rsa.newkeys(128)[0].n"})
row("rstr", "random", "import rstr", {"xeger()": "rstr.xeger('[a-z]{30}')"})
row(
    "s3transfer",
    "random",
    "from s3transfer.utils import random_file_extension as r",
    {"random_file_extension()": "r(20)"},
)
row("scapy", "random", "from scapy.volatile import RandLong", {"RandLong()": "int(RandLong())"})
row(
    "shortuuid",
    "uuid.uuid4",
    "import shortuuid",
    {"uuid()": "shortuuid.uuid()", "ShortUUID().random()": "shortuuid.ShortUUID().random()"},
)
row(
    "slack-sdk",
    "random",
    """
from slack_sdk.http_retry import BackoffRetryIntervalCalculator as B
from slack_sdk.http_retry.jitter import RandomJitter as J
j = J()
""",
    {"retry jitter": "j.recalculate(1e9)"},
)
row(
    "stripe",
    "uuid.uuid4",
    """
import stripe._http_client as h
client = h.new_default_http_client()
""",
    {"retry jitter": "client._add_jitter_time(1e9)"},
)
row("svix-ksuid", "os.urandom", "from ksuid import Ksuid", {"Ksuid()": "bytes(Ksuid())[4:]"})
row(
    "sympy",
    "random",
    """
import sympy
from sympy.core.random import rng, random_complex_number as r
""",
    {"core.random.rng": "rng.random()", "randprime()": "sympy.randprime(2**80, 2**81)"},
    folder="ksuid",
)
row(
    "tenacity",
    "random",
    """
import tenacity
w = tenacity.wait_random(0, 1e9)
""",
    {"wait_random()": "w(None)"},
)
row(
    "tornado",
    "os.urandom and uuid.uuid4",
    """
from unittest.mock import MagicMock
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler
app = Application()
""",
    {"XSRF token": "RequestHandler(app, HTTPServerRequest('GET', '/', connection=MagicMock())).xsrf_token"},
)
row(
    "trio",
    "random",
    """
import trio
from trio import testing
import trio._core._run as r
""",
    {"order of tasks": "r._r.random()"},
)
row("twisted", "os.urandom", "from twisted.python.randbytes import secureRandom", {"secureRandom()": "secureRandom(8)"})
row(
    "urllib3", "os.urandom", "from urllib3.filepost import choose_boundary", {"multipart boundary": "choose_boundary()"}
)
row(
    "uuid6",
    "secrets",
    "import uuid6",
    {"uuid7()": "str(uuid6.uuid7())[14:]", "uuid8()": "str(uuid6.uuid8())[14:]", "uuid6()": "str(uuid6.uuid6())[19:]"},
)
row("wandb", "secrets", "from wandb.sdk.lib.runid import generate_id", {"run id": "generate_id(20)"})
row(
    "websocket-client",
    "os.urandom",
    "import websocket._abnf as a, websocket._handshake as h",
    {
        "mask of a frame": "a.ABNF.create_frame(b'abcdefgh', a.ABNF.OPCODE_BINARY).format()",
        "Sec-WebSocket-Key": "h._create_sec_websocket_key()",
    },
    folder="websocket",
)
row(
    "websockets",
    "secrets",
    """
from websockets.utils import generate_key
from websockets.frames import Frame, Opcode
f = Frame(Opcode.BINARY, b'abcdefgh')
""",
    {"Sec-WebSocket-Key": "generate_key()", "masks of frames": "f.serialize(mask=True) + f.serialize(mask=True)"},
)
row(
    "werkzeug",
    "secrets",
    "import werkzeug.security as s",
    {"salt": "s.gen_salt(20)", "generate_password_hash()": "s.generate_password_hash('x', 'pbkdf2:sha256:1')"},
)
row("wsproto", "os.urandom", "from wsproto.utilities import generate_nonce", {"Sec-WebSocket-Key": "generate_nonce()"})
row(
    "wtforms",
    "os.urandom",
    """
from wtforms.csrf.session import SessionCSRF
import wtforms
class F(wtforms.Form):
    class Meta:
        csrf = True
        csrf_class = SessionCSRF
        csrf_secret = b'x'
        csrf_time_limit = None
def draw():
    s = {}
    F(meta={'csrf_context': s})
    return s['csrf']
""",
    {"CSRF token": "draw()"},
)
