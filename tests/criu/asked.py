"""What is asked before it is dumped: a service with a connection to somebody outside of its tree.

    asked.py FOLDER DATABASE

The database listens at that Unix socket. Writes FOLDER/ready.PID, and appends to FOLDER/log.PID what was called, with
what the database said to it.
"""

import os
import signal
import socket
import sys

import snapsafe_rt

FOLDER, DATABASE = sys.argv[1:3]
connection: socket.socket


def connect() -> str:
    global connection
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(DATABASE)
    connection.sendall(f"{ID.hex()}\n".encode())
    return connection.recv(100).decode()


def log(word: str) -> None:
    with open(f"{FOLDER}/log.{os.getpid()}", "a", encoding="ascii") as file:
        file.write(f"{word} {snapsafe_rt.epoch()}\n")


def before() -> None:
    log("before")
    connection.close()


def original() -> None:
    log(f"original {connect()}")


def clone() -> None:
    global ID
    ID = snapsafe_rt.entropy(8)
    log(f"clone {connect()}")


ID = snapsafe_rt.entropy(8)
connect()
snapsafe_rt.register_at_snapshot(before=before, after_in_original=original, after_in_clone=clone)
if os.fork() == 0:  # a worker, with a connection of its own
    connect()
with open(f"{FOLDER}/ready.{os.getpid()}", "w", encoding="ascii"):
    pass
while True:
    signal.pause()
