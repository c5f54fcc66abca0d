"""PATH COUNT: COUNT clones of one template draw from numpy.random in all ways, each surface first in some of them, and
go on with sequences that the program chose. Prints JSON: was the pid the template's; for each clone what it drew, which
kept sequences are those that stock gives, and what the row says at its end."""

import copy
import ctypes
import importlib.util
import json
import pickle
import sys

import numpy
import numpy.random as r
from drawing import tell_clones, told
from numpy.random import rand as bound_earlier
from numpy.random import randint as also_bound

KINDS = [r.PCG64, r.PCG64DXSM, r.MT19937, r.SFC64, r.Philox]
draws, kept = {}, {}


def put_back(make):
    one = make()
    saved = json.loads(json.dumps(one.state, default=lambda value: value.tolist()))

    def draw():
        one.state = saved
        return one.random_raw()

    return draw


def by_ctypes(one):
    interface = one.ctypes
    return lambda: one and interface.next_double(interface.state_address)


def by_cffi(one):
    interface = one.cffi
    return lambda: one and interface.next_double(interface.state)


def by_capsule(one):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    words = ctypes.cast(get(one.capsule, b"BitGenerator"), ctypes.POINTER(ctypes.c_void_p))
    following = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(words[1])
    return lambda: one and following(words[0])


class Named(r.PCG64):
    """A subclass, whose states have its name."""


class Seeds(r.SeedSequence):
    pass


def legacy_state_put_back():
    one = r.RandomState()
    saved = one.get_state()

    def draw():
        one.set_state(saved)
        return one.random_sample()

    return draw


def gauss_in_a_state(when):
    """The second of a pair, in a state that is read before the restore, or by a draw after it."""
    one = r.RandomState()
    one.standard_normal()
    saved = one.get_state() if when == "before" else None

    def draw():
        one.set_state(saved or one.get_state())
        return one.standard_normal()

    return draw


def gauss_of_another():
    """The second value of a state that was read before the restore, with a state that was read after it."""
    one = r.RandomState()
    one.standard_normal()
    saved = one.get_state()

    def draw():
        one.set_state((*one.get_state()[:3], *saved[3:]))
        return one.standard_normal()

    return draw


def unpickled(data):
    return lambda: pickle.loads(data).random()


def prepare_draws():
    sequence, parent, other = r.SeedSequence(), r.default_rng(), r.SeedSequence()
    child = r.Generator(r.PCG64(r.SeedSequence().spawn(3)[2]))
    reseeded = r.RandomState(5)
    reseeded.seed(None)
    keyed = r.Philox(counter=5)
    shared = r.MT19937()
    by_one, by_other = r.RandomState(shared), r.Generator(shared)
    by_one.standard_normal()
    copied = pickle.dumps(r.SeedSequence())
    derived = r.SeedSequence()
    draws.update(
        {
            "SeedSequence.spawn": lambda: sequence.spawn(2)[1].generate_state(2).tolist(),
            "SeedSequence.generate_state": lambda: other.generate_state(2).tolist(),
            "a subclass of SeedSequence": lambda s=Seeds(): s.spawn(1)[0].generate_state(2).tolist(),
            "a pickled SeedSequence": lambda: pickle.loads(copied).generate_state(2).tolist(),
            "of its entropy": lambda: r.default_rng(derived.entropy).random(),
            "Generator.spawn": lambda: parent.spawn(1)[0].random() if hasattr(parent, "spawn") else parent.random(),
            "of a spawned child": child.random,
            "rand, bound earlier": bound_earlier,
            "randint, bound earlier": lambda: also_bound(1 << 30),
            "numpy.random.randn": numpy.random.randn,
            "numpy.random.ranf": numpy.random.ranf,
            "numpy.random.bytes": lambda: numpy.random.bytes(8).hex(),
            "numpy.random.shuffle": lambda: shuffled(numpy.random.shuffle),
            "default_rng()": lambda g=r.default_rng(): g.standard_normal(),
            "RandomState.standard_normal": r.RandomState().standard_normal,
            "RandomState.choice": lambda s=r.RandomState(): s.choice(1 << 20, 3).tolist(),
            "seed(None)": reseeded.random_sample,
            "a counter, no key": keyed.random_raw,
            "two over one": lambda: [by_one.standard_normal(), by_other.random()],
            "RandomState's state put back": legacy_state_put_back(),
            "a second value of before": gauss_in_a_state("before"),
            "a second value, read after": gauss_in_a_state("after"),
            "a second value with another state": gauss_of_another(),
            "RandomState, pickled": lambda d=pickle.dumps(r.RandomState()): pickle.loads(d).random_sample(),
            "RandomState, deepcopied": copy.deepcopy(r.RandomState()).random_sample,
            "a subclass of PCG64": r.Generator(Named()).random,
            "by a Generator over what is held": lambda g=held_generator(): g.random(),
        }
    )
    for make in KINDS:
        name = make.__name__
        draws.update(
            {
                f"{name}.random": r.Generator(make()).random,
                f"{name}.integers": lambda g=r.Generator(make()): int(g.integers(1 << 30, dtype=numpy.uint32)),
                f"{name}.random_raw": make().random_raw,
                f"{name}.permutation": lambda g=r.Generator(make()): g.permutation(50).tolist(),
                f"{name}.shuffle": lambda g=r.Generator(make()): shuffled(g.shuffle),
                f"{name}.standard_normal(out)": lambda g=r.Generator(make()): g.standard_normal(
                    out=numpy.empty(4)
                ).tolist(),
                f"{name}.deepcopy": copy.deepcopy(r.Generator(make())).random,
                f"{name}, pickled before": unpickled(pickle.dumps(r.Generator(make()))),
                f"{name}, state put back": put_back(make),
                f"{name} by ctypes": by_ctypes(make()),
                f"{name} by its capsule": by_capsule(make()),
            }
        )
        if importlib.util.find_spec("cffi"):
            draws[f"{name} by cffi"] = by_cffi(make())
        if hasattr(make, "jumped"):
            draws[f"{name}.jumped"] = lambda b=make(): b.jumped().random_raw()


def held_generator():
    one = r.PCG64()
    by_ctypes(one)
    return r.Generator(one)


def shuffled(shuffle):
    values = list(range(50))
    shuffle(values)
    return values


def prepare_kept():
    for make in KINDS:
        name = make.__name__
        kept[f"{name}(5)"] = [r.Generator(make(5)) for _ in "12"]
        kept[f"{name}(2 ** 100 + 7)"] = [r.Generator(make(2**100 + 7)) for _ in "12"]
        kept[f"{name}, spawned of 5"] = [r.Generator(make(r.SeedSequence(5).spawn(2)[1])) for _ in "12"]
        kept[f"{name}(7), deepcopied"] = [copy.deepcopy(r.Generator(make(7))), r.Generator(make(7))]
        kept[f"{name}(7), pickled"] = [pickle.loads(pickle.dumps(r.Generator(make(7)))), r.Generator(make(7))]
        held = make(8)
        by_ctypes(held)
        kept[f"{name}(8), held"] = [r.Generator(held), r.Generator(make(8))]
        if hasattr(make, "jumped"):
            kept[f"{name}(7).jumped"] = [r.Generator(make(7).jumped()) for _ in "12"]
    reseeded, restored = r.RandomState(), r.RandomState()
    reseeded.seed(3)
    restored.set_state(r.RandomState(9).get_state())
    numpy.random.seed(11)
    kept.update(
        {
            "Philox(key=3)": [r.Generator(r.Philox(key=3)) for _ in "12"],
            "RandomState(3)": [r.RandomState(3), r.RandomState(3)],
            "RandomState([3, 4])": [r.RandomState([3, 4]), r.RandomState([3, 4])],
            "RandomState().seed(3)": [reseeded, r.RandomState(3)],
            "set_state()": [restored, r.RandomState(9)],
            "a subclass of PCG64": [r.Generator(Named(4)), r.Generator(r.PCG64(4))],
            "children of a SeedSequence(6)": [Children(r.SeedSequence(6)) for _ in "12"],
            "children of a copy": [Children(copy.deepcopy(r.SeedSequence(6))), Children(r.SeedSequence(6))],
            "default_rng(42)": [r.default_rng(42), r.default_rng(42)],
        }
    )


def stream(one):
    values = list(range(9))
    one.shuffle(values)
    return [one.standard_normal(), one.random(5).tolist(), values, one.permutation(5).tolist()]


class Children:
    """Of a SeedSequence, one after the other, as a generator is drawn from."""

    def __init__(self, sequence):
        self.sequence = sequence

    def __getattr__(self, name):
        return getattr(r.default_rng(self.sequence.spawn(1)[0]), name)


def prepare():
    prepare_kept()
    prepare_draws()
    numpy.random.seed()
    for draw in draws.values():
        for _ in range(3):
            draw()
    for name, (ours, stock) in kept.items():  # stock's is drawn here, where nothing is restored
        ours.standard_normal(3)
        stock.standard_normal(3)
        kept[name] = ours, stream(stock)


def body(number):
    names = sorted(draws)
    first = number % len(names)
    drawn = {name: str(draws[name]()) for name in names[first:] + names[:first]}
    same = {name: stream(ours) == expected for name, (ours, expected) in kept.items()}
    return told("numpy", drawn, same)


tell_clones(int(sys.argv[2]), body, prepare)
