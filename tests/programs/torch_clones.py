"""PATH COUNT [chosen]: COUNT clones of one template draw from torch in all ways, each surface first in some of them,
and go on with sequences that the program chose. Prints JSON: was the pid the template's; for each clone what it drew,
which kept sequences are those that stock gives, and what the row says at its end. chosen: the program seeds the default
generator, and draws in one order."""

import copy
import importlib.util
import logging
import pickle
import secrets
import sys
import time

import torch
from drawing import in_thread, tell_clones, told
from torch import rand as bound_earlier
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, RandomSampler, WeightedRandomSampler, random_split

import snapsafe_rt

torch.set_num_threads(1)
logging.disable(logging.WARNING)  # of what torch.compile misses
chosen = sys.argv[3:] == ["chosen"]
draws, kept = {}, {}
HALF = torch.full((64,), 0.5)
# In a clone this prints an error where there are no threads, and C++ threads of the template are not in it.
torch.autograd.set_multithreading_enabled(False)


class Module(torch.nn.Module):
    def forward(self, x):
        return functional.dropout(x, 0.5, True) + torch.rand_like(x)


def seeded():
    one = torch.Generator()
    one.seed()
    return one


def from_system(seed):
    return torch.Generator().manual_seed(seed)


def forked():
    with torch.random.fork_rng():
        torch.rand(1)
    return torch.rand(1)


def put_back(state):
    def draw():
        torch.set_rng_state(state)
        return torch.rand(1, dtype=torch.float64)

    return draw


def weights():
    return torch.nn.Linear(4, 4).weight.detach()


def trained():
    """A step with dropout, of which the gradients depend on the draw."""
    layer = torch.nn.Linear(64, 1)
    torch.nn.init.ones_(layer.weight)
    functional.dropout(layer(torch.eye(64)), 0.5, True).sum().backward()
    return layer.weight.grad


def recomputed():
    x = torch.ones(64, requires_grad=True)
    checkpoint(lambda x: functional.dropout(x, 0.5, True), x, use_reentrant=False).sum().backward()
    return x.grad


def prepare_draws():
    f64 = {"dtype": torch.float64}
    scripted = torch.jit.script(Module())
    traced = torch.jit.trace(Module(), torch.ones(64), check_trace=False)
    compiled = torch.compile(Module(), backend="eager")
    lstm = torch.nn.LSTM(8, 8, num_layers=2, dropout=0.5)
    one = seeded()
    sampler = iter(RandomSampler(range(2**40), replacement=True, num_samples=10**6))
    draws.update(
        {
            "rand": lambda: torch.rand(1, **f64),
            "rand, bound earlier": lambda: bound_earlier(2),
            "rand, in a thread": lambda: in_thread(lambda: torch.rand(2)),
            "randn, one": lambda: torch.randn(1, **f64),
            "randn, 20": lambda: torch.randn(20),
            "randn, float, 3": lambda: torch.randn(3),
            "rand_like": lambda: torch.rand_like(HALF),
            "randn_like": lambda: torch.randn_like(HALF),
            "randint": lambda: torch.randint(2**60, (2,)),
            "randint_like": lambda: torch.randint_like(HALF, 1000),
            "randperm": lambda: torch.randperm(50),
            "normal": lambda: torch.normal(HALF, HALF),
            "normal_, double": lambda: torch.empty(1, **f64).normal_(),
            "uniform_": lambda: torch.empty(3).uniform_(),
            "random_": lambda: torch.empty((), dtype=torch.int64).random_(),
            "exponential_": lambda: torch.empty(3).exponential_(),
            "cauchy_": lambda: torch.empty(3).cauchy_(),
            "log_normal_": lambda: torch.empty(3).log_normal_(),
            "geometric_": lambda: torch.empty(64).geometric_(0.05),
            "bernoulli": lambda: torch.bernoulli(HALF),
            "bernoulli_": lambda: torch.empty(64).bernoulli_(0.5),
            "poisson": lambda: torch.poisson(HALF * 1000),
            "binomial": lambda: torch.binomial(HALF * 2000, HALF),
            "multinomial": lambda: torch.multinomial(torch.ones(1000), 10),
            "out=": lambda: torch.rand(3, out=torch.empty(3)),
            "dropout": lambda: functional.dropout(HALF),
            "dropout in place": lambda: functional.dropout(HALF.clone(), inplace=True),
            "alpha_dropout": lambda: functional.alpha_dropout(HALF, training=True),
            "feature_alpha_dropout": lambda: functional.feature_alpha_dropout(HALF.reshape(1, 64, 1), training=True),
            "dropout1d": lambda: functional.dropout1d(HALF.reshape(64, 1), training=True),
            "rrelu": lambda: functional.rrelu(-HALF, training=True),
            "rrelu_": lambda: functional.rrelu_(-HALF, training=True),
            "gumbel_softmax": lambda: functional.gumbel_softmax(HALF),
            "attention": lambda: functional.scaled_dot_product_attention(
                *[torch.ones(1, 16, 16)] * 2, torch.eye(16).reshape(1, 16, 16), dropout_p=0.5
            ),
            "LSTM with dropout": lambda: lstm(torch.ones(9, 1, 8))[0].detach(),
            "initial weights": weights,
            "orthogonal_": lambda: torch.nn.init.orthogonal_(torch.empty(3, 3)),
            "a training step": trained,
            "checkpoint": recomputed,
            "torch.ops.aten": lambda: torch.ops.aten.rand([3]),
            "torch.ops, with a generator": lambda: torch.ops.aten.rand.generator([3], generator=one),
            "jit.script": lambda: scripted(HALF),
            "jit.trace": lambda: traced(HALF),
            "compile, eager": lambda: compiled(HALF),
            "DataLoader's seed": lambda: torch.tensor(iter(DataLoader(range(3)))._base_seed),
            "DataLoader": lambda: torch.stack(list(DataLoader(range(99), shuffle=True))),
            "RandomSampler": lambda: torch.tensor(list(RandomSampler(range(100)))),
            "an iterator of a RandomSampler": lambda: torch.tensor([next(sampler) for _ in range(40)]),
            "WeightedRandomSampler": lambda: torch.tensor(list(WeightedRandomSampler([1.0] * 1000, 10))),
            "random_split": lambda: torch.tensor(random_split(range(60), [30, 30])[0].indices),
            "Categorical": lambda: torch.distributions.Categorical(torch.ones(1000)).sample((9,)),
            "Dirichlet": lambda: torch.distributions.Dirichlet(torch.ones(5)).sample(),
            "Gamma": lambda: torch.distributions.Gamma(2.0, 1.0).sample((3,)),
            "fork_rng": forked,
            "set_rng_state of a state read before": put_back(torch.get_rng_state()),
            "get_rng_state": lambda: torch.get_rng_state(),
            "initial_seed": lambda: torch.tensor(torch.initial_seed() >> 1),
            "seed()": lambda: torch.tensor(torch.seed() >> 1),
            "default_generator, passed": lambda: torch.rand(2, generator=torch.default_generator),
        }
    )
    own = {
        "seed()": seeded(),
        "manual_seed(secrets)": from_system(secrets.randbits(63)),
        "manual_seed(time)": from_system(time.time_ns()),
        "manual_seed(initial_seed())": from_system(torch.initial_seed()),
        "manual_seed(random_())": from_system(int(torch.empty((), dtype=torch.int64).random_().item())),
        "a copy": copy.deepcopy(seeded()),
        "clone_state()": seeded().clone_state(),
        "unpickled": pickle.loads(pickle.dumps(seeded())),
    }
    for name, one in own.items():
        draws[f"Generator: {name}: rand"] = lambda one=one: torch.rand(2, generator=one)
        draws[f"Generator: {name}: normal_"] = lambda one=one: torch.empty(1).normal_(generator=one)
        draws[f"Generator: {name}: dropout's mask"] = lambda one=one: torch.bernoulli(HALF, generator=one)
        draws[f"Generator: {name}: initial_seed"] = lambda one=one: torch.tensor(one.initial_seed() >> 1)
    given = seeded()
    if chosen:  # what draws from others, or seeds the default one
        others = "seed()", "torch.ops, with a generator", "an iterator of a RandomSampler"
        for name in [*draws]:
            if name.startswith(("Generator", "set_rng_state")) or name in others:
                del draws[name]
        return
    asked = {"shuffle": True, "generator": given}
    draws["DataLoader with a generator"] = lambda: torch.stack(list(DataLoader(range(99), **asked)))
    draws["by place"] = lambda: torch._standard_gamma(HALF, given)
    if importlib.util.find_spec("numpy"):
        import numpy

        draws["randn, to numpy"] = lambda: torch.from_numpy(numpy.asarray(torch.randn(4)))


def stream(one):
    """The same ways to draw from a generator."""
    with torch.random.fork_rng():
        return [
            torch.randn(1, generator=one).item(),
            torch.rand(5, generator=one, dtype=torch.float64).tolist(),
            torch.randperm(9, generator=one).tolist(),
            torch.bernoulli(HALF, generator=one).tolist(),
            torch.ops.aten.rand.generator([3], generator=one).tolist(),
            torch.empty((), dtype=torch.int64).random_(generator=one).item(),
        ]


def prepare_kept():
    restored, unpickled = torch.Generator(), torch.Generator()
    restored.set_state(torch.Generator().manual_seed(9).get_state())
    unpickled = pickle.loads(pickle.dumps(torch.Generator().manual_seed(7)))
    reseeded = seeded().manual_seed(3)
    kept.update(
        {
            "manual_seed(0)": [torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)],
            "manual_seed(2 ** 62 + 5)": [torch.Generator().manual_seed(2**62 + 5) for _ in "12"],
            "Generator()": [torch.Generator(), torch.Generator()],
            "seed(), manual_seed(3)": [reseeded, torch.Generator().manual_seed(3)],
            "set_state()": [restored, torch.Generator().manual_seed(9)],
            "unpickled": [unpickled, torch.Generator().manual_seed(7)],
            "copied": [copy.deepcopy(torch.Generator().manual_seed(6)), torch.Generator().manual_seed(6)],
            "clone_state()": [torch.Generator().manual_seed(4).clone_state(), torch.Generator().manual_seed(4)],
            "a sampler's": [
                iter(RandomSampler(range(10**6), True, 10**6, torch.Generator().manual_seed(8))) for _ in "12"
            ],
        }
    )


def drawn_from(one):
    return [next(one) for _ in range(50)] if hasattr(one, "__next__") else stream(one)


def prepare():
    prepare_kept()
    torch.manual_seed(7) if chosen else torch.seed()
    prepare_draws()
    torch.manual_seed(7) if chosen else torch.seed()
    for draw in draws.values():
        for _ in range(3):
            draw()
    for name, (ours, stock) in kept.items():  # stock's is drawn here, where nothing is restored
        drawn_from(ours), drawn_from(stock)
        kept[name] = ours, drawn_from(stock)


def body(number):
    names = sorted(draws)
    first = 0 if chosen or not snapsafe_rt.status().rows else number % len(names)  # twins draw in one order
    drawn = {name: str(draws[name]().tolist()) for name in names[first:] + names[:first]}
    same = {name: drawn_from(ours) == expected for name, (ours, expected) in kept.items()}
    return told("torch", drawn, same)


tell_clones(int(sys.argv[2]), body, prepare)
