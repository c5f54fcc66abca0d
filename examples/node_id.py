"""Ids in the manner of snowflakes (time, node, sequence) that no two clones make alike.

    snapsafe run python examples/node_id.py [--count 3]

Look at: `per_generation` makes a new `node()` after each restore. The loop in `new_id()` makes an id again if a
restore came in between. Snowflake's own node has 10 bits, and somebody has to hand them out; a node that is drawn has
to be longer. Here an id has 128 bits: 48 of time (milliseconds), 56 of node, 24 of sequence. With a million clones,
the chance that any two have the same node is 1 in 100,000.
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
    # per_generation() makes a value anew after a restore, not after a fork: a forked worker would keep its parent's
    # node.
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
        # Restored in between: every clone has the old node in `made`. In the next round it is the clone's own.


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
