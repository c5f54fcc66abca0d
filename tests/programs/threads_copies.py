"""Threads import copies of `random` and ask for reports: each gauss() is exchanged once, and given back."""

import importlib.util
import random
import threading

import snapsafe_rt
from snapsafe_rt.guards import table
from snapsafe_rt.guards.random import GUARD

THREADS = 8


def copy(name):
    spec = importlib.util.spec_from_file_location(name, random.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def work(name, start, made, failed):
    start.wait()
    try:
        made.append(copy(name))
        found = {row: (level, note) for row, level, note in table.report()}
        assert found["random"][0] == "guarded", found["random"]
        table.publish()
    except BaseException as error:
        failed.append(error)


def turn(number):
    start, made, failed = threading.Barrier(THREADS), [], []
    names = [f"copy_{number}_{one}" for one in range(THREADS)]
    threads = [threading.Thread(target=work, args=(name, start, made, failed)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    functions = [one.function for one in GUARD._functions]
    assert len(functions) == len(set(map(id, functions))), "a function was exchanged twice"
    assert all(vars(one.Random)["gauss"] in functions for one in made)
    for one in made:
        one.gauss(0, 1)
    snapsafe_rt.deactivate()
    assert GUARD._functions == []
    snapsafe_rt.activate()


for number in range(5):
    turn(number)
print("done")
