"""A function for AWS Lambda, with hooks of snapshot_restore_py and, where that is there, of snapsafe_rt."""

import random
import sys

import snapshot_restore_py as hooks

random.random()
ORDER, STATE = [], []


@hooks.register_before_snapshot
def close():
    ORDER.append("handler's before")


@hooks.register_after_restore
def reopen():
    ORDER.append(f"handler's after, {epoch()}")


if "snapsafe_rt" in sys.modules:
    import snapsafe_rt
    from snapsafe_rt import epoch

    @snapsafe_rt.register_before_snapshot
    def ours_before():
        ORDER.append("program's before")

    @snapsafe_rt.register_after_restore
    def ours_after():
        ORDER.append(f"program's after, {snapsafe_rt.cause()}")
else:

    def epoch():
        return None


@hooks.register_before_snapshot
def last():
    STATE.append(random.getstate())


@hooks.register_after_restore
def report():
    import http.client
    import json
    import os

    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    said = {"order": ORDER, "state": STATE[0], "drawn": random.random(), "epoch": epoch()}
    connection.request("POST", "/report", json.dumps(said))
    connection.getresponse()


def handler(event, context): ...
