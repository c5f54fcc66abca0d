"""PATH COUNT: as numpy_clones.py, of each BitGenerator of randomgen, over which numpy's Generator and its own draw."""

import sys

import numpy.random as r
import randomgen
from drawing import tell_clones, told

KINDS = [
    value
    for name, value in sorted(vars(randomgen).items())
    if isinstance(value, type) and issubclass(value, r.BitGenerator) and name not in ("RDRAND", "UserBitGenerator")
]
draws, kept = {}, {}


def put_back(make):
    one = make()
    saved = one.state

    def draw():
        one.state = saved
        return one.random_raw()

    return draw


def prepare():
    for make in KINDS:
        name = make.__name__
        draws[f"{name} by numpy"] = r.Generator(make()).random
        draws[f"{name} by randomgen"] = randomgen.ExtendedGenerator(make()).complex_normal
        draws[f"{name}.random_raw"] = make().random_raw
        draws[f"{name}, state put back"] = put_back(make)
        ours, stock = make(7), make(7)
        kept[name] = ours, stock.random_raw(9).tolist()[3:]
        ours.random_raw(3)
    for draw in draws.values():
        draw()


def body(number):
    drawn = {name: str(draw()) for name, draw in draws.items()}
    same = {name: ours.random_raw(6).tolist() == expected for name, (ours, expected) in kept.items()}
    return told("numpy", drawn, same)


tell_clones(int(sys.argv[2]), body, prepare)
