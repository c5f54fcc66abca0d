"""As much of pyperf as its Runner's subclass in benchmarks/outside_worker.py knows."""

import argparse
import time
from types import SimpleNamespace

perf_counter = time.perf_counter


class Runner:
    def __init__(self):
        self.argparser = argparse.ArgumentParser()
        self.argparser.add_argument("--worker", action="store_true")
        self.argparser.add_argument("--loops")
        self.argparser.add_argument("--warmups")

    def parse_args(self):
        return self.argparser.parse_args()

    def bench_time_func(self, name, function, *arguments):
        self._main(SimpleNamespace(name=name, task_func=lambda _, loops: function(loops, *arguments)))
