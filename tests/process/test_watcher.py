"""The watcher's threads: what they cost, what they leave alone, what takes their means away, and how they end."""

import os
import sys

import pytest

pytestmark = pytest.mark.internals

STAGE = """
    import os, signal, struct, subprocess, sys, threading, time
    import snapsafe_rt
    from restored import at_rest, children_end, descriptors, in_child, read, restore, settle, switches, threads, until
    from snapsafe_rt.core import native
    from stage import bump
    path, register, calls = sys.argv[1], snapsafe_rt.register_after_restore, []
    watching = lambda: snapsafe_rt.status().watching
    def asleep(how=None):
        assert until(lambda: watching()["how"] == how if how else watching()["how"] != "starting"), watching()
    with open(path if os.path.isfile(path) else os.devnull, "rb") as file: LAYOUT = file.read()
"""
IDLE_SECONDS = float(os.environ.get("SNAPSAFE_TEST_IDLE_SECONDS", "2"))  # CI: 60


@pytest.fixture
def run(run_python, source_file):
    def run(script, *arguments, env=None, **options):
        return run_python(STAGE + script, source_file.path, *arguments, env=source_file.env | (env or {}), **options)

    return run


def test_no_wakeup_while_nothing_happens(run, clock):
    run(
        f"""
    import moving_clock
    register(calls.append, 1)
    assert restore() == []
    asleep("inotify")
    def seen(): return native.inspect_watcher().wakeups, switches()
    before = at_rest(seen)
    assert moving_clock.waits() == 0  # nobody waits for a time
    moving_clock.move(3600)
    time.sleep({IDLE_SECONDS})  # for real as well: what wakes a thread past the calls that the seam knows
    assert seen() == before, (before, seen())
    assert len(before[1]) == 2, before
    assert restore() == [] and until(lambda: native.inspect_watcher().wakeups > before[0]), before  # it can count
    """,
        env=clock,
        timeout=60 + IDLE_SECONDS,
    )


def test_signals_that_main_waits_for_stay_mains(run):
    """Under sigwait(3) the kernel counts them as not blocked; between two of them they are."""
    run("""
    waited = {signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    go = threading.Event()
    @register
    def callback():
        calls.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        os.kill(os.getpid(), signal.SIGHUP)
        go.wait(20)
    def child():
        assert until(lambda: read(f"/proc/{os.getppid()}/syscall").split()[0] in ("128", "137"))
        bump()
    pid = in_child(child)
    assert signal.sigwait(waited) == signal.SIGHUP
    assert waited <= calls[0] and signal.SIGUSR1 not in calls[0], calls
    os.kill(os.getpid(), signal.SIGTERM)  # nobody waits: it must stay pending
    assert signal.SIGTERM in signal.sigpending()
    assert signal.sigwait(waited) == signal.SIGTERM
    go.set()
    assert children_end([pid]) == [0]
    """)


def test_callbacks_and_their_children_have_mains_mask(run):
    run("""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    @register
    def callback():
        calls.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        status = subprocess.run(["cat", "/proc/self/status"], stdout=subprocess.PIPE, check=True).stdout.decode()
        calls.append([line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")])
    assert restore() == []
    assert calls == [{signal.SIGUSR2}, [f"{1 << signal.SIGUSR2 - 1:016x}"]], calls
    """)


def test_what_is_no_callback_has_every_signal_blocked(run):
    """Main may block one and wait for it at any time: what the runner does for itself must not take it then."""
    run("""
    named, called = [], []
    class Callback:
        def __getattr__(self, name):  # the runner asks for how it is named, once or more
            named.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            raise AttributeError(name)
        def __call__(self):
            called.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    register(Callback())
    named.clear()
    bump()
    assert until(lambda: called), named
    assert named and all({signal.SIGTERM, signal.SIGUSR1} <= mask for mask in named), named
    assert called == [set()], called
    """)


def test_signals_of_a_runner_that_was_told_to_end(run):
    """A fork in another thread lets it finish its event, and starts another one meanwhile."""
    run(
        """
    begun, forked, named, called = threading.Event(), threading.Event(), [], []
    @register
    def first():
        begun.set()
        assert forked.wait(20)
    class Second:
        def __getattr__(self, name):
            named.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            raise AttributeError(name)
        def __call__(self):
            called.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    register(Second())
    def runners():
        names = [open(f"/proc/self/task/{tid}/comm").read() for tid in os.listdir("/proc/self/task")]
        return names.count("snapsafe-event\\n")
    bump()
    assert begun.wait(20)
    named.clear()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert until(lambda: runners() == 2)
    forked.set()
    assert until(lambda: called)
    assert named and all({signal.SIGTERM, signal.SIGUSR1} <= mask for mask in named), named
    assert called == [set()], called
    """,
        options=("-W", "ignore:This process:DeprecationWarning"),
    )


def test_handlers_of_the_program_run_while_the_event_does(run):
    run("""
    signal.signal(signal.SIGUSR1, lambda *_: calls.append(threading.current_thread() is threading.main_thread()))
    @register
    def callback():
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.001)
    assert restore() == []
    assert calls and all(calls), calls
    """)


def test_others_that_write_to_devices_wake_nobody(run):
    """Without a source the folders are watched in which one may appear."""
    run(
        """
    register(calls.append, 1)
    asleep()
    before = at_rest(lambda: native.inspect_watcher().wakeups)
    for _ in range(1000):
        open("/dev/null", "w").close()
    assert at_rest(lambda: native.inspect_watcher().wakeups) - before < 5
    """,
        env={"SNAPSAFE_SOURCES": "vmclock:/dev/snapsafe-none"},
    )


def test_a_program_that_closes_and_reuses_every_descriptor(run):
    run("""
    register(calls.append, 1)
    asleep("inotify")
    os.closerange(3, 4096)
    assert restore() == [] and len(calls) == 1
    reader, writer = os.pipe()
    for fd in range(3, 200):
        if fd not in (reader, writer):
            os.dup2(writer, fd)
    os.set_blocking(reader, False)
    for i in range(2, 12):
        assert restore() == [] and len(calls) == i
    os.utime(path)
    assert snapsafe_rt.unregister(calls.append)
    assert all(os.fstat(fd).st_ino == os.fstat(writer).st_ino for fd in range(3, 200))  # none was closed
    try: assert not os.read(reader, 1)  # and nothing was written
    except BlockingIOError: pass
    """)


def test_a_descriptor_limit_of_zero(run, clock):
    """poll(2) refuses more entries than that for ever. Also the twin of the clock: a watcher that waits for a time is
    seen to, and wakes when that is moved."""
    script = """
    import moving_clock, resource
    register(calls.append, 1)
    asleep("inotify")
    fd = os.open(path, os.O_WRONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    for i in range(1, 4):
        os.pwrite(fd, struct.pack("<Q", 1000 + i), 0x68)
        assert settle() == [] and len(calls) == i
    begin = native.inspect_watcher().wakeups
    for tick in range(1, 21):  # it looks once in a second, and else waits
        assert until(lambda: moving_clock.waits() == 1)
        moving_clock.move(1)
        assert until(lambda: native.inspect_watcher().wakeups >= begin + tick)
    assert native.inspect_watcher().wakeups - begin < 60, native.inspect_watcher().wakeups - begin
    """
    run(script, env=clock)


def test_a_truncated_source_is_lost_and_kills_nobody(run):
    run("""
    @register
    def callback(): calls.append(snapsafe_rt.cause())
    asleep("inotify")
    os.truncate(path, 0)
    assert until(lambda: calls and native.epoch() == snapsafe_rt.restore.events.delivery.delivered), calls
    assert set(calls) == {"source"} and snapsafe_rt.status().source is None
    """)


def test_a_path_below_a_file_costs_nothing(run, clock):
    run(
        """
    import moving_clock
    register(calls.append, 1)
    asleep()
    begin = at_rest(lambda: native.inspect_watcher().wakeups)
    assert moving_clock.waits() == 0
    moving_clock.move(3600)
    assert at_rest(lambda: native.inspect_watcher().wakeups) == begin
    """,
        env=clock | {"SNAPSAFE_SOURCES": "vmclock:/etc/passwd/vmclock0,vmclock:/dev/null/x"},
    )


@pytest.mark.parametrize(
    "change",
    [
        "write(path + '.new'); os.rename(path + '.new', path)",
        "os.unlink(path); assert seen(); write(path)",
        "os.rename(path, path + '.old'); assert seen(); write(path)",
        "os.rename(folder, folder + '.old'); os.mkdir(folder); write(path)",
        "os.unlink(path); os.rmdir(folder); assert seen(); os.mkdir(folder); write(path)",
    ],
)
def test_a_source_that_is_replaced(run_python, source_file, shm_path, change):
    """Each is noticed by the watcher alone, and the new file is watched from then on."""
    folder = shm_path / "run"
    folder.mkdir()
    path = folder / "vmclock0"
    path.write_bytes(source_file.path.read_bytes())
    run_python(
        STAGE
        + f"""
    folder = os.path.dirname(path)
    def write(at):
        with open(at, "wb") as file:
            file.write(LAYOUT)
    def seen(): return until(lambda: snapsafe_rt.state.state.watched.gone) and not calls
    register(lambda: calls.append(snapsafe_rt.cause()))
    asleep("inotify")
    {change}
    inode = os.stat(path).st_ino
    assert until(lambda: getattr(snapsafe_rt.state.state.watched, "identity", (0, 0))[1] == inode)
    assert settle() == [] and calls and set(calls) == {{"source"}}, calls
    asleep("inotify")
    assert restore() == [] and calls[-1] == "generation", calls
    os.unlink(path)
    snapsafe_rt.deactivate()
    assert until(lambda: len(threads()) == 1)
    assert snapsafe_rt.status().source is None
    """,
        path,
        env={"SNAPSAFE_SOURCES": f"vmclock:{path}"},
    )


def test_a_source_that_appears_late_in_a_folder_that_appears_late(run_python, source_file, shm_path):
    path = shm_path / "a" / "b" / "vmclock0"
    run_python(
        STAGE
        + """
    register(lambda: calls.append(snapsafe_rt.cause()))
    asleep("inotify")
    assert snapsafe_rt.status().source is None
    os.makedirs(os.path.dirname(path))
    with open(sys.argv[2], "rb") as file: page = file.read()
    with open(path, "wb") as file: file.write(page)
    assert until(lambda: calls == ["source"]), calls
    asleep("inotify")
    assert restore() == [] and calls == ["source", "generation"]
    """,
        path,
        source_file.path,
        env={"SNAPSAFE_SOURCES": f"vmclock:{path}"},
    )


def test_a_kernel_that_refuses_close_range(run):
    """The threads share the program's table then, and open nothing in it."""
    run("""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    # linux/filter.h, linux/seccomp.h: if the call is close_range (436), fail with EPERM; else allow.
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 436), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in code))
    class Program(ctypes.Structure): _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, 2, ctypes.byref(Program(len(code), ctypes.addressof(program)))) != 0:  # PR_SET_SECCOMP
        print("no seccomp filters here"); sys.exit(77)
    before = descriptors()
    register(calls.append, 1)
    asleep("timer")
    assert watching()["reason"] == os.strerror(1), watching()
    assert until(lambda: descriptors() == before), descriptors()
    begin = time.monotonic()
    for i in range(1, 3):
        assert restore() == [] and len(calls) == i
    assert time.monotonic() - begin < 15
    assert until(lambda: descriptors() == before), descriptors()
    os.utime(path)
    snapsafe_rt.unregister(calls.append)
    """)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_without_an_inotify_to_be_had_there_is_a_timer_and_later_an_inotify(run):
    run("""
    import ctypes
    libc = ctypes.CDLL(None)
    reader, writer = os.pipe()
    def bumps():
        os.close(writer)
        while os.read(reader, 1): bump()
    pid = in_child(bumps)
    os.close(reader)
    watching()  # imports what that takes, for the package may not be readable by others
    user = 100000 + os.getpid()  # whom nobody else is: the limit is a user's
    os.setgid(user), os.setuid(user)
    taken = []
    while (fd := libc.inotify_init1(0)) >= 0: taken.append(fd)
    register(calls.append, 1)
    asleep("timer")
    assert watching()["reason"] == os.strerror(24), watching()
    for i in range(1, 3):
        begin = time.monotonic()
        os.write(writer, b"x")
        assert until(lambda: len(calls) == i) and time.monotonic() - begin < 15
    for fd in taken: os.close(fd)
    asleep("inotify")
    os.write(writer, b"x")
    assert until(lambda: len(calls) == 3)
    os.close(writer)
    try: children_end([pid])
    except PermissionError: pass
    """)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
@pytest.mark.xdist_group("heavy")
def test_500_processes_of_one_user_wake(run):
    run(
        """
    done = threading.Event()
    register(done.set)
    go_reader, go = os.pipe()
    ready_reader, ready = os.pipe()
    bumper = os.fork()
    if bumper == 0:
        os.close(go)
        os.read(go_reader, 1)
        bump()
        os._exit(0)
    user = 100000 + os.getpid()
    os.setgid(user), os.setuid(user)
    pids = []
    for _ in range(500):
        pid = os.fork()
        if pid == 0:
            os.write(ready, b"x")
            os._exit(0 if done.wait(100) else 1)
        pids.append(pid)
    got = 0
    while got < 500: got += len(os.read(ready_reader, 500))
    begin = time.monotonic()
    os.write(go, b"x")
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    assert statuses == [0] * 500, sum(map(bool, statuses))
    assert time.monotonic() - begin < 60
    """,
        timeout=120,
        dev=False,
    )


@pytest.mark.parametrize("how", ["sys.exit(3)", "os._exit(3)", "raise SystemExit(3)"])
@pytest.mark.parametrize(
    "callback", ["time.sleep(3600)", "[None for _ in iter(int, 1)]", "threading.Lock().__enter__()"]
)
def test_exit_while_a_callback_hangs(run, how, callback):
    said = run(
        f"""
    inside = threading.Event()
    @register
    def hangs():
        inside.set()
        {callback}
    bump()
    assert inside.wait(20)
    print(time.monotonic(), flush=True)
    {how}
    """,
        status=3,
        timeout=30,
    )
    import time

    assert time.monotonic() - float(said) < 20


def test_exit_while_restores_storm(run):
    run(
        """
    script = '''
    import os, sys, threading, snapsafe_rt
    from stage import bump
    done = threading.Event()
    def callback(): done.set()
    snapsafe_rt.register_after_restore(callback)
    def rewrite():
        while True: bump()
    threading.Thread(target=rewrite, daemon=True).start()
    done.wait()
    sys.exit(3)
    '''
    environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
    for _ in range(int(os.environ.get("EXITS", 30))):
        done = subprocess.run([sys.executable, "-c", script, path], env=environment, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == 3 and not done.stderr, done
    """,
        env={"EXITS": os.environ.get("SNAPSAFE_TEST_EXITS", "30")},  # CI: 200
        timeout=300,
    )


def test_nothing_starts_again_at_exit(run):
    """Handlers that were registered before ours run after it."""
    assert (
        run("""
    import atexit
    def late():
        snapsafe_rt.register_after_restore(calls.append, 2)
        snapsafe_rt.source.probe.probe(now=True)
        bump()
        snapsafe_rt.check()
        assert until(lambda: len(threads()) == 1), threads()
        print(calls, len(threads()), watching()["how"], flush=True)
    atexit.register(late)
    register(calls.append, 1)
    """).strip()
        == "[1, 2] 1 off"
    )


def test_legacy_subinterpreters_run_their_callbacks_in_check(run):
    run("""
    try: import _xxsubinterpreters as interpreters
    except ImportError: import _interpreters as interpreters
    try: interpreter = interpreters.create(isolated=False)
    except TypeError: interpreter = interpreters.create("legacy")
    register(calls.append, 1)
    assert restore() == []
    def inside(script):
        error = interpreters.run_string(interpreter, script)
        assert error is None, error
    inside(f'''
    import sys
    sys.argv = ["", {path!r}]
    import snapsafe_rt
    calls = []
    snapsafe_rt.activate()
    snapsafe_rt.register_after_restore(calls.append, 1)
    assert snapsafe_rt.check() == 1 and calls == [], calls
    said = snapsafe_rt.status().watching
    assert said["reason"] == "only the main interpreter has a watcher", said
    ''')
    assert restore() == [] and len(calls) == 2
    inside('''
    assert calls == []
    assert snapsafe_rt.check() == 2 and calls == [1], calls
    assert snapsafe_rt.check() == 2 and calls == [1], calls
    ''')
    assert restore() == [] and len(calls) == 3
    interpreters.destroy(interpreter)
    assert restore() == [] and len(calls) == 4
    """)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="concurrent.interpreters came with 3.14")
def test_isolated_interpreters_say_that_they_have_no_event(run):
    run("""
    from concurrent import interpreters
    script = '''
    import snapsafe_rt
    snapsafe_rt.register_after_restore(print, "never")
    assert snapsafe_rt.check() == 0
    status = snapsafe_rt.status()
    assert not status.protected and not status.active and status.why_not, status
    '''
    register(calls.append, 1)
    interpreter = interpreters.create()
    for _ in range(3):
        interpreter.exec(script)
        assert restore() == []
    assert len(calls) == 3
    interpreter.close()
    """)
