"""SOURCE PART: threads share what numpy.random has, without a GIL where the interpreter has none. A part is a function
here; it fails by an exception, or by a signal."""

import gc
import random
import sys
import threading
import time

import numpy as np

import snapsafe_rt
from snapsafe_rt.source.vmclock_file import FileSource

source = FileSource(sys.argv[1])
THREADS = 6
SECONDS = 0.7


def row():
    return next((one.protection, one.note) for one in snapsafe_rt.status().rows if one.name == "numpy")


def together(*functions):
    """All at once, until the time is over; raises what one of them did."""
    start, failed, over = threading.Barrier(len(functions)), [], threading.Event()

    def run(function):
        start.wait()
        try:
            while not over.is_set():
                function()
        except BaseException as error:
            failed.append(error)
            over.set()

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    over.wait(SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def old_states():
    """One thread sets a state of before the restore, others draw: none of them draws what that state gives."""
    rng = np.random.Generator(np.random.PCG64())
    saved = rng.bit_generator.state
    stale = {rng.random() for _ in range(64)}
    legacy = np.random.RandomState()
    kept = legacy.get_state()
    stale |= {legacy.random_sample() for _ in range(64)}
    source.bump()

    def set_states():
        rng.bit_generator.state = saved
        legacy.set_state(kept)

    def draw():
        for _ in range(64):
            value, other = rng.random(), legacy.random_sample()
            assert value not in stale, "a value of before the restore"
            assert other not in stale, "a value of before the restore, of a RandomState"

    together(set_states, set_states, draw, draw, draw)


class Late(dict):
    """A state that keeps whoever sets it."""

    def __init__(self, state):
        super().__init__(state)
        self.entered, self.let_go = threading.Event(), threading.Event()

    def get(self, *arguments):
        self.entered.set()
        assert self.let_go.wait(20)
        return super().get(*arguments)


def set_late(rng, draw):
    """Two threads: one sets a state of which it is kept, and then one draws."""
    late = Late(rng.bit_generator.state)
    setter = threading.Thread(target=setattr, args=(rng.bit_generator, "state", late))
    setter.start()
    assert late.entered.wait(20)
    drawer = threading.Thread(target=draw, args=(late,))
    drawer.start()
    return late, setter, drawer


def setters_are_waited_for():
    rng, drawn = np.random.Generator(np.random.PCG64()), []
    late, *threads = set_late(rng, lambda _: drawn.append(rng.random()))
    time.sleep(0.2)  # in which it would have drawn
    assert not drawn
    late.let_go.set()
    for thread in threads:
        thread.join()
    assert len(drawn) == 1


def setters_that_wait_for_who_draws():
    """Not for ever."""
    rng, drawn = np.random.Generator(np.random.PCG64()), []

    def draw(late):
        drawn.append(rng.random())
        late.let_go.set()

    for thread in set_late(rng, draw)[1:]:
        thread.join(20)
        assert not thread.is_alive()
    assert len(drawn) == 1


def setters_that_draw():
    """Who draws from it in the middle of that is one of those; and the state stays what was given."""
    rng, drawn = np.random.Generator(np.random.PCG64()), []
    expected = np.random.PCG64(7).state

    class Drawing(dict):
        def get(self, *arguments):
            drawn.append(rng.random())
            return super().get(*arguments)

    rng.bit_generator.state = Drawing(expected)
    assert drawn
    assert rng.bit_generator.state == expected


def states_that_are_refused():
    """The error is numpy's, and the state stays, whoever made that."""
    source.bump()
    elsewhere = {"state": {"state": 5, "inc": 7}, "bit_generator": "PCG64", "has_uint32": 0, "uinteger": 0}
    systems, seeded, foreign = np.random.PCG64(), np.random.PCG64(1), np.random.PCG64()
    foreign.state = elsewhere
    for bg in (systems, seeded, foreign):
        before = bg.state
        for wrong, error in (
            (1, TypeError),
            ({"bit_generator": "MT19937"}, ValueError),
            ({"bit_generator": "PCG64"}, KeyError),
        ):
            try:
                bg.state = wrong
            except error:
                assert bg.state == before
            else:
                raise AssertionError(wrong)


def chosen():
    """Who seeds an instance finds it kept afterwards, however many threads renew it meanwhile."""
    for _ in range(40):
        rng = np.random.RandomState(np.random.MT19937())
        source.bump()
        start = threading.Barrier(3)

        def seed(rng=rng, start=start):
            start.wait()
            rng.seed(5)

        def draw(rng=rng, start=start):
            start.wait()
            rng.random_sample()

        threads = [threading.Thread(target=one) for one in (seed, draw, draw)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rng.seed(5)
        source.bump()
        expected = np.random.RandomState(5).random_sample(8)
        assert (rng.random_sample(8) == expected).all()


def pointers():
    """Instances come and go whose pointers are handed out: the table of them is changed by all threads."""

    def make():
        made = [np.random.PCG64() for _ in range(20)]
        values = set()
        for one in made:
            pair = one.ctypes
            values |= {pair.next_uint64(pair.state) for _ in range(3)}
        assert len(values) == 60

    def restore():
        source.bump()
        time.sleep(0.01)

    together(*[make] * THREADS, restore)
    assert row()[0] == "guarded", row()


def sequences():
    """Threads that renew one SeedSequence: its entropy is that of its pool, and nobody reads what is freed."""
    for _ in range(30):
        one = np.random.SeedSequence()
        before = one.entropy
        source.bump()
        start, words = threading.Barrier(THREADS), []

        def spawn(one=one, start=start, words=words):
            start.wait()
            for _ in range(5):
                words.append(one.generate_state(4).tobytes())  # spawn() counts, and not for two threads at once
                words.append(int(one.pool.sum()))

        threads = [threading.Thread(target=spawn) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.entropy != before
        assert (np.random.SeedSequence(one.entropy).pool == one.pool).all()


def counts():
    """How many have a state that nobody knows is counted, though threads change one and the same."""
    state = np.random.PCG64(7).state
    instances = [np.random.PCG64() for _ in range(4)]
    foreign = dict(state, state={"state": random.getrandbits(128), "inc": state["state"]["inc"]})
    # Of nobody that is known here: as a pickle of another process.

    def change():
        for one in instances:
            one.state = foreign
            one.state = np.random.PCG64().state

    together(*[change] * THREADS)
    instances.clear()
    gc.collect()
    assert row()[0] == "guarded", row()


def subclasses():
    """Types that were not seen before are learnt by several threads at once."""
    kinds = [np.random.PCG64, np.random.MT19937, np.random.SFC64, np.random.Philox, np.random.PCG64DXSM]

    def make():
        kind = type("Own", (random.choice(kinds),), {})
        one = np.random.Generator(kind())
        source_state = one.bit_generator.state
        first = one.random()
        one.bit_generator.state = source_state
        assert one.random() == first

    together(*[make] * THREADS)
    assert row()[0] == "guarded", row()


np.random.rand()
globals()[sys.argv[2]]()
assert "t" not in sys.abiflags or not sys._is_gil_enabled()
print("done")
