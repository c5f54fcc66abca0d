"""Wants to be asked before a snapshot and told after it; says, when asked, what was called, and when."""

import random
import time

import channel

import snapsafe_rt

CONSOLE = channel.setting("CONSOLE", "")  # where it tells of each call as well, if its port is no way to do so
calls = []


def called(what):
    def call():
        calls.append((what, time.time()))
        if CONSOLE:
            with open(CONSOLE, "w") as console:
                console.write(f"\nphases:{what}:{snapsafe_rt.epoch()}:{random.getrandbits(64)}\n")

    return call


def request(seconds):
    """What stands at the beginning of each: the barrier."""
    began, late = time.time(), ""
    try:
        snapsafe_rt.check(seconds)
    except TimeoutError as error:
        late = str(error)
    return {"began": began, "late": late, "random": random.getrandbits(64), "ended": time.time()}


for name in "first", "second":
    snapsafe_rt.register_at_snapshot(
        before=called(f"{name} before"),
        after_in_original=called(f"{name} in original"),
        after_in_clone=called(f"{name} in clone"),
    )
channel.send(ready=True)
while True:
    seconds = float(channel.wait_for_host())
    channel.send(request=request(seconds), calls=calls, epoch=snapsafe_rt.epoch(), status=channel.status())
