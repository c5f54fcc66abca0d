"""SOURCE KIND: restores while torch draws. KIND: "system", or "kept" for generators that the program seeded. Prints
JSON: the part of the values of a fill that are those of the state that it began with, when a restore came in the
middle; the same of two threads that fill from one generator; and by what was multiplied that is multiplied in place."""

import copy
import json
import sys
import threading

import torch

from snapsafe_rt.source.vmclock_file import FileSource

source = FileSource(sys.argv[1])
N = 1_000_000
torch.set_num_threads(1)


def part(values, stream):
    return torch.isin(values, stream).double().mean().item()


def moved(one, fills):
    """What these threads fill from one generator, while the first fill is under way when the restore comes."""
    reference = copy.deepcopy(one) if one is not torch.default_generator else None
    if reference is None:
        reference = torch.Generator()
        reference.set_state(one.get_state())
    outs = [torch.zeros(N, dtype=torch.float64) for _ in range(fills)]
    given = {} if one is torch.default_generator else {"generator": one}
    threads = [threading.Thread(target=lambda out=out: torch.rand(N, out=out, **given)) for out in outs]
    for thread in threads:
        thread.start()
    while outs[0][0] == 0:  # the fill is under way
        pass
    source.bump()
    for thread in threads:
        thread.join()
    stream = torch.rand(N * fills, dtype=torch.float64, generator=reference)
    return [part(out, stream) for out in outs]


def begin(one):
    one.manual_seed(3) if sys.argv[2] == "kept" else one.seed()
    return one


def once():
    """Restores come all the time; what an operator multiplies its input by, it multiplies it by once."""
    ended = threading.Event()

    def restore():
        for _ in range(300):
            source.bump()
            if ended.wait(0.0005):
                break

    thread = threading.Thread(target=restore)
    thread.start()
    found = set()
    for _ in range(20):
        found |= set(torch.nn.functional.dropout(torch.ones(200_000), 0.5, inplace=True).tolist())
    ended.set()
    thread.join()
    return sorted(found)


found = [moved(begin(one), fills) for one in (torch.default_generator, torch.Generator()) for fills in (1, 2)]
print(json.dumps([found, once()]))
