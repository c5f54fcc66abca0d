"""For scripts, by *: each call of `sqlite3` that draws, with what prepares it before the snapshot."""

# ruff: noqa: F401 - what scripts take from here by *
import atexit
import json
import os
import sqlite3
import sys
import threading

from drawing import PLACES, distinct, restored_twice, source

ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT randomblob(16) FROM c"
FIVE = ENDLESS.replace("FROM c)", "FROM c WHERE n < 5)")


class Cursor(sqlite3.Cursor):
    pass


class Iterated(sqlite3.Cursor):
    def __next__(self):
        return super().__next__()


def connect():
    # A thread of the clone uses it too; nobody else does at the same time.
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE TABLE t (n, x)")
    return connection


connection = connect()
atexit.register(connection.close)
cursor = None


def running(cls=sqlite3.Cursor):
    """Prepares a statement that is between two rows. The row that it has ready was drawn before the snapshot."""

    def prepare():
        global cursor
        connection.execute("SELECT randomblob(16)").fetchone()
        cursor = connection.cursor(cls).execute(ENDLESS)
        cursor.fetchone()

    return prepare


def finite():
    global cursor
    connection.execute("SELECT randomblob(16)").fetchone()
    cursor = connection.execute(FIVE)


def loop():
    for number, (value,) in enumerate(cursor):
        if number == 1:
            return value
    raise AssertionError("the statement ended")


def inserted(call, statement, *arguments):
    call(statement, *arguments)
    return connection.execute("SELECT x FROM t ORDER BY rowid DESC").fetchone()[0]


def opened():
    with sqlite3.connect(":memory:") as other:
        value = other.execute("SELECT randomblob(16)").fetchone()[0]
    other.close()
    return value


def text(value):
    return str(value).encode()


def used():
    return connection.execute("SELECT randomblob(16)").fetchone()


SURFACES = {
    "randomblob": (used, lambda: connection.execute("SELECT randomblob(16)").fetchone()[0]),
    "random": (used, lambda: text(connection.execute("SELECT random()").fetchone()[0])),
    "cursor.execute": (used, lambda: connection.cursor().execute("SELECT randomblob(16)").fetchone()[0]),
    "subclass.execute": (used, lambda: connection.cursor(Cursor).execute("SELECT randomblob(16)").fetchone()[0]),
    "for row in cursor": (running(), loop),
    "for row in subclass": (running(Cursor), loop),
    "for row in overridden": (running(Iterated), loop),
    "next": (running(), lambda: [next(cursor)[0] for _ in range(2)][1]),
    "__next__": (running(), lambda: [cursor.__next__()[0] for _ in range(2)][1]),
    "list": (finite, lambda: list(cursor)[2][0]),
    "fetchone": (running(), lambda: [cursor.fetchone()[0] for _ in range(2)][1]),
    "fetchmany": (running(), lambda: cursor.fetchmany(2)[1][0]),
    "fetchall": (finite, lambda: cursor.fetchall()[2][0]),
    "executemany": (
        used,
        lambda: inserted(connection.executemany, "INSERT INTO t VALUES (?, randomblob(16))", [(1,), (2,)]),
    ),
    "cursor.executemany": (
        used,
        lambda: inserted(connection.cursor().executemany, "INSERT INTO t VALUES (?, randomblob(16))", [(1,), (2,)]),
    ),
    "executescript": (used, lambda: inserted(connection.executescript, "INSERT INTO t VALUES (1, randomblob(16));")),
    "cursor.executescript": (
        used,
        lambda: inserted(connection.cursor().executescript, "INSERT INTO t VALUES (1, randomblob(16));"),
    ),
    "opened after": (used, opened),
}


def row():
    import snapsafe_rt

    return next(row for row in snapsafe_rt.status().rows if row.name == "sqlite3")
