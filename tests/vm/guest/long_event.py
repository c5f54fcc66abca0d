"""A program whose callback takes its time: it draws, waits for the harness, draws again."""

import os
import random
import ssl
import threading

import channel

import snapsafe_rt

calls = 0


def draw():
    return [random.getrandbits(64), ssl.RAND_bytes(8).hex(), os.urandom(8).hex()]


def restored():
    global calls
    calls += 1
    begun = draw()
    channel.send(begun=begun, calls=calls, epoch=snapsafe_rt.epoch())
    channel.wait_for_host()
    channel.send(ended=draw(), calls=calls, epoch=snapsafe_rt.epoch())


snapsafe_rt.register_after_restore(restored)
draw()
channel.send(ready=True, status=channel.status())
threading.Event().wait()
