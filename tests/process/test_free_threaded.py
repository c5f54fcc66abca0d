"""Threads that use one object at once. The tests run on every build; without a GIL they run at the same time."""

import pytest

pytestmark = pytest.mark.internals

HEAD = """
    import random, sys, sysconfig, threading, uuid
    import snapsafe_rt
    from stage import bump

    def at_once(*works):
        barrier, errors = threading.Barrier(len(works)), []
        def body(work):
            barrier.wait()
            try:
                work()
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=body, args=(work,)) for work in works]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not errors, errors
"""


@pytest.fixture
def run(run_python, source_file):
    def run(script, **options):
        return run_python(HEAD + script, source_file.path, env=source_file.env, timeout=100, **options)

    return run


def test_the_gil_stays_off(run):
    run("""
    import ssl, sqlite3
    bump()
    assert random.random() != random.random() and uuid.uuid4() != uuid.uuid4()
    assert snapsafe_rt.status().protected, snapsafe_rt.status()
    built_without = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert built_without is not getattr(sys, "_is_gil_enabled", lambda: True)()
    """)


def test_what_the_status_page_says_is_replaced_while_others_read_it(run):
    """A reader holds what it was given, also where that has just been replaced."""
    run("""
    from snapsafe_rt.core import native
    over = threading.Event()
    def put():
        for number in range(3000):
            native.page_put({"snapshot": [(str(number),)]})
        over.set()
    def read():
        while not over.is_set():
            [(number,)] = native.page_lines("snapshot") or [("0",)]
            assert number.isdecimal()
    at_once(put, read, read)
    """)


@pytest.mark.parametrize("chooses", ["seed(42)", "setstate(chosen)"])
def test_what_counts_as_chosen_is_what_was_chosen(run, chooses):
    """A seed that was chosen, and one that was not, at once: whichever was last decides what a restore does."""
    kept, renewed = map(
        int,
        run(f"""
    fixed = random.Random(42).getstate()
    kept = renewed = 0
    for _ in range(400):
        rng = random.Random(1)
        rng.seed(42)
        chosen = rng.getstate()
        works = [lambda: rng.{chooses}, rng.seed] * 2
        at_once(*works)
        state = rng.getstate()
        bump()
        if state == fixed:
            kept += rng.getstate() == state
        else:
            assert rng.getstate() != state
            renewed += 1
    print(kept, renewed)
    """).split(),
    )
    assert kept + renewed == 400


def test_a_chosen_seed_outlasts_a_renewal_by_another_thread(run):
    """The other one finds the instance stale, and may be about to renew it."""
    run("""
    expected = random.Random(42).getstate()
    for _ in range(400):
        rng = random.Random()
        bump()
        at_once(lambda: rng.seed(42), rng.getstate, rng.getstate)
        assert rng.getstate() == expected
    """)


def test_a_state_is_known_while_others_draw(run):
    """getstate() and setstate() of the system's state, which is nobody's choice: it is renewed wherever it went."""
    run("""
    for _ in range(20):
        rng, copies, done = random.Random(), [], threading.Event()
        def draws():
            while not done.is_set():
                rng.random()
        def copies_it():
            for _ in range(100):
                copy = random.Random(1)
                copy.setstate(rng.getstate())
                copies.append((copy, copy.getstate()))
            done.set()
        at_once(draws, draws, copies_it)
        bump()
        assert all(copy.getstate() != state for copy, state in copies)
    """)


@pytest.mark.parametrize("again", ["setstate(state)", "seed(number)"])
def test_what_is_stale_already_is_never_drawn_from(run, again):
    """A state from before the restore comes back while another thread draws, which has looked at the tag before."""
    run(f"""
    import os
    number = int.from_bytes(os.urandom(16), "big")
    rng = random.Random(number)
    state = rng.getstate()
    old = {{rng.random() for _ in range(2000)}}
    bump()
    done, drawn = threading.Event(), []
    def puts_back():
        for _ in range(2000): rng.{again}
        done.set()
    def draws():
        while not done.is_set(): drawn.append(rng.random())
    at_once(puts_back, draws, draws)
    assert drawn and not old & set(drawn), len(old & set(drawn))
    """)


def test_a_state_is_noted_for_what_it_is(run):
    """One thread seeds by choice and by the system in turn, another one reads the state in between."""
    run("""
    fixed = random.Random(42).getstate()
    rng, states, done = random.Random(), [], threading.Event()
    def seeds():
        for _ in range(1500):
            rng.seed(42)
            rng.seed()
        done.set()
    def reads():
        while not done.is_set(): states.append(rng.getstate())
    at_once(seeds, reads)
    copies = []
    for state in states[-1000:]:
        copies.append((random.Random(), state))
        copies[-1][0].setstate(state)
    bump()
    for copy, state in copies:
        assert (copy.getstate() == state) == (state == fixed)
    """)


def test_one_renewal_for_all_threads(run):
    """What they draw after a restore is drawn once."""
    run("""
    for _ in range(100):
        rng, drawn = random.Random(), []
        bump()
        at_once(*[lambda: drawn.append([rng.random() for _ in range(200)])] * 6)
        values = [value for part in drawn for value in part]
        assert len(set(values)) == len(values) == 1200
    """)


@pytest.mark.parametrize("draw", ["uuid.uuid1()", "uuid.uuid1(clock_seq=7)", "uuid.uuid4()", "uuid.getnode()"])
def test_uuids(run, draw):
    """Of one process: uuid1's timestamp steps for each, and its node and clock sequence are one for all threads."""
    run(f"""
    drawn = []
    for _ in range(20):
        bump()
        at_once(*[lambda: drawn.append([{draw} for _ in range(300)])] * 6)
    values = [value for part in drawn for value in part]
    assert len(values) == 20 * 6 * 300
    assert len(set(values)) == (20 if {draw!r} == "uuid.getnode()" else len(values))
    """)


def test_one_value_in_each_generation(run):
    run("""
    made = []
    @snapsafe_rt.per_generation
    def value():
        made.append(object())
        return made[-1]
    for count in range(1, 200):
        bump()
        seen = []
        at_once(*[lambda: seen.append(value())] * 6)
        assert len(made) == count and all(one is made[-1] for one in seen)
    """)


def test_gauss(run):
    """The second value that a thread leaves of an old state is handed out by none. Two instances stand for clones: they
    had one state. (Within one of them CPython itself may give a second value to two threads.)"""
    run("""
    for _ in range(60):
        state, twins, drawn = random.Random().getstate(), [], []
        for twin in range(2):
            rng = random.Random()
            rng.setstate(state)
            twins.append((rng, [rng.gauss(0, 1) for _ in range(3)]))  # a second value is left
        assert twins[0][1] == twins[1][1]
        bump()
        for rng, _ in twins:
            drawn.append([])
            at_once(*[lambda: drawn[-1].extend([rng.gauss(0, 1) for _ in range(50)])] * 4)
        assert not set(drawn[0]) & set(drawn[1])
    """)
