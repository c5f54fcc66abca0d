"""A job that cron starts on many clones at once: each waits for a time of its own and writes a name of its own.

    snapsafe run python examples/cron_job.py FOLDER [--jitter 60]       (in a crontab: cron_script.sh)

Look at: `wait()`. If the machine is snapshotted while the job sleeps, all clones have the delay that was drawn before
the snapshot, and would wake at the same moment. So a callback ends the sleep, and each clone draws a delay of its own.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time

import snapsafe_rt


def draw_delay(jitter):
    return random.uniform(0, jitter)


def wait(jitter):
    """Sleep for up to `jitter` seconds, so that not all machines work at the same moment."""
    restored = threading.Event()
    snapsafe_rt.register_after_restore(restored.set)  # called on another thread while this one sleeps
    try:
        while restored.wait(draw_delay(jitter)):  # False: the time is over, and there was no restore
            restored.clear()
    finally:
        snapsafe_rt.unregister(restored.set)


def report_name():
    """A name for a folder or bucket that all clones write to. `secrets` or `uuid4` would do as well."""
    return f"report-{time.strftime('%Y%m%d')}-{random.getrandbits(96):024x}.json"


def write_report(folder):
    """Readers see a whole report or none."""
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".report-", delete=False) as file:
        try:
            json.dump({"made": time.time(), "restores": snapsafe_rt.epoch()}, file)
            file.flush()
            path = os.path.join(folder, report_name())
            os.link(file.name, path)  # unlike a rename, this fails if the name exists
        finally:
            os.unlink(file.name)
    return path


def main():
    parser = argparse.ArgumentParser(description="Waits for up to JITTER seconds, then writes a report into FOLDER.")
    parser.add_argument("folder")
    parser.add_argument("--jitter", type=float, default=60, help="seconds (default 60)")
    options = parser.parse_args()
    wait(options.jitter)
    snapsafe_rt.check()  # begin the work with everything renewed
    try:
        print(write_report(options.folder))
    except OSError as error:
        sys.exit(f"cron_job.py: no report: {error}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
