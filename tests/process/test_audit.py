"""`snapsafe audit`: names where a program drew what every clone will have, never what; and breaks no program."""

import contextlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import textwrap

import pytest

from snapsafe_rt.report import audited

from ..conftest import PACKAGE, PROGRAMS
from ..helpers.running import SNAPSAFE_RUN

AUDIT = [*SNAPSAFE_RUN[:-1], "audit"]
ENV = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
BY_NOBODY = """
import os, sys
from snapsafe_rt.cli import audit, main
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
sys.exit(main.main(sys.argv[1:]))
"""
PROGRAM = PROGRAMS / "audited.py"


def marks():
    """(what, line) of the program's marks."""
    lines = PROGRAM.read_text().split("\n")
    return {(line.partition("  #: ")[2], number) for number, line in enumerate(lines, 1) if "  #: " in line}


class Audit:
    def __init__(self, done, report):
        self.code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        self.processes = json.loads(report.read_text())["processes"] if report.exists() else []

    @property
    def places(self):
        return [place for process in self.processes for place in process["places"]]


@pytest.fixture
def audit(tmp_path, source_file):
    def run(*command, options=(), **env):
        report = tmp_path / "report"
        with contextlib.suppress(FileNotFoundError):
            report.unlink()
        environment = {**os.environ, **source_file.env, "PYTHONPATH": str(PACKAGE.parent), **env}
        line = [*AUDIT, "--json", "--output", str(report), *options, "--", *map(str, command)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return Audit(done, report)

    def script(text, *, options=(), **env):
        return run(sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(text), options=options, **env)

    run.script = script
    return run


def test_each_place_is_named_and_no_value(audit, tmp_path, source_file):
    record = tmp_path / "record"
    environment = {**os.environ, **source_file.env, "SNAPSAFE_AUDIT": str(record)}
    kept = subprocess.run([*SNAPSAFE_RUN, sys.executable, PROGRAM], env=environment, capture_output=True, text=True)
    assert kept.returncode == 0, kept
    [file] = tmp_path.glob("record.*")
    assert file.stat().st_mode & 0o777 == 0o600
    found = audit(sys.executable, PROGRAM)
    assert (found.code, found.stderr) == (0, "")
    text = subprocess.run([*AUDIT, sys.executable, PROGRAM], env=environment, capture_output=True, text=True)
    assert "per_generation" in text.stderr, text
    # Where.
    here = [place for place in found.places if place["file"] == str(PROGRAM)]
    said = {("renewed" if place["renewed"] else place["what"], place["line"]) for place in here}
    if sys.version_info >= (3, 11):  # before, code does not tell of which class it is
        assert marks() <= said
    assert {line for _, line in marks()} == {line for _, line in said}
    assert all(place["times"] >= 1 and place["first"] <= place["last"] for place in here)
    assert {place["function"] for place in here if place["what"] == "os.urandom"} == {"draws"}
    # Never what: neither as it was printed, nor as bytes.
    for where, printed in (
        (json.dumps(found.processes).encode(), found.stdout),
        (text.stderr.encode(), text.stdout),
        (file.read_bytes(), kept.stdout),
    ):
        values = [word.encode() for word in printed.split("\n") if word]
        values += [bytes.fromhex(word) for word in printed.split("\n") if re.fullmatch("([0-9a-f]{2}){8,}", word)]
        assert len(values) > 20
        for value in values:
            assert value not in where, value


def test_twin_without_it_nothing_is_recorded(living, source_file):
    process = living(env=source_file.env)
    done = subprocess.run([*AUDIT, "--pid", str(process.pid)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"snapsafe audit: process {process.pid} records nothing: start it with SNAPSAFE_AUDIT=1, and activated\n"
    )


LIKE = """
import copy, inspect, os, pickle, random, ssl, sys, uuid
taken = random.random
import _random
facts = [
    taken is random.random, pickle.dumps(random.random)[:40] == pickle.dumps(taken)[:40], repr(_random.Random.seed),
    [str(inspect.signature(one)) for one in (uuid.uuid4, uuid.uuid1, os.urandom, random.Random.seed)],
    type(uuid.uuid4).__name__, uuid.uuid4.__code__.co_name, uuid.uuid4.__module__, isinstance(uuid.uuid4(), uuid.UUID),
    type(os.environ).__getitem__.__code__.co_varnames,
    os.environ.get("NOT_THERE"), "NOT_THERE" in os.environ, ssl.RAND_bytes.__doc__, random.Random.random.__objclass__,
    random.Random(4).random(), copy.copy(random.Random(4)).random(),
    pickle.loads(pickle.dumps(random.Random(4))).random(),
]
wrongs = [lambda: os.environ["NO"], lambda: os.urandom(-1), lambda: random.seed(1, 2, 3, 4), lambda: os.environ[3]]
for wrong in wrongs:
    try:
        wrong()
    except Exception as error:
        facts.append((type(error).__name__, str(error), error.__suppress_context__))
import snapsafe_rt
rows = [(row.name, row.protection) for row in snapsafe_rt.status().rows if row.protection != "not loaded"]
print(facts, [row for row in rows if row[0] in ("os", "random", "uuid", "openssl")])
"""


@pytest.mark.parametrize("where", ["1", "file"])
def test_a_program_sees_what_it_sees_without(run_python, source_file, tmp_path, where):
    plain = run_python(LIKE, env=source_file.env)
    assert "guarded" in plain
    where = str(tmp_path / "a") if where == "file" else where
    assert run_python(LIKE, env={**source_file.env, "SNAPSAFE_AUDIT": where}) == plain


def test_clones_still_differ_and_the_twin_repeats(run_python, source_file, tmp_path):
    script = """
    import random, uuid
    from drawing import distinct
    import os
    def draw(): return str((random.random(), random.gauss(0, 1), uuid.uuid1().clock_seq)).encode()
    print(distinct(draw, draw, 12))
    """
    # No thread: at the moment of a raw clone it might be waiting for the GIL, which the clone then waits for.
    env = {**source_file.env, "SNAPSAFE_AUDIT": str(tmp_path / "a"), "SNAPSAFE_WATCH": "0"}
    assert run_python(script, source_file.path, env=env).split() == ["12"]
    assert run_python(script, source_file.path, env={**env, "SNAPSAFE": "0"}).split() == ["1"]


def test_threads_are_counted_exactly(audit):
    found = audit.script("""
    import random, threading
    def work():
        for _ in range(2000):
            random.random()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads: one.start()
    for one in threads: one.join()
    """)
    assert [(place["what"], place["times"], place["function"]) for place in found.places] == [
        ("random.random", 16000, "work")
    ], found.stderr


def test_asyncio_and_generators(audit):
    found = audit.script("""
    import asyncio, uuid
    async def one():
        await asyncio.sleep(0)
        return uuid.uuid4()
    async def main():
        await asyncio.gather(*(one() for _ in range(20)))
    asyncio.run(main())
    """)
    [place] = [place for place in found.places if place["kind"] == "uuid"]
    assert (place["times"], place["function"]) == (20, "one")


def test_a_library_is_named_with_the_line_that_called_it(audit, tmp_path):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "thelib.py").write_text("import uuid\ndef make():\n    return uuid.uuid4()\n")
    program = tmp_path / "app.py"
    program.write_text(f"import sys\nsys.path.insert(0, {str(folder)!r})\nimport thelib\n\nID = thelib.make()\n")
    [place] = audit(sys.executable, program).places
    assert (place["file"], place["line"], place["function"]) == (str(folder / "thelib.py"), 3, "make")
    assert (place["caller_file"], place["caller_line"]) == (str(program), 5)


FORKS = """
import os, random, signal, sys
random.random()
kind = sys.argv[1]
for number in range(50):
    if kind == "python":
        pid = os.fork()
    else:
        import ctypes
        pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        for _ in range(number + 1):
            random.random()
        if number % 2:
            os._exit(0)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
random.random()
"""


@pytest.mark.parametrize("kind", ["python", "native"])
def test_each_child_has_counts_of_its_own_however_it_ends(audit, kind):
    found = audit(sys.executable, "-c", FORKS, kind)
    assert found.code == 0, found.stderr
    parent, *children = found.processes
    assert len(children) == 50
    # Alone what is asked here: importing ctypes may read the environment.
    drawn, *counts = [
        sum(place["times"] for place in one["places"] if place["kind"] == "random") for one in found.processes
    ]
    assert drawn == 2
    assert sorted(counts) == list(range(1, 51))
    assert all(one["parent"] == parent["pid"] and one["open"] is None for one in children)


def test_a_fork_bomb_of_processes_that_start_others(audit):
    found = audit.script("""
    import multiprocessing, os, random, subprocess, sys, uuid
    def work(number):
        return len(str(uuid.uuid4()))
    if __name__ == "__main__":
        with multiprocessing.get_context("fork").Pool(4) as pool:
            assert pool.map(work, range(40)) == [36] * 40
        subprocess.run([sys.executable, "-c", "import random; random.random()"], check=True)
        os.execv(sys.executable, [sys.executable, "-c", "import random; random.random()"])
    """)
    assert found.code == 0, found.stderr
    assert sum(place["times"] for place in found.places if place["what"] == "uuid.uuid4") == 40
    assert sum(place["times"] for place in found.places if place["what"] == "random.random") >= 2


def test_places_that_do_not_fit_are_said_and_fail(audit):
    found = audit.script(
        """
    import random
    for number in range(1100):
        exec(compile("\\n" * number + "random.random()", "many.py", "exec"))
    """,
        options=["--fail-on", "tls"],
    )
    [process] = found.processes
    assert (len(process["places"]), process["lost"]) == (1024, 76)
    assert found.code == 1
    assert "not recorded 76" in found.stderr


TLS = """
import ssl, socket, sys
def contexts():
    for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        made = ssl.SSLContext(side)
        made.check_hostname, made.verify_mode, made.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
        made.set_ciphers("aNULL:@SECLEVEL=0")
        yield made
def shake(ends):
    for _ in range(4):
        for one in ends:
            try:
                one.do_handshake()
            except ssl.SSLWantReadError:
                pass
a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
server, client = contexts()
ends = [server.wrap_bio(a, b, True), client.wrap_bio(b, a)]
shake(ends)
listener = socket.create_server(("127.0.0.1", 0))
out = socket.create_connection(listener.getsockname())
peer, _ = listener.accept()
file = open(sys.argv[1], "w")
if sys.argv[2] == "closed":
    del ends
    for one in (listener, out, peer, file): one.close()
"""


def test_tls_tcp_and_files_that_are_open_at_the_end(audit, tmp_path):
    kinds = ["--fail-on", "tls,tcp,files"]
    left = audit(sys.executable, "-c", TLS, tmp_path / "out", "open", options=kinds)
    assert left.code == 1
    [process] = left.processes
    told = process["open"]
    assert (told["tls"], len(told["tcp"]), told["files"]) == (2, 2, [str(tmp_path / "out")])
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", one) for one in told["tcp"])
    assert "--fail-on: tls 2, tcp 2, files 1" in left.stderr
    closed = audit(sys.executable, "-c", TLS, tmp_path / "out", "closed", options=kinds)
    assert (closed.code, closed.stderr) == (0, "")
    assert sum(place["times"] for place in closed.places if place["kind"] == "tls") == 2


@pytest.mark.parametrize("where", ["1", "file"])
def test_a_running_process_is_read_from_outside(living, source_file, tmp_path, where):
    setting = str(tmp_path / "a") if where == "file" else where
    process = living(env={**source_file.env, "SNAPSAFE_AUDIT": setting})
    process("import random; [random.random() for _ in range(7)]; answer = 0")

    def ask(*options, by=AUDIT):
        line = [*by, "--json", *options, "--pid", str(process.pid)]
        return subprocess.run(line, env=ENV, capture_output=True, text=True, timeout=60, check=False)

    told = json.loads(ask().stdout)["processes"][0]
    [place] = [place for place in told["places"] if place["kind"] == "random"]
    assert (place["what"], place["times"], told["when"]) == ("random.random", 7, "now")
    assert told["open"]["tls"] == 0
    os.kill(process.pid, signal.SIGSTOP)  # it hangs: the answer is the same
    try:
        assert json.loads(ask().stdout)["processes"][0]["places"] == told["places"]
        assert ask("--fail-on", "random").returncode == 1
        assert ask("--fail-on", "uuid").returncode == 0
    finally:
        os.kill(process.pid, signal.SIGCONT)
    if os.geteuid() == 0:
        refused = ask(by=[sys.executable, "-c", BY_NOBODY, "audit"])
        assert refused.returncode == 77
        assert "run this as root" in refused.stderr


def test_wrong_pids_and_programs(audit):
    def ask(*arguments):
        done = subprocess.run([*AUDIT, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr.strip().split("\n")[-1]

    ended = subprocess.Popen(["true"])
    ended.wait()
    assert ask("--pid", str(ended.pid)) == (
        1,
        f"snapsafe audit: there is no process {ended.pid}, or /proc hides it (hidepid)",
    )
    assert ask("--pid", "0")[0] == ask("--pid", "-3")[0] == 1
    assert ask("--pid", "none")[0] == ask()[0] == ask("--pid", "1", "true")[0] == ask("--fail-on", "x", "true")[0] == 2
    assert ask("/not/there") == (127, "snapsafe audit: /not/there: cannot be executed: No such file or directory")
    assert ask("/etc/passwd")[0] == 126
    assert ask("--output", "/not/there/x", sys.executable, "-c", "pass")[0] == 1
    # A clean audit is not what no audit is.
    code, line = ask("--fail-on", "random", "--", sys.executable, "-I", "-c", "import random; random.random()")
    assert (code, line) == (1, "snapsafe audit: nothing was recorded: no Python that is activated has run")


def test_the_exit_code_is_the_programs(audit):
    assert audit.script("raise SystemExit(7)", options=["--fail-on", "random"]).code == 7
    assert audit.script("import random; random.random()", options=["--fail-on", "random"]).code == 1
    assert audit.script("import random; random.random()", options=["--fail-on", "uuid,tls"]).code == 0
    assert audit.script("import os; os.kill(os.getpid(), 15)").code == 128 + 15
    assert audit.script("import os, uuid; uuid.uuid4(); os._exit(3)").code == 3
    assert audit("true").code == 0


def test_closed_output_and_a_sigterm_that_is_passed_on(source_file):
    env = {**os.environ, **source_file.env}
    done = subprocess.run(
        ["sh", "-c", '"$@" >&- 2>&-', "sh", *AUDIT, sys.executable, "-c", "import random; random.random()"],
        env=env,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    # Blocked, and waited for: it may come before the program waits.
    program = (
        "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); print(1, flush=True); "
        "sys.exit(signal.sigwait({15}) // 3)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([*AUDIT, sys.executable, "-c", program], env=env, stdout=pipe, stderr=pipe) as one:
        assert one.stdout.readline() == b"1\n"
        one.terminate()
        one.communicate(timeout=60)
    assert one.returncode == 5


def test_beside_run_and_undone_by_deactivate(audit):
    script = """
    import random, snapsafe_rt
    random.random()
    snapsafe_rt.deactivate()
    random.random()
    snapsafe_rt.activate()
    random.random()
    """
    found = audit(*SNAPSAFE_RUN, "--", sys.executable, "-c", textwrap.dedent(script))
    drawn = [(place["line"], place["times"]) for place in found.places if place["kind"] == "random"]
    assert drawn == [(3, 1), (7, 1)], found.stderr


@pytest.mark.parametrize(("setting", "word"), [("here", "absolute path"), ("/not/there/x", "nothing is recorded")])
def test_a_setting_that_cannot_be_followed_is_told_and_breaks_nothing(run_python, source_file, setting, word):
    script = "import random, snapsafe_rt; random.random(); print(snapsafe_rt.status().problems)"
    assert word in run_python(script, env={**source_file.env, "SNAPSAFE_AUDIT": setting})


def test_what_is_open_when_it_stands_still_for_a_snapshot(lab, tmp_path):
    # The test's manager is another than the one that an audit has chosen by then.
    again = "from snapsafe_rt.snapshot import lifecycle as room; room.program.announcer = None; pair('a'); locked()"
    one = lab.program(again, env={"SNAPSAFE_AUDIT": str(tmp_path / "a")})
    one("import random; random.random(); kept = open('/dev/shm/snapsafe-audit-test', 'w'); answer = 0")
    lab.quiesce()
    [record] = audited.of_files(str(tmp_path / "a"))
    assert record.note["when"] == "quiesce"
    assert record.note["quiesce"]["open"]["files"] == ["/dev/shm/snapsafe-audit-test"]
    one("kept.close(); import os; os.unlink(kept.name); answer = 0")
    lab.call("Unquiesce")


def test_a_record_that_lies_is_refused_or_bounded(tmp_path, run_python, source_file):
    run_python("import random; random.random()", env={**source_file.env, "SNAPSAFE_AUDIT": str(tmp_path / "a")})
    [file] = tmp_path.glob("a.*")
    good = file.read_bytes()
    assert len(audited.parse(good).places) == 1
    dice = random.Random(1)
    for _ in range(500):
        bad = bytearray(good[: 65536 + 1024])
        for _ in range(dice.randrange(1, 8)):
            at = dice.choice([range(80), range(256, 700), range(65536, 66560)])
            bad[dice.choice(at)] = dice.randrange(256)
        with contextlib.suppress(ValueError):
            record = audited.parse(bytes(bad))
            assert len(record.places) <= 4096
            texts = [text for place in record.places for text in (place.what, place.file, place.function)]
            assert all(text.isprintable() for text in texts)
    for length in (0, 7, 79, 300, 65536, 65540):
        with pytest.raises(ValueError, match="record"):
            audited.parse(good[:length])
    with pytest.raises(ValueError, match="record"):
        audited.parse(good[:8] + struct.pack("<I", 9) + good[12:])


@pytest.mark.parametrize(
    "line",
    [
        ["-cimport random; SECRETWORD = random.random()"],
        ["-uc", "import random; SECRETWORD = random.random()"],
        ["-Xdev", "-W", "error", "-c", "import random; SECRETWORD = random.random()", "SECRETWORD"],
        ["-", "SECRETWORD"],
        ["-mthemodule", "SECRETWORD"],
        ["-Bm", "themodule", "SECRETWORD"],
    ],
)
def test_no_argument_is_recorded_and_nothing_of_the_stack(tmp_path, source_file, line):
    (tmp_path / "themodule.py").write_text("import os, random\nrandom.random(), os.urandom(9)")
    subprocess.run(
        [*SNAPSAFE_RUN, sys.executable, *line],
        env={**os.environ, **source_file.env, "SNAPSAFE_AUDIT": str(tmp_path / "a")},
        cwd=tmp_path,
        input=b"import random; random.random()",
        check=True,
        timeout=60,
    )
    [file] = tmp_path.glob("a.*")
    data = file.read_bytes()
    record = audited.parse(data)
    assert record.places
    assert b"SECRETWORD" not in data
    assert record.program.split(" ", 1)[1] in ("-c", "-", "-m themodule")
    for at in range(65536, len(data), 512):
        assert not data[at + 40 : at + 512].partition(b"\0")[2].strip(b"\0")


@pytest.mark.parametrize(
    "limit",
    [
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
        "resource.setrlimit(resource.RLIMIT_AS, (1, 1))",
    ],
)
def test_a_child_that_cannot_make_its_record_lives_and_is_told(audit, limit):
    found = audit.script(
        f"""
    import os, random, resource, signal
    pid = os.fork()
    if pid == 0:
        {limit}
        random.random()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    """,
        options=["--fail-on", "uuid"],
    )
    assert found.code == 1
    assert "--fail-on: not recorded" in found.stderr


IMPLICIT = TLS.replace("one.do_handshake()", "one.write(b'x'), one.read(1)").partition("listener =")[0]


def test_a_handshake_that_nobody_asked_for(audit):
    found = audit(sys.executable, "-c", IMPLICIT, options=["--fail-on", "tls"])
    shaken = [(place["times"], place["open"]) for place in found.places if place["kind"] == "tls"]
    assert shaken == [(2, 2)], found.stderr
    assert "--fail-on: tls 2" in found.stderr


def test_who_cannot_look_does_not_say_that_nothing_is_open(audit):
    found = audit.script(
        """
    import json, os, resource
    import snapsafe_rt.report.audited
    kept = open(os.devnull)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    """,
        options=["--fail-on", "files"],
    )
    assert (found.code, found.processes[0]["open"]) == (1, None), found.stderr


def test_methods_of_a_system_random_are_secrets_and_bytes_are_names(audit):
    kinds = ["--fail-on", "secrets"]
    found = audit.script("import os, secrets; secrets.choice('ab'); os.environb[b'PATH']", options=kinds)
    assert {"random.SystemRandom.choice", "PATH"} <= {place["what"] for place in found.places}
    assert found.code == 1
    assert audit.script("import random; random.choice('ab')", options=kinds).code == 0


FORGED = r"""
import mmap, os, struct, sys
file = os.memfd_create("snapsafe-audit")
os.ftruncate(file, 65536 + 1024)
memory = mmap.mmap(file, 0)
note = sys.argv[1].encode()
numbers = 1, 65536, 512, 1024, 2, 0, 1 << 63, os.getpid(), 1, -1 << 63, len(note), 0
head = struct.pack("<8s6IQ2Qq2Q", b"SNAPAUDT", *numbers)
memory[: len(head)] = head
memory[0x50:0x58] = b"\x1b[2Jevil"
memory[256 : 256 + len(note)] = note
place = b"\x1b[2J\tfile\t\xc2\xb2\tname"
memory[65536:66048] = struct.pack("<Q3q2I472s", (1 << 64) - 1, -1 << 63, (1 << 63) - 1, (1 << 63) - 1, 0, 0, place)
print(flush=True)
sys.stdin.read()
"""
NOTES = [
    '{"open": {"generators": {"random": "\\u001b[2J", "kept": 1}, "stacks": ["\\u001b[2J\\ud800"]}}',
    '{"open": {"generators": {"random": NaN, "kept": 1e999}}}',
    '{"open": {"stacks": [' + "[" * 950 + "]" * 950 + "]}}",
    '{"open": {"generators": {"random": ' + "[" * 950 + "]" * 950 + "}}}",
    '{"quiesce": {"open": {"tcp": "abc", "files": {"a": 1}, "threads": [1, null, "a"]}}, "when": []}',
]


@pytest.mark.parametrize("note", NOTES)
def test_another_process_lies_and_no_terminal_suffers(note):
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", FORGED, note], stdin=pipe, stdout=pipe) as liar:
        liar.stdout.readline()
        for option in ([], ["--json"]):
            line = [*AUDIT, *option, "--pid", str(liar.pid)]
            done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert "\x1b" not in done.stdout
            assert "NaN" not in done.stdout
        assert json.loads(done.stdout)["processes"][0]["open"]["generators"] is None
        liar.communicate()
