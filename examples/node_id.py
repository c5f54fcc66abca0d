"""Ids in the manner of snowflakes (time, node, sequence) that no two clones make alike.

    snapsafe run python examples/node_id.py [--count 3]

Look at: `node()`, made by `per_generation`, and the loop in `new_id()` that keeps an id within one generation. The
classic's node has 10 bits, which somebody must hand out; made at random it has to be longer. Here an id has 128 bits:
48 of time (milliseconds), 56 of node, 24 of sequence. Among a million clones two nodes are alike once in 100,000 times.
"""

import argparse
import itertools
import os
import sys
import time

import snapsafe_rt


def make_node():
    return int.from_bytes(snapsafe_rt.entropy(7), "big")


def renew():
    # per_generation() knows of restores, not of forks: a forked worker would go on with its parent's node.
    global node
    node = snapsafe_rt.per_generation(make_node)


renew()
os.register_at_fork(after_in_child=renew)
sequence = itertools.count()


def new_id():
    """128 bits, growing with time, different in each thread, process and clone."""
    while True:
        before = snapsafe_rt.epoch()
        milliseconds = time.time_ns() // 1_000_000
        made = milliseconds << 80 | node() << 24 | next(sequence) & 0xFFFFFF
        if snapsafe_rt.epoch() == before:
            return made
        # Restored half-way: each clone holds the same node in a local variable. Made again, it is the clone's own.


def main():
    parser = argparse.ArgumentParser(description="Prints ids that no other clone makes.")
    parser.add_argument("--count", type=int, default=3)
    for _ in range(parser.parse_args().count):
        print(f"{new_id():032x}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
