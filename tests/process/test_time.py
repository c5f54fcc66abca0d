"""docs/time.md: what the clocks of a program do over a restore, and what it can do. The clocks are those of
tests/native/jump.c: what a program reads jumps; what the kernel waits for does not, so no wait is tested here."""

import pytest

from ..helpers import certificate
from ..helpers.jumping_clock import Clock
from ..helpers.running import EXAMPLES

pytestmark = pytest.mark.any_python


@pytest.fixture
def env(shm_path, source_file, compile_native):
    return source_file.env | Clock(shm_path / "clock", compile_native("jump.c")).env


def test_which_clock_shows_what(run_python, source_file, env):
    """The monotonic one and perf_counter() are the same; the wall clock is another."""
    script = """
    import time
    from jumping_clock import show
    def moved(**how):
        show()
        before = time.monotonic(), time.perf_counter(), time.time(), time.process_time()
        show(**how)
        after = time.monotonic(), time.perf_counter(), time.time(), time.process_time()
        return [round((b - a) / 3600) for a, b in zip(before, after)]
    print(moved(plus=3600), moved(wall=3600), moved(plus=3600, wall=3600))
    """
    assert run_python(script, env=env) == "[1, 1, 0, 0] [0, 0, 1, 0] [1, 1, 1, 0]\n"


TIMERS = """
    import asyncio, sys
    from jumping_clock import show
    from stage import bump
    if sys.argv[3] == "1":
        sys.path.insert(0, sys.argv[2])
        from timers import Every
        import snapsafe_rt
    else:
        class Every:
            def __init__(self, seconds, job):
                self.timer = asyncio.get_running_loop().call_later(seconds, job)
    async def main():
        fired = []
        every = [Every(seconds, lambda: fired.append(0)) for seconds in (600, 1200, 1800)]
        was = [one.timer.when() for one in every]
        show(**{sys.argv[4]: 7200})
        bump()
        if sys.argv[3] == "1" and sys.argv[4] == "wall":
            await snapsafe_rt.acheck()
        for _ in range(3):
            await asyncio.sleep(0)
        left = [one.timer.when() - asyncio.get_running_loop().time() for one in every]
        print(len(fired), sum(one.timer.when() != when for one, when in zip(every, was)), all(s <= 1800 for s in left))
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("ours", "clock", "expected"),
    [
        ("1", "plus", "0 3 True"),  # none fires, all begin anew
        ("1", "wall", "0 3 True"),
        ("0", "plus", "3 0 True"),  # all fire at once
        ("0", "wall", "0 0 True"),  # all have as long to go as before
    ],
    ids=["jumped", "stood still", "jumped-twin", "stood still-twin"],
)
def test_timers_of_asyncio(run_python, source_file, env, ours, clock, expected):
    assert run_python(TIMERS, source_file.path, EXAMPLES, ours, clock, env=env) == f"{expected}\n"


def test_timers_are_interrupted(start, source_file):
    program = start("timers.py", "--seconds", "0.3")
    assert program.line() == "restores: 0"
    source_file.bump()
    program.line(having="restores: 1")
    program.interrupt(130)


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    return certificate.make(tmp_path_factory.mktemp("certificate"), "DNS:test")


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0, "ok"), (-30, "certificate is not yet valid"), (30, "certificate has expired")],
    ids=["right", "behind", "ahead"],
)
def test_certificates_go_by_the_wall_clock(run_python, env, signed, days, expected):
    """A clock that is behind takes what was issued meanwhile for not yet valid."""
    script = """
    import ssl, sys
    from jumping_clock import show
    folder = sys.argv[1]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder + "/certificate", folder + "/key")
    client = ssl.create_default_context(cafile=folder + "/certificate")
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(a, b, server_hostname="test"), server.wrap_bio(b, a, server_side=True)
    show(wall=86400 * int(sys.argv[2]))
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                print(error.verify_message)
                sys.exit()
    print("ok")
    """
    said = run_python(script, signed, days, env=env)
    assert said.startswith(expected)  # OpenSSL 3.6 says more


KEPT = """
    import functools, sys, time
    import snapsafe_rt
    from jumping_clock import show
    from stage import bump
    asked = []
    def ask():  # an issuer, which knows the right time: a token for five minutes
        asked.append(0)
        return RIGHT() + 300
    hour = 0
    RIGHT = lambda: time.time() + hour
    if sys.argv[2] == "time":
        kept = [0]
        def token():
            if kept[0] < time.time(): kept[0] = ask()
            return kept[0]
    elif sys.argv[2] == "epoch":
        token = snapsafe_rt.per_generation(ask)
    else:
        token = functools.lru_cache(ask)
        snapsafe_rt.register_after_restore(token.cache_clear)
    token()
    hour = 3600  # which this machine's clock does not show
    bump()
    snapsafe_rt.check()
    valid = token() > RIGHT()
    print(len(asked), valid)
"""


@pytest.mark.parametrize(
    ("how", "expected"),
    [("epoch", "2 True"), ("cleared", "2 True"), ("time", "1 False")],
    ids=["per_generation", "cleared", "twin"],
)
def test_a_token_where_the_wall_clock_is_behind(run_python, source_file, env, how, expected):
    """By the time it looks valid, and its issuer refuses it."""
    assert run_python(KEPT, source_file.path, how, env=env) == f"{expected}\n"
