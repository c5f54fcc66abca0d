"""numpy.random: its types' own slots lead through a look at the generation, and back to numpy."""

from benchmarks.case import Case

MODULE = "import numpy as np\nfrom numpy import random\n"
OURS = f"{MODULE}made = random.default_rng()\n"
# A generator with a seed that was chosen is looked at as well, and left alone.
CHOSEN = f"{MODULE}made = random.default_rng(42)\n"
RAW = f"{MODULE}made = random.PCG64()\n"

CASES = [
    Case("numpy.random.random()", "random.random()", MODULE, needs="numpy", ratio=1.06, counted=True),
    Case("numpy.random.randint(10)", "random.randint(10)", MODULE, needs="numpy", ratio=1.06),
    Case("numpy Generator.random()", "made.random()", OURS, needs="numpy", ratio=1.06, counted=True),
    Case("numpy Generator.random(), chosen seed", "made.random()", CHOSEN, needs="numpy", ratio=1.06, counted=True),
    Case("numpy Generator.integers(10)", "made.integers(10)", OURS, needs="numpy", ratio=1.06),
    Case("numpy PCG64.random_raw()", "made.random_raw()", RAW, needs="numpy", ratio=1.06, counted=True),
    Case("numpy Generator.random(10)", "made.random(10)", OURS, needs="numpy", ratio=1.04, counted=True),
    Case(
        "numpy Generator.shuffle() of 10", "made.shuffle(ten)", f"{OURS}ten = np.arange(10)", needs="numpy", ratio=1.04
    ),
    Case("numpy Generator.random(10**6)", "made.random(10**6)", OURS, needs="numpy", ratio=1.01, calls=20),
    Case("numpy.random.random(10**6)", "random.random(10**6)", MODULE, needs="numpy", ratio=1.01, calls=20),
]
