"""PATH HOW: in the middle of gauss() another thread draws of the same instance, in four copies of the process."""

import os
import random
import sys
import threading

from stage import bump


class InTheMiddle(random.Random):
    draws = 0

    def random(self):
        value = super().random()
        self.draws += 1
        if self.draws == 2:
            clone()
        return value


rng = InTheMiddle()
reader, writer = os.pipe()


def elsewhere(call, *arguments):
    drawn = []
    other = threading.Thread(target=lambda: drawn.append(call(*arguments)))
    other.start()
    other.join()
    return drawn[0]


def clone():
    for _ in range(3):
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
            elsewhere(rng.getrandbits, 32)
            return
    bump()
    os.close(writer)
    for _ in range(3):
        os.wait()
    os._exit(0)


class Mean:
    def __add__(self, distance):
        if sys.argv[2] == "raises":
            raise ValueError
        return elsewhere(rng.gauss, 0, 1)


def twice():
    if sys.argv[2] == "ends":
        return rng.gauss(0, 1), rng.gauss(0, 1)
    if sys.argv[2] == "goes on":
        drawn = []

        class Kept(Mean):
            def __add__(self, distance):
                drawn.append(super().__add__(distance))
                return 0.0

        rng.gauss(Kept(), 1)
        return drawn[0], rng.gauss(0, 1)
    try:
        rng.gauss(Mean(), 1)
    except ValueError:
        return rng.gauss(0, 1), rng.gauss(0, 1)


drawn = twice()
os.write(1, f"{drawn[0]}\n{drawn[1]}\n".encode())
os._exit(0)
