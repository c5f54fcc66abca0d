"""random: what is only checked, so the check is the cost; also after restores, and against a wrapper in Python."""

from benchmarks.case import Case

RANDOM = "import random\ndraw = random.random"
BITS = "import random\ndraw = random.getrandbits"
WRAPPER = """
import mmap, random, struct
page = memoryview(mmap.mmap(-1, 4096)).cast("Q")
known, stock = page[13], random.random
def draw():
    if page[13] != known:
        random.seed()
    return stock()
"""

CASES = [
    Case("random.random()", "draw()", RANDOM, ratio=1.10, more=2.0, counted=True),
    Case("random.random() after 1 restore", "draw()", f"{RANDOM}\nrestore()", ratio=1.10, more=2.0),
    Case(
        "random.random() after 1,000 restores", "draw()", f"{RANDOM}\nrestore(1000)", ratio=1.10, more=2.0, processes=3
    ),
    Case("random.getrandbits(64)", "draw(64)", BITS, ratio=1.06, counted=True),
    Case("random.gauss(0, 1)", "draw(0, 1)", "import random\ndraw = random.gauss", counted=True),
    Case("Random(2**40 + 1), a chosen seed", "Random(1 << 40 | 1)", "from random import Random", ratio=1.05),
    Case("Random(), own instance", "draw()", "import random\ndraw = random.Random().random", ratio=1.10, more=2.0),
    Case("random.random(), against a check written in Python", "draw()", RANDOM, rival=WRAPPER, ratio=1.0),
]
