"""The start of a Python that does nothing: , stock against activated."""

from benchmarks.case import Case

MEMORY = """
import os
SHOW = "import os; print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmRSS')])"

def memory():
    with os.popen(f'{sys.executable} -c "{SHOW}"') as answer:
        return int(answer.read())
"""

CASES = [
    Case("python -c pass", "spawn('-c', 'pass')", own=True, more=1_500_000, calls=1, rounds=60, processes=2),
    Case("python -c pass, resident memory", "memory()", MEMORY, own=True, unit="KiB", more=400, calls=1, processes=2),
    Case("import random, uuid, ssl", "spawn('-c', 'import random, uuid, ssl')", own=True, calls=1, processes=2),
]
