"""Ids of 64 bits in the manner of snowflakes, by a library (snowflake-id): time, worker number, sequence.

    snapsafe run python examples/worker_number.py --numbers FOLDER [--count 3]

Look at: `generator()` is made anew after each restore, with a worker number that nobody else has. All clones of one
snapshot have the same number in their memory, and their clocks agree; so a library that was given its number once makes
the same ids in each of them. Ten bits are too few to draw the number: somebody has to hand it out who is not cloned.
Here that is a folder that all clones share, as by NFS; each number is a file that its worker holds. A database or the
orchestrator does as well. examples/node_id.py draws a node of 56 bits instead, and needs nobody.
"""

import argparse
import os
import sys
from pathlib import Path

import snapsafe_rt

WORKERS = 1024


class Numbers:
    """Hands out worker numbers: files of a folder, made by whoever takes the number."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def take(self):
        begin = int.from_bytes(snapsafe_rt.entropy(2), "big")  # so that clones do not all try the same ones first
        for number in range(begin, begin + WORKERS):
            try:
                (self.folder / str(number % WORKERS)).touch(exist_ok=False)
            except FileExistsError:
                continue
            return number % WORKERS
        raise RuntimeError(
            f"all {WORKERS} worker numbers of {self.folder} are taken: remove those of workers that ended"
        )


def make_generator(numbers):
    from snowflake import SnowflakeGenerator

    return SnowflakeGenerator(numbers.take())


class Ids:
    def __init__(self, numbers):
        self.numbers = numbers
        self.renew()
        os.register_at_fork(after_in_child=self.renew)  # a forked worker would keep its parent's number

    def renew(self):
        self.generator = snapsafe_rt.per_generation(lambda: make_generator(self.numbers))

    def new(self):
        while True:
            before = snapsafe_rt.epoch()
            made = next(self.generator())
            if made is not None and snapsafe_rt.epoch() == before:  # None: this millisecond has no sequence left
                return made


def main():
    parser = argparse.ArgumentParser(description="Prints ids that no other clone makes.")
    parser.add_argument("--numbers", required=True, metavar="FOLDER", help="shared by all clones")
    parser.add_argument("--count", type=int, default=3)
    options = parser.parse_args()
    ids = Ids(Numbers(options.numbers))
    for _ in range(options.count):
        print(ids.new())


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
