"""What a pool of uuid4's takes, of which each value gets 16 bytes: what the kernel and the CPU cost cannot be saved."""

from benchmarks.case import Case

POOL = 4072  # bytes, as of cython/pool.h

CASES = [
    Case(f"os.getrandom({POOL}), fence up", f"getrandom({POOL})", "from os import getrandom", stays="fence() is True")
]
