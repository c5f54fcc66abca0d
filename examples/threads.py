"""Threads that own a connection and a generator, and renew both when they see that the epoch changed.

    snapsafe run python examples/threads.py [--threads 3]       (reads jobs from the standard input, one a line)

Look at: `check()` returns the epoch, and a thread compares it with the epoch in which its objects were made. A callback
would not do: it runs in one thread, and some objects belong to theirs. A sqlite3 connection can only be closed by the
thread that opened it.
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
        super().__init__(daemon=True)  # when the program is interrupted it does not wait for a thread that works
        self.jobs, self.database = jobs, database
        self.dice = random.Random()  # not seeded by hand, so it is renewed without any code
        self.connection = None

    def run(self):
        seen = None
        for job in iter(self.jobs.get, None):
            epoch = snapsafe_rt.check()  # also runs the program's callbacks, or waits for them
            if epoch != seen:
                self.renew()
                seen = epoch
            self.work(job, epoch)
        if self.connection:
            self.connection.close()

    def renew(self):
        if self.connection:
            self.connection.close()  # every clone has it, and all share its other end
        self.connection = sqlite3.connect(self.database)
        # Seeded by hand, so that this thread's draws can be repeated. snapsafe_rt leaves such a generator alone:
        # without this new seed it would draw the same in every clone.
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
        os._exit(130)  # at once: at a normal exit the interpreter may wait for what a thread holds
