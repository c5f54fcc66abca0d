"""A benchmark as pyperformance's are."""

import sys

import pyperf


def draws(loops, size):
    import random

    begin = pyperf.perf_counter()
    for _ in range(loops * size):
        random.random()
    return pyperf.perf_counter() - begin


if __name__ == "__main__":
    runner = pyperf.Runner()
    runner.argparser.add_argument("--size", type=int, default=1)
    print("what a benchmark prints is no answer")
    runner.bench_time_func("tiny", draws, runner.parse_args().size)
    runner.bench_command("tiny_command", [sys.executable, "-c", "pass"])
