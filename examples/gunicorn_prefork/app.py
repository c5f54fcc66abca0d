"""The application of gunicorn.conf.py; see there."""

import json
import os
import random

from middleware import SnapsafeWSGI

import snapsafe_rt


def make_instance():
    return snapsafe_rt.entropy(8).hex()


def renew():
    # per_generation() makes a value anew after a restore, not after a fork: a worker would keep the master's name.
    global instance
    instance = snapsafe_rt.per_generation(make_instance)


renew()
os.register_at_fork(after_in_child=renew)


@snapsafe_rt.register_after_restore  # before the fork: inherited by every worker
def announce():
    """Make this process known: to a service registry, to a lock server, in the log."""
    print(f"pid {os.getpid()} is instance {instance()}, restores: {snapsafe_rt.epoch()}", flush=True)


def hello(environ, start_response):
    answer = {
        "pid": os.getpid(),
        "instance": instance(),
        "restores": snapsafe_rt.epoch(),
        "trace": f"{random.getrandbits(64):016x}",
    }
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


application = SnapsafeWSGI(hello)  # check() at the start of each request
