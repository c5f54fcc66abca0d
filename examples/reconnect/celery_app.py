"""Celery with Redis: after a restore the process's TCP connections are ended; Celery sees that, and connects anew.

    snapsafe run celery --workdir examples/reconnect -A celery_app worker
    snapsafe run python examples/reconnect/celery_app.py

BROKER is the address of Redis. A worker waits for tasks on its connection: until that is ended no task comes any more.
"""

import os
import sys

import celery

import snapsafe_rt
from snapsafe_rt import recipes

recipes.connections()
broker = os.environ.get("BROKER", "redis://db.example")
app = celery.Celery("celery_app", broker=broker, backend=broker)


@app.task
def double(number):
    return 2 * number


if __name__ == "__main__":
    for line in sys.stdin:
        snapsafe_rt.check()
        print(double.delay(int(line)).get(), flush=True)
