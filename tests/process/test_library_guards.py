"""Libraries with a row of their own, drawn from in clones of a machine whose kernel repeats itself too; and the twins,
in which nothing of ours runs.

They are no dependencies: what is not installed is skipped. `.ci/companions` runs this with all of them."""

import importlib.util
import json
import textwrap

import pytest

from snapsafe_rt.guards import table
from snapsafe_rt.report import remote

from ..conftest import need
from ..helpers.looking import rows

CLONES = 20

OF_NUMBA = "draw = lambda: repr(drawn()).encode()"
# What a program did before the snapshot, and what it draws after it: bytes. By row.
DRAWS = {
    "bson": {"ObjectId": "import bson\ndraw = lambda: bson.ObjectId().binary[4:9]"},
    "pymongo": {
        "pooled session": """
            import pymongo
            client = pymongo.MongoClient("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=1", connect=False)
            pool = client._topology._session_pool
            pool.return_server_session(pool.get_server_session(30))
            def draw():
                session = pool.get_server_session(30)
                pool.return_server_session(session)
                return bytes(session.session_id["id"])
        """,
        "session in use at the restore": """
            import pymongo
            client = pymongo.MongoClient("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=1", connect=False)
            pool = client._topology._session_pool
            used = pool.get_server_session(30)
            pool.return_server_session(pool.get_server_session(30))
            used = pool.get_server_session(30)
            def draw():
                pool.get_server_session(30)
                pool.return_server_session(used)
                return bytes(pool.get_server_session(30).session_id["id"])
        """,
    },
    "nats": {"NUID": "import nats.nuid\nids = nats.nuid.NUID()\ndraw = lambda: bytes(ids.next())"},
    "kombu": {
        "node id": """
            import kombu.common as common
            common.get_node_id()
            draw = lambda: common.oid_from(common).encode()
        """,
        "oids": """
            import celery, kombu.common, celery._state
            app = celery.Celery('t', broker='memory://', backend='rpc://')
            draw = lambda: f'{app.oid}{app.thread_oid}{app.backend.oid}'.encode()
        """,
        "oid": "import celery\napp = celery.Celery('t', broker='memory://')\ndraw = lambda: app.oid.encode()",
        "oid of a thread": "import celery\napp = celery.Celery('t')\ndraw = lambda: app.thread_oid.encode()",
        "reply queue": """
            import celery
            app = celery.Celery('t', broker='memory://', backend='rpc://')
            draw = lambda: app.backend.binding.name.encode()
        """,
    },
    "polars": {
        "sample": """
            import os
            os.environ['POLARS_MAX_THREADS'] = '1'  # its pool does not outlive the cloning of a process
            import polars
            rows = polars.Series(range(100000))
            draw = lambda: repr(rows.sample(2).to_list()).encode()
        """
    },
    "opentelemetry": {
        "service.instance.id": """
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            provider = TracerProvider()
            draw = lambda: provider.resource.attributes["service.instance.id"].encode()
        """,
        "of a Resource made then": """
            from opentelemetry.sdk.resources import Resource
            Resource.create()
            draw = lambda: Resource.create().attributes["service.instance.id"].encode()
        """,
    },
    "sentry_sdk": {
        "trace": """
            import sentry_sdk
            sentry_sdk.init(dsn=None, traces_sample_rate=1.0)
            draw = lambda: sentry_sdk.get_traceparent().encode()
        """,
        "trace of another context": """
            import contextvars, sentry_sdk
            from sentry_sdk.scope import use_isolation_scope, Scope
            sentry_sdk.init(dsn=None)
            context = contextvars.Context()
            scope = context.run(sentry_sdk.get_isolation_scope)
            draw = lambda: context.run(sentry_sdk.get_traceparent).encode()
        """,
    },
    "apsw": {
        "randomblob": """
            import apsw
            asked = apsw.Connection(':memory:')
            draw = lambda: next(iter(asked.execute('select randomblob(8)')))[0]
        """,
        "new connection": """
            import apsw
            draw = lambda: next(iter(apsw.Connection(':memory:').execute('select randomblob(8)')))[0]
        """,
    },
    "uuid_utils": {
        "uuid4": "import uuid_utils\ndraw = lambda: uuid_utils.uuid4().bytes",
        "taken earlier": "from uuid_utils import uuid4\ndraw = lambda: uuid4().bytes",
        "uuid7": "import uuid_utils\ndraw = lambda: uuid_utils.uuid7().bytes[6:]",
        "uuid8": "import uuid_utils\ndraw = lambda: uuid_utils.uuid8().bytes",
        "uuid1": "import uuid_utils\ndraw = lambda: uuid_utils.uuid1().bytes[8:]",
        "uuid6": "import uuid_utils\ndraw = lambda: uuid_utils.uuid6().bytes[8:]",
        "own node": "import uuid_utils\ndraw = lambda: uuid_utils.uuid1(5).bytes[8:10]",
        "getnode": "import uuid_utils\ndraw = lambda: uuid_utils.getnode().to_bytes(6, 'big')",
        "compat.uuid4": "import uuid_utils.compat as uuids\ndraw = lambda: uuids.uuid4().bytes",
        "compat.uuid7": "import uuid_utils.compat as uuids\ndraw = lambda: uuids.uuid7().bytes[6:]",
        "compat.uuid1": "import uuid_utils.compat as uuids\ndraw = lambda: uuids.uuid1().bytes[8:]",
    },
    "ulid": {
        "ULID": "import ulid\ndraw = lambda: ulid.ULID().bytes[6:]",
        "taken earlier": "from ulid import ULID\ndraw = lambda: ULID().bytes[6:]",
    },
    "bcrypt": {"gensalt": "import bcrypt\ndraw = lambda: bcrypt.gensalt(4)"},
    "numba": {
        "numpy.random": "import numba, numpy\ndrawn = numba.njit(lambda: numpy.random.random())\n" + OF_NUMBA,
        "random": "import numba, random\ndrawn = numba.njit(lambda: random.random())\n" + OF_NUMBA,
        "second gauss": "import numba, random\ndrawn = numba.njit(lambda: random.gauss(0, 1))\n" + OF_NUMBA,
    },
    "ulid_transform": {
        "ulid_now": "import ulid_transform as u\ndraw = lambda: u.ulid_now()[10:].encode()",
        "ulid_hex": "import ulid_transform as u\ndraw = lambda: u.ulid_hex()[12:].encode()",
        "ulid_at_time": "import ulid_transform as u\ndraw = lambda: u.ulid_at_time(1.0).encode()",
        "ulid_now_bytes": "import ulid_transform as u\ndraw = lambda: u.ulid_now_bytes()[6:]",
        "ulid_at_time_bytes": "import ulid_transform as u\ndraw = lambda: u.ulid_at_time_bytes(1.0)",
    },
    "ddtrace": {
        "rand64bits": """
            try:
                from ddtrace.internal.native import rand64bits
            except ImportError:
                from ddtrace.internal._rand import rand64bits
            draw = lambda: rand64bits().to_bytes(8, 'big')
        """,
        "128 bits": """
            try:
                from ddtrace.internal.native import generate_128bit_trace_id as made
            except ImportError:
                from ddtrace.internal._rand import rand128bits as made
            draw = lambda: made().to_bytes(16, 'big')
        """,
        "runtime id": """
            from ddtrace.internal.runtime import get_runtime_id
            draw = lambda: get_runtime_id().encode()
        """,
    },
}
# A runtime of Rust's of which it says on stderr that a template of clones can start no thread for it.
QUIET = "import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n"
MODULES = {"opentelemetry": "opentelemetry.sdk", "kombu": "celery"}
CASES = [(library, surface) for library, surfaces in DRAWS.items() for surface in surfaces]
IDS = [f"{library}: {surface}" for library, surface in CASES]
# Of these a twin may differ: 14 bits, or nothing but an address besides the node id.
SMALL = {("uuid_utils", "own node")}

SCRIPT = """
import sys
from drawing import distinct
import snapsafe_rt
{draws}
def after():
    if {event}:
        snapsafe_rt.check()
    return draw()
print(distinct(after, draw, {clones}, {place!r}))
"""
OPTIONS = {"options": ["-W", "ignore"], "dev": False, "timeout": 300}


def need_library(library):
    need(MODULES.get(library, library))


def drawing(library, surface=None):
    """Code that sets `draw`."""
    surfaces = DRAWS[library]
    quiet = QUIET if library == "ddtrace" else ""
    return quiet + textwrap.dedent(surfaces[surface or next(iter(surfaces))]).strip()


def guarded(library):
    return table.load(library).level == "guarded"


def ids_are_guarded(library, surface):
    return guarded(library) or library == "numba" or (library == "ddtrace" and surface != "runtime id")


@pytest.fixture
def stale(source_file, machine):
    """For clones: their template would notice what the first of them writes, and who is cloned must have one thread."""
    return source_file.env | machine | {"SNAPSAFE_WATCH": "0", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}


@pytest.mark.parametrize("place", ["main", "thread"])
@pytest.mark.parametrize(("library", "surface"), CASES, ids=IDS)
def test_no_two_clones_draw_the_same(run_python, source_file, stale, library, surface, place):
    need_library(library)
    event = not ids_are_guarded(library, surface)
    text = SCRIPT.format(draws=drawing(library, surface), event=event, clones=CLONES, place=place)
    found = int(run_python(text, source_file.path, env=stale, **OPTIONS))
    assert found == CLONES or ((library, surface) in SMALL and found >= CLONES - 2)


@pytest.mark.parametrize(("library", "surface"), CASES, ids=IDS)
def test_the_twin_repeats(run_python, source_file, stale, library, surface):
    need_library(library)
    text = SCRIPT.format(draws=drawing(library, surface), event=False, clones=CLONES, place="main")
    found = int(run_python(text, source_file.path, env=stale | {"SNAPSAFE": "0"}, **OPTIONS))
    assert found == 1


IN_COMMON = ("own node", "getnode", "uuid1", "uuid6", "compat.uuid1", "ObjectId", "pooled session")
BY_THREAD = [case for case in CASES if guarded(case[0]) and case[1] not in IN_COMMON]


@pytest.mark.parametrize(("library", "surface"), BY_THREAD, ids=[f"{one}: {what}" for one, what in BY_THREAD])
def test_eight_threads_in_each_clone(run_python, source_file, stale, library, surface):
    """Each of 8 new threads draws, after the main thread did: no value is there twice, and each thread's is renewed."""
    need_library(library)
    text = f"""
import threading
from drawing import CLONES, run_clones, source
{drawing(library, surface)}
def eight(number):
    drawn = [draw()]
    threads = [threading.Thread(target=lambda: drawn.append(draw())) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return b"|".join(value.hex().encode() for value in drawn)
made = [value for one in run_clones(20, eight, prepare=draw, source=source) for value in one.split(b"|")]
print(len(made), len(set(made)))
"""
    assert run_python(text, source_file.path, env=stale, **OPTIONS).split() == ["180", "180"]


@pytest.mark.parametrize("library", ["uuid_utils", "ddtrace"])
def test_a_thread_that_drew_before_a_restore_is_seeded_by_us_after_it(run_python, source_file, library):
    """8 of them, in one process; each once, and none before."""
    need_library(library)
    text = f"""
import threading
from drawing import source
from snapsafe_rt.core import native
{drawing(library)}
told = []
barrier = threading.Barrier(9)
def work():
    draw()
    first = native.calls_fed()
    draw()
    assert native.calls_fed() == first
    barrier.wait()
    barrier.wait()
    draw()
    seeds = native.calls_fed() - first
    draw()
    assert native.calls_fed() - first == seeds
    told.append((first > 0, seeds > 0))
threads = [threading.Thread(target=work) for _ in range(8)]
for one in threads:
    one.start()
barrier.wait()
source.bump(1000)
barrier.wait()
for one in threads:
    one.join()
assert told == [(True, True)] * 8, told
"""
    if library == "ddtrace" and importlib.util.find_spec("ddtrace.internal.native") is None:
        pytest.skip("the generator of this version is the process's")
    run_python(text, source_file.path, env=source_file.env | {"SNAPSAFE_WATCH": "0"}, **OPTIONS)


# ---- what status says ----


@pytest.mark.parametrize("library", DRAWS)
def test_its_row_within_and_from_outside(living, source_file, library):
    need_library(library)
    one = living(env=source_file.env, options=["-W", "ignore"])
    assert rows(remote.inspect(one.pid))[library] == "not loaded"
    one(drawing(library) + "\ndraw()")
    level = one(f"""
import snapsafe_rt
answer = next(row.protection for row in snapsafe_rt.status().rows if row.name == {library!r})
""")
    assert level == rows(remote.inspect(one.pid))[library] == table.load(library).level
    one("snapsafe_rt.deactivate()")
    one("snapsafe_rt.activate()")
    assert rows(remote.inspect(one.pid))[library] == table.load(library).level


# How another library, or a version that nobody knows, would leave it: code, and a word of what is said then.
BROKEN = {
    "bson": ("import bson.objectid\nbson.objectid.ObjectId._ObjectId__random = None", "somewhere else"),
    "pymongo": ("pool.__class__.get_server_session = lambda *a: None", "replaced"),
    "nats": ("nats.nuid.NUID.next = lambda self: b''", "replaced"),
    "kombu": ("common.get_node_id = lambda: 1", "somewhere else"),
    "polars": ("polars.set_random_seed = print", "exchanged"),
    "opentelemetry": ("import opentelemetry.sdk.resources as r\ndel r._service_instance_id", "stays"),
    "sentry_sdk": ("import gc\ngc.freeze()", "hid"),
    "apsw": ("del apsw.SQLITE_FCNTL_VFS_POINTER", "address"),
    "uuid_utils": ("import sys\nsys.modules['uuid_utils._uuid_utils'].uuid4 = print", "replaced"),
    "ulid": (
        "k = getattr(ulid, 'ULIDGenerator', 0) or ulid.ValueProvider\nk.generate = k.randomness = print",
        "replaced",
    ),
    "bcrypt": ("import sys\nsys.modules['bcrypt._bcrypt'].gensalt = print", "replaced"),
    "numba": ("import numba._helperlib as h\nh.c_helpers['rnd_init'] = 1", "another library"),
    "ulid_transform": ("import sys\nsys.modules['ulid_transform._ulid_impl'].ulid_hex = print", "replaced"),
    "ddtrace": ("from snapsafe_rt.guards.ddtrace import _runtime\n_runtime()['_RUNTIME_ID'] = 5", "somewhere else"),
}


@pytest.mark.parametrize("library", DRAWS)
def test_a_broken_layout_is_said(run_python, source_file, library):
    need_library(library)
    code, word = BROKEN[library]
    text = f"""
import json, snapsafe_rt
{drawing(library)}
draw()
{code}
status = snapsafe_rt.status()
print(json.dumps(next([row.protection, row.note] for row in status.rows if row.name == {library!r})))
"""
    level, note = json.loads(run_python(text, env=source_file.env, **OPTIONS))
    assert level == "unprotected"
    assert word in note


@pytest.mark.parametrize("how", ["nothing in it", "the import fails half-way"])
@pytest.mark.parametrize("library", DRAWS)
def test_an_unknown_version_is_said_and_the_program_goes_on(run_python, source_file, tmp_path, library, how):
    """A package of that name in which nothing is where it was; and one that raises while it is imported."""
    broken = how != "nothing in it"
    trigger = table.load(library).triggers[0]
    *folders, name = trigger.split(".")
    folder = tmp_path
    for part in folders:
        folder = folder / part
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    (folder / f"{name}.py").write_text("raise ImportError('half-way')\n" if broken else "")
    text = f"""
import json, sys
sys.path.insert(0, {str(tmp_path)!r})
try:
    import {trigger}
except ImportError as error:
    assert str(error) == "half-way"
import snapsafe_rt
status = snapsafe_rt.status()
print(json.dumps(next([row.protection, row.note] for row in status.rows if row.name == {library!r})))
"""
    level, note = json.loads(run_python(text, env=source_file.env, **OPTIONS))
    assert level == ("not loaded" if broken else "unprotected"), note


# ---- what is kept, and what is not broken ----


def test_a_seed_that_the_program_chose_for_polars_is_kept(run_python, source_file):
    need_library("polars")
    text = """
import os
os.environ['POLARS_MAX_THREADS'] = '1'
import polars, snapsafe_rt
from snapsafe_rt.guards import table
rows = polars.Series(range(100000))
def drawn():
    return rows.sample(3).to_list()
def level():
    return next(row.protection for row in snapsafe_rt.status().rows if row.name == "polars")
assert level() == "refreshed"
polars.set_random_seed(5)
first = drawn(), drawn()
assert level() == "kept"
polars.set_random_seed(5)
again = drawn()
assert not table.refresh()
assert first == (again, drawn())
polars.set_random_seed(int.from_bytes(snapsafe_rt.entropy(8), "big"))
assert level() == "refreshed"
"""
    run_python(text, env=source_file.env, **OPTIONS)


def test_an_id_that_the_program_gave_opentelemetry_stays(run_python, source_file):
    need_library("opentelemetry")
    text = """
from opentelemetry.sdk.resources import Resource
from snapsafe_rt.guards import table
chosen, made = Resource.create({"service.instance.id": "mine"}), Resource.create()
before = made.attributes["service.instance.id"]
assert not table.refresh()
assert chosen.attributes["service.instance.id"] == "mine"
assert made.attributes["service.instance.id"] != before
assert len(made.attributes["service.instance.id"]) == len(before)
"""
    run_python(text, env=source_file.env, **OPTIONS)


def test_a_trace_that_came_from_outside_goes_on(run_python, source_file):
    need_library("sentry_sdk")
    text = """
import sentry_sdk
from snapsafe_rt.guards import table
sentry_sdk.init(dsn=None, traces_sample_rate=1.0)
trace = "0123456789abcdef" * 2
sentry_sdk.continue_trace({"sentry-trace": f"{trace}-{'7' * 16}-1"})
before = sentry_sdk.get_traceparent()
assert before.startswith(trace)
assert not table.refresh()
after = sentry_sdk.get_traceparent()
assert after.startswith(trace) and after != before
"""
    run_python(text, env=source_file.env, **OPTIONS)


def test_what_waits_for_celerys_replies_goes_on_waiting(run_python, source_file):
    """The backend of a result that was sent before the restore keeps its consumer and its queue."""
    need_library("kombu")
    text = """
import celery
from celery.result import AsyncResult
from snapsafe_rt.guards import table
app = celery.Celery("t", broker="memory://", backend="rpc://")
waiting = AsyncResult("x", app=app)
backend, queue = waiting.backend, waiting.backend.oid
assert not table.refresh()
assert waiting.backend is backend and backend.oid == queue
assert app.backend is not backend and app.backend.oid == app.thread_oid != queue
"""
    run_python(text, env=source_file.env, **OPTIONS)


def test_a_default_vfs_of_the_programs_own_is_said(run_python, source_file):
    need_library("apsw")
    text = """
import apsw, snapsafe_rt
class Own(apsw.VFS):
    def xRandomness(self, n):
        return bytes(n)
own = Own("own", "unix", makedefault=True)
asked = apsw.Connection(":memory:")
row = next(row for row in snapsafe_rt.status().rows if row.name == "apsw")
assert row.protection == "unprotected" and "own" in row.note, row.note
"""
    run_python(text, env=source_file.env, **OPTIONS)


def test_nothing_of_ours_uses_apsw_before_the_program_does(run_python, source_file):
    """It can still be configured, and its hooks are called for the program's connections alone."""
    need_library("apsw")
    text = """
import apsw, snapsafe_rt
made = []
apsw.connection_hooks.append(made.append)
apsw.shutdown()
assert snapsafe_rt.status()
apsw.config(apsw.SQLITE_CONFIG_URI, True)
asked = apsw.Connection(":memory:")
assert snapsafe_rt.status()
assert made == [asked]
"""
    run_python(text, env=source_file.env, **OPTIONS)


def test_the_programs_own_generator_is_left_alone_by_ddtrace(run_python, source_file):
    need_library("ddtrace")
    text = f"""
import random
{drawing("ddtrace")}
from drawing import source
random.seed(5)
first = random.random()
random.seed(5)
source.bump(1000)
draw()
assert random.random() == first
"""
    run_python(text, source_file.path, env=source_file.env | {"SNAPSAFE_WATCH": "0"}, **OPTIONS)


def test_who_is_told_of_a_new_runtime_id(run_python, source_file):
    need_library("ddtrace")
    text = """
from ddtrace.internal import runtime
from snapsafe_rt.guards import table
told = []
runtime.on_runtime_id_change(told.append)
before = runtime.get_runtime_id()
assert not table.refresh()
assert told == [runtime.get_runtime_id()] != [before]
"""
    run_python(text, env=source_file.env, **OPTIONS)


def test_what_the_caller_gives_stays_the_callers(run_python, source_file):
    """Node and clock sequence; and what stock raises for arguments is raised."""
    need_library("uuid_utils")
    text = """
import uuid_utils
from drawing import source
import pytest
source.bump(1000)
for make in uuid_utils.uuid1, uuid_utils.uuid6:
    assert make(5, 7).node == 5 and make(5, 7).clock_seq == 7
    assert make(node=5).node == make(5).node == make(5, None).node == 5
    assert make(clock_seq=7).clock_seq == make(None, 7).clock_seq == 7
    assert make().node == make(None, None).node == uuid_utils.getnode() != 5
    assert len({make().bytes for _ in range(10000)}) == 10000
    for wrong in (dict(other=1), dict(node="x")):
        with pytest.raises(TypeError):
            make(**wrong)
    with pytest.raises(TypeError):
        make(1, 2, 3)
"""
    run_python(text, source_file.path, env=source_file.env | {"SNAPSAFE_WATCH": "0"}, **OPTIONS)


@pytest.mark.parametrize(
    "library", ["uuid_utils", "ulid_transform", "ulid", "bcrypt", "numba", "ddtrace", "bson", "nats", "pymongo"]
)
def test_undo_is_exact(run_python, source_file, library):
    need_library(library)
    text = f"""
import snapsafe_rt
{drawing(library)}
from snapsafe_rt.core import native
from snapsafe_rt.guards import table
draw()
one = table.load({library!r})
sites = one.sites()
assert sites and one.in_place()
snapsafe_rt.deactivate()
assert draw()
assert not one.in_place()
snapsafe_rt.activate()
assert one.in_place()
assert draw() != draw() or {library!r} in ("bson", "pymongo")
"""
    run_python(text, env=source_file.env, **OPTIONS)
