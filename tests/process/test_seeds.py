"""random: which seeds are nobody's choice, so that a restore renews what was made of them, and which are kept."""

import subprocess
import time

import pytest

from ..conftest import PROGRAMS
from ..helpers.random_scripts import HEAD

pytestmark = pytest.mark.internals

# A way to get an instance of the system's seed -> is it renewed by a restore?
RENEWED = {
    "global": "rng = random._inst",
    "own": "rng = random.Random()",
    "subclass": "rng = type('Sub', (random.Random,), {})()",
    "subclass with slots": "rng = type('Sub', (random.Random,), {'__slots__': ('x',)})()",
    "copy": "rng = copy.copy(random.Random())",
    "deepcopy": "rng = copy.deepcopy(random.Random())",
    "pickle": "rng = pickle.loads(pickle.dumps(random.Random()))",
    "seed(os.urandom)": "rng = random.Random(); rng.seed(os.urandom(64))",
    "Random(os.urandom)": "rng = random.Random(os.urandom(16))",
    "seed(int.from_bytes big)": "rng = random.Random(int.from_bytes(os.urandom(32), 'big'))",
    "seed(int.from_bytes little)": "rng = random.Random(int.from_bytes(os.urandom(32), 'little'))",
    "seed(SystemRandom)": "rng = random.Random(random.SystemRandom().getrandbits(128))",
    "seed(randbits(53))": "rng = random.Random(secrets.randbits(53))",
    "seed(randbits(63))": "rng = random.Random(secrets.randbits(63))",
    "seed(randbits(65))": "rng = random.Random(secrets.randbits(65))",
    "seed(randbits(127))": "rng = random.Random(secrets.randbits(127))",
    "seed(randbits(2497))": "rng = random.Random(secrets.randbits(2497))",
    "seed(token_hex)": "rng = random.Random(secrets.token_hex(16))",
    "seed(entropy)": "rng = random.Random(snapsafe_rt.entropy(16))",
    "seed(getrandom)": "rng = random.Random(os.getrandom(16))",
    "getstate, seed, setstate": "rng = random.Random(); s = rng.getstate(); rng.seed(1); rng.random(); rng.setstate(s)",
    "seed() after seed(1)": "rng = random.Random(1); rng.seed()",
    "seed(None) after seed(1)": "rng = random.Random(1); rng.seed(None)",
    **{f"seed(urandom({n}))": f"rng = random.Random(os.urandom({n}))" for n in range(2, 10)},
    **{
        f"int of urandom({n}), {order}": f"rng = random.Random(int.from_bytes(os.urandom({n}), '{order}'))"
        for n in range(2, 10)
        for order in ("big", "little")
    },
    **{
        f"seed({draw})": f"rng = random.Random({draw})"
        for draw in (
            "secrets.randbits(9)",
            "secrets.randbits(20)",
            "secrets.randbelow(10**6)",
            "random.SystemRandom().randrange(10**6)",
            "secrets.choice(range(10**4))",
            "hex(secrets.randbits(20))",
            "hex(secrets.randbits(63))",
            "str(secrets.randbits(20))",
            "str(secrets.randbits(256))",
            "secrets.token_urlsafe()",
            "secrets.token_urlsafe(5)",
            "__import__('base64').b64encode(os.urandom(16))",
        )
    },
    "seed(token_hex(4))": "rng = random.Random(secrets.token_hex(4))",
    "int(token_hex, 16)": "rng = random.Random(int(secrets.token_hex(16), 16))",
    "seed(randbits(31))": "rng = random.Random(secrets.randbits(31))",
    "SystemRandom().random()": "rng = random.Random(random.SystemRandom().random())",
    "RAND_bytes(16)": "import ssl; rng = random.Random(ssl.RAND_bytes(16))",
    "int of RAND_bytes(8)": "import ssl; rng = random.Random(int.from_bytes(ssl.RAND_bytes(8), 'big'))",
    **{
        f"uuid4().{part}": f"import uuid; rng = random.Random(uuid.uuid4().{part})"
        for part in (
            "int",
            "hex",
            "bytes",
            "urn",
            "__str__()",
            "hex.upper()",
            "time_low",
            "node",
            "hex[:8]",
        )
    },
    **{
        f"uuid4().int{part}": f"import uuid; rng = random.Random(uuid.uuid4().int{part})"
        for part in (" & 0xffffffff", " >> 64", " >> 96", " % 2**64")
    },
    **{
        f"unpack({layout})[{at}] of {size}": "import struct; "
        f"rng = random.Random(struct.unpack_from('{layout}', os.urandom({size}))[{at}] or 1)"
        for layout, at, size in (
            ("<I", 0, 4),
            (">I", 0, 4),
            ("<Q", 0, 8),
            ("<II", 1, 8),
            (">II", 1, 8),
            ("<HI", 1, 8),
        )
    },
    **{
        f"{draw}": f"rng = random.Random({draw})"
        for draw in (
            "os.urandom(32)[:16]",
            "os.urandom(8)[:4]",
            "int.from_bytes(os.urandom(8)[:6], 'big')",
            "int.from_bytes(os.urandom(64)[:20], 'big')",
            "secrets.token_hex().upper()",
            "secrets.token_hex(4).upper()",
            "'job-' + secrets.token_hex(8)",
            "hex(secrets.randbits(128))",
            "hex(secrets.randbits(64))",
            "str(int.from_bytes(os.urandom(16), 'big'))",
            "str(secrets.randbits(64))",
            "str(secrets.randbits(127))",
        )
    },
    **{
        f"{clock}": f"import time; rng = random.Random({clock})"
        for clock in (
            "time.time()",
            "int(time.time())",
            "int(time.time() * 1000)",
            "time.time() * 1000",
            "int(time.time() * 1e6)",
            "time.time_ns()",
            "time.monotonic()",
            "time.perf_counter_ns()",
            "str(time.time())",
            "str(time.time_ns())",
            "str(int(time.time())).encode()",
            "f'{time.time()}-{os.getpid()}'",
            "f'worker {os.getpid()} at {int(time.time() * 1000)}'",
            "__import__('datetime').datetime.now().isoformat()",
            "str(__import__('datetime').datetime.now(__import__('datetime').timezone.utc))",
        )
    },
    "the process's id as text": "os.getpid() < 100 and sys.exit(77); rng = random.Random(str(os.getpid()))",
    "the process's id": "os.getpid() < 100 and sys.exit(77); rng = random.Random(os.getpid())",
    "leading zero byte": "draws = iter(lambda: os.urandom(16), 0); "
    "rng = random.Random(int.from_bytes(next(draw for draw in draws if not draw[0]), 'big'))",
}
KEPT = {
    "Random(42)": "rng = random.Random(42)",
    "Random(0)": "rng = random.Random(0)",
    "Random(-1)": "rng = random.Random(-1)",
    "Random(True)": "rng = random.Random(True)",
    **{
        f"Random(1 << {bits})": f"[os.urandom(8) for _ in range(300)]; rng = random.Random(1 << {bits})"
        for bits in range(15, 80, 8)
    },
    "a date": "rng = random.Random(20240101)",
    "a moment that is over": "import time; rng = random.Random(int(time.time()) - 3600)",
    "Random(str)": "rng = random.Random('chosen')",
    "an old date as text": "rng = random.Random('2024-01-01 00:00:00')",
    "a number as text": "rng = random.Random('3405691582')",
    "digits among words": "rng = random.Random('run-42-of-2024.5: deadbeef, 0xcafebabe')",
    "a UUID that was chosen": "rng = random.Random('6ba7b810-9dad-11d1-80b4-00c04fd430c8')",
    "a long text": "rng = random.Random('chosen ' * 10_000)",
    "small after draws": "[os.urandom(16) for _ in range(50)]; rng = random.Random(1000)",
    "Random(bytes)": "rng = random.Random(b'chosen')",
    "Random(float)": "rng = random.Random(0.5)",
    "seed(1) on the global": "random.seed(1); rng = random._inst",
    "version 1": "rng = random.Random(); rng.seed('chosen', version=1)",
    "foreign state": "rng = random.Random(); rng.setstate(random.Random(42).getstate())",
    "copy": "rng = copy.copy(random.Random(42))",
    "pickle": "rng = pickle.loads(pickle.dumps(random.Random(42)))",
}


REPEATING = (
    HEAD
    + f"""
    repeating = []
    for name, make in {RENEWED!r}.items():
        names = dict(globals())
        try:
            exec(make, names)
        except SystemExit:  # this one cannot be tried here
            continue
        rng = names["rng"]
        rng.random()
        expected = stock(rng, lambda rng: rng.random())
        bump()
        if rng.random() == expected:
            repeating.append(name)
    print(repeating)
"""
)


def test_renewed(run_python, source_file):
    assert run_python(REPEATING, source_file.path, env=source_file.env) == "[]\n"


def test_renewed_repeats_without_us(run_python, source_file):
    """The twin: not activated, each draws what its template would have drawn."""
    repeating = eval(run_python(REPEATING, source_file.path, activated=False))
    assert len(RENEWED) - 2 <= len(repeating) <= len(RENEWED)  # a container's process may have no id above 99


def test_each_value_of_a_draw_is_recognised(run_python, source_file):
    """Also what begins or ends with zeros, of which a number tells nothing: one value among 256, or 65,536."""
    printed = run_python(PROGRAMS / "each_seed.py", source_file.path, env=source_file.env)
    assert printed.split("\n")[:3] == ["{}", "0 0", "0"]


def test_a_chosen_number_after_draws_is_kept(run_python, source_file):
    """But for one in 120 in a program whose last short draw had two bytes."""
    script = """
    def taken(size, seed, times=10_000):
        return sum(os.urandom(size) and snapsafe_rt.core.native.is_of_system(seed) for _ in range(times)) / times

    seeds = (0, 1, 42, 300, 1234, 65_535, -1, 20_240_101, *(1 << bits for bits in range(24, 140, 3)))
    print([(seed, size) for seed in seeds for size in (1, 5, 8, 16) if taken(size, seed) > 0.0005])
    print([seed for seed in seeds if taken(2, seed) > 0.02])
    """
    assert run_python(HEAD + script, source_file.path, env=source_file.env).split("\n")[:2] == ["[]", "[]"]


def test_what_a_clock_shows_soon_after_the_start_is_kept(run_python, source_file):
    """After four seconds it shows 3.14 and 2**31. Who reads the clock then is recognised."""
    before = ["unshare", "--time", "--fork", f"--monotonic=-{int(time.monotonic()) - 3}"]
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("no time namespace here")
    script = """
    import time
    assert 3 <= time.monotonic() < 30
    chosen = [0.1, 0.3, 2.718, 3.14, 2**31 - 1, 2**31, 1234567890, 3141592653, 2**32 - 1]
    for seed in chosen:
        age = time.monotonic() - (seed if seed < 1e6 else seed / 1e9)
        assert 0 <= age < 0.1 or not snapsafe_rt.core.native.is_of_system(seed), (seed, age)
    is_of_system = snapsafe_rt.core.native.is_of_system
    print(is_of_system(time.monotonic_ns()), is_of_system(time.monotonic()))
    """
    printed = run_python(HEAD + script, source_file.path, env=source_file.env, under=before)
    assert printed == "True True\n"


def test_a_short_part_of_a_longer_draw_is_kept(run_python, source_file):
    """A limit, on purpose: nothing of a draw that may be a key stays in our memory so that this could be told."""
    script = """
    rng = random.Random(os.urandom(16)[:4])
    expected = stock(rng, lambda rng: rng.random())
    bump()
    assert rng.random() == expected
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_kept_bit_for_bit(run_python, source_file):
    """The sequence of a chosen seed goes on through any number of restores, the pending gauss value included."""
    script = f"""
    def sequence(make, restored):
        names = dict(globals())
        exec(make, names)
        rng, drawn = names["rng"], []
        for number in range(12):
            if restored:
                bump()
            drawn += [rng.random(), rng.getrandbits(70), rng.gauss(0, 1), rng.randbytes(3), rng.getstate()]
        return drawn

    for number, (name, make) in enumerate({KEPT!r}.items(), 1):
        if sequence(make, False) != sequence(make, True):
            print(name)
        assert snapsafe_rt.epoch() == 12 * number
    print(number)
    """
    assert run_python(HEAD + script, source_file.path, env=source_file.env) == f"{len(KEPT)}\n"


def test_values_of_a_seed_are_stocks(run_python, source_file):
    """Activated, restored or neither: Random(42) is Random(42)."""
    script = """
    import random
    rng = random.Random(42)
    random.seed("x")
    print(rng.random(), rng.getrandbits(99), rng.gauss(1, 2), rng.gauss(1, 2), rng.sample(range(99), 5))
    print(random.random())
    """
    activated = run_python(script, env=source_file.env)
    assert activated == run_python(script, activated=False)
