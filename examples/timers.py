"""Timers that a restore does not set off all at once, in every clone.

    snapsafe run python examples/timers.py [--seconds 60]

CLOCK_MONOTONIC may jump over a restore by the time that the snapshot lay: then every timer is due at once, in all
clones at the same moment. Or it stands still, and a timer has as long to go as it had. Look at: `_fire` goes by the
epoch, not by the clock, for it may run before any callback; `_arm` begins anew, at a moment of the clone's own.
"""

import argparse
import asyncio
import random
import sys

import snapsafe_rt


class Every:
    """Calls `job` every so many seconds, on the loop that runs. After a restore the first call is within so many."""

    def __init__(self, seconds, job):
        self.seconds, self.job = seconds, job
        self.loop = asyncio.get_running_loop()
        self.timer = None
        self._arm(seconds)
        snapsafe_rt.register_after_restore(self._restored)  # for a clock that stood still: nothing fires by itself

    def _arm(self, seconds):
        if self.timer is not None:
            self.timer.cancel()
        self.epoch = snapsafe_rt.epoch()
        self.timer = self.loop.call_later(seconds, self._fire)

    def _restored(self):
        if self.epoch != snapsafe_rt.epoch():  # else _fire was quicker
            self._arm(random.uniform(0, self.seconds))

    def _fire(self):
        if self.epoch != snapsafe_rt.epoch():
            self._restored()
            return
        self._arm(self.seconds)
        self.job()


async def main(seconds):
    Every(seconds, lambda: print(f"restores: {snapsafe_rt.epoch()}", flush=True))
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prints a line every so many seconds.")
    parser.add_argument("--seconds", type=float, default=60)
    try:
        asyncio.run(main(parser.parse_args().seconds))
    except KeyboardInterrupt:
        sys.exit(130)
