"""Threads with connections and generators of their own, renewed by each thread when it sees another epoch.

    snapsafe run python examples/threads.py [--threads 3]       (reads jobs from the standard input, one a line)

Look at: `check()` returns the epoch; a thread compares it with the one its things were made in. A callback would run in
one thread only, and some things may not be touched by another: a sqlite3 connection closes in its own thread alone.
"""

import argparse
import os
import queue
import random
import sqlite3
import sys
import threading

import snapsafe_rt

printing = threading.Lock()


class Worker(threading.Thread):
    def __init__(self, jobs, database):
        super().__init__(daemon=True)  # the program does not wait for one that is at work when it is interrupted
        self.jobs, self.database = jobs, database
        self.dice = random.Random()  # never seeded by hand: renewed without any code
        self.connection = None

    def run(self):
        seen = None
        for job in iter(self.jobs.get, None):
            epoch = snapsafe_rt.check()  # also runs, or waits for, what the program registered
            if epoch != seen:
                self.renew()
                seen = epoch
            self.work(job, epoch)
        if self.connection:
            self.connection.close()

    def renew(self):
        if self.connection:
            self.connection.close()  # the server's end of it, and its keys, are shared by every clone
        self.connection = sqlite3.connect(self.database)
        # Seeded by hand, so that this thread's draws can be repeated. snapsafe_rt keeps such a generator as it is:
        # after a restore it goes on alike in every clone, unless it is seeded anew.
        self.seed = snapsafe_rt.entropy(8).hex()
        self.repeatable = random.Random(self.seed)

    def work(self, job, epoch):
        (length,) = self.connection.execute("select length(?)", (job,)).fetchone()
        draws = f"{self.dice.getrandbits(32):08x} {self.repeatable.getrandbits(32):08x}"
        with printing:
            print(f"{self.name} epoch {epoch} seed {self.seed} draws {draws} length {length}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Works on lines in threads, safe to snapshot and clone.")
    parser.add_argument("--threads", type=int, default=3)
    parser.add_argument("--database", default=":memory:", help="default: one in memory for each thread")
    options = parser.parse_args()
    if sys.stdin.isatty():
        print("a line is a job; end with Ctrl-D", file=sys.stderr)
    jobs = queue.Queue()
    workers = [Worker(jobs, options.database) for _ in range(max(1, options.threads))]
    for worker in workers:
        worker.start()
    for line in sys.stdin:
        jobs.put(line.rstrip("\n"))
    for _ in workers:
        jobs.put(None)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(130)  # at once: a thread may hold what the interpreter's end would wait for
