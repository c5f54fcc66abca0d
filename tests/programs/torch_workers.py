"""PATH COUNT HOW: what the workers of a DataLoader draw, that are started in this way. COUNT clones of each of two
workers, made while these run; and, of fork, COUNT clones of this program, of which each starts two workers of its own.
Prints JSON: for each worker, and for the first two of each program, a list of what the clones drew by torch, random
and, where it is installed, numpy."""

import importlib.util
import json
import random
import sys
import time
import warnings

import torch
from drawing import source
from torch.utils.data import DataLoader, Dataset

from snapsafe_rt.testing.clones import clone_here, run_clones

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: those of torch
count = int(sys.argv[2])
torch.set_num_threads(1)
if importlib.util.find_spec("numpy"):
    import numpy


def drawn():
    own = [numpy.random.random()] if "numpy" in globals() else []
    return [torch.rand(1, dtype=torch.float64).item(), random.random(), *own]


class Drawn(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, number):
        return drawn()


class Cloned(Drawn):
    """Its worker draws, is cloned, and draws in each clone after a restore."""

    def __getitem__(self, number):

        def body(number):
            source.bump(time.monotonic_ns())  # never what the other worker had seen when it was cloned
            return json.dumps(drawn()).encode()

        drawn()
        clones = clone_here(count, body)
        assert not any(clone.status for clone in clones), [str(clone) for clone in clones]
        return [json.loads(clone.output) for clone in clones]


def collect(items):
    return items[0]


def loaded(dataset):
    return list(DataLoader(dataset, num_workers=2, collate_fn=collect, multiprocessing_context=sys.argv[3]))


if __name__ == "__main__":
    found = loaded(Cloned())
    if sys.argv[3] == "fork":

        def start(number):
            return json.dumps(loaded(Drawn())).encode()

        programs = run_clones(count, start, prepare=lambda: torch.rand(1), source=source)
        found += zip(*map(json.loads, programs), strict=True)
    print(json.dumps(found))
