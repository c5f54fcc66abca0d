"""For scripts: how many different values do clones of this process draw? argv[1] is the source's path."""

import json
import os
import sys
import threading

import snapsafe_rt
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import clone_here, run_clones

CLONES = 50

source = FileSource(sys.argv[1])


def distinct(draw, prepare=None, count=CLONES, place="main"):
    """How many different values `count` clones give, of which each draws once. 77 ends the script where the pid of a
    clone is not its template's: what looks at it would notice, and the twin would prove nothing."""
    made = run_clones(count, lambda number: PLACES[place](draw), prepare=prepare, source=source)
    if not made.same_pid:
        print("neither CAP_SYS_ADMIN nor user namespaces")
        sys.exit(77)
    assert all(made)
    return len(set(made))


def told(name, drawn, same):
    """What a clone of tell_clones() returns: what it drew, by surface; is each kept sequence stock's; that row."""
    row = next((row for row in snapsafe_rt.status().rows if row.name == name), None)
    return json.dumps([drawn, same, [row.protection, row.note] if row else None]).encode()


def tell_clones(count, body, prepare):
    """Prints JSON: was the pid the template's; what body(number) returned in each clone, made by told()."""
    clones = run_clones(count, body, prepare=prepare, source=source, timeout=120)
    print(json.dumps([clones.same_pid, [json.loads(clone) for clone in clones]]))


def restored_twice(draw, prepare, count=10):
    """Clones of clones. How many different values count + count * count draws give."""
    generation = source.generation + 1000

    def again(number):
        source.bump(generation + 1)
        return draw()

    def body(number):
        source.bump(generation)
        first = draw()
        clones = clone_here(count, again)
        assert not any(clone.status for clone in clones), [str(clone) for clone in clones]
        return b"".join([first, *(clone.output for clone in clones)])

    # One at a time, so that each of them finds the generations in their order.
    size = len(draw())
    made = b"".join(run_clones(count, body, prepare=prepare, parallel=1))
    assert len(made) == size * (count + count * count)
    return len({made[at : at + size] for at in range(0, len(made), size)})


def in_thread(draw):
    drawn = []
    thread = threading.Thread(target=lambda: drawn.append(draw()))
    thread.start()
    thread.join()
    return drawn[0]


def in_child(draw):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writer, draw())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        drawn = stream.read()
    assert os.waitpid(pid, 0)[1] == 0
    return drawn


PLACES = {"main": lambda draw: draw(), "thread": in_thread, "child": in_child}
