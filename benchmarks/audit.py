"""python -m benchmarks.audit: what a draw costs more while SNAPSAFE_AUDIT records it, in nanoseconds.

Two processes, without and with, measured in turn; the least of each, and the difference. `deep`: called through 20
frames of a library, all of which are looked at.
"""

import json
import os
import subprocess
import sys

from benchmarks import pairs

CASES = {
    "random.random()": "random.random()",
    "random.randint(1, 6)": "random.randint(1, 6)",
    "os.urandom(16)": "os.urandom(16)",
    "uuid.uuid4()": "uuid.uuid4()",
    "random.random(), deep": "deep(20)",
    "os.environ['PATH']": "os.environ['PATH']",
}
SETUP = """
import json, os, random, sys, timeit, uuid
code = "import random\\ndef deep(n): return deep(n - 1) if n else random.random()"
exec(compile(code, "/site-packages/library.py", "exec"))
for line in sys.stdin:
    print(min(timeit.repeat(line, number=20000, repeat=5, globals=globals())) / 20000 * 1e9, flush=True)
"""
ROUNDS = 5


def main() -> int:
    with pairs.environments("synchronous") as (_, env):
        workers = [start(env), start({**env, "SNAPSAFE_AUDIT": "1"})]
        print("| a call of | without | with | more |\n|---|--:|--:|--:|")
        for name, statement in CASES.items():
            rounds = [[ask(worker, statement) for worker in workers] for _ in range(ROUNDS)]
            without, audited = (min(each) for each in zip(*rounds, strict=True))
            print(f"| `{name}` | {without:.0f} ns | {audited:.0f} ns | {audited - without:.0f} ns |")
        for worker in workers:
            worker.communicate()
    return 0


def start(env: dict[str, str]) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", SETUP], env={**os.environ, **env}, stdin=pipe, stdout=pipe, text=True
    )


def ask(worker: "subprocess.Popen[str]", statement: str) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(statement + "\n")
    worker.stdin.flush()
    return float(json.loads(worker.stdout.readline()))


if __name__ == "__main__":
    sys.exit(main())
