"""The restore event: from the change of a file to the first callback, in a process that sleeps."""

from benchmarks.case import Case

IDLE = """
import os, subprocess
SLEEPER = '''
import sys, time, snapsafe_rt
snapsafe_rt.register_after_restore(lambda: print(time.perf_counter_ns(), flush=True))
print("ready", flush=True)
sys.stdin.read()
'''
POLLER = '''
import os, time
path = os.environ["BENCHMARK_SOURCE"]
print("ready", flush=True)
with open(path, "rb", buffering=0) as file:
    known = os.pread(file.fileno(), 8, 0x68)
    while os.getppid() != 1:
        now = os.pread(file.fileno(), 8, 0x68)
        if now != known:
            known = now
            print(time.perf_counter_ns(), flush=True)
        time.sleep(0.001)
'''
from snapsafe_rt.source.vmclock_file import publish
path = os.environ["BENCHMARK_SOURCE"]
child = subprocess.Popen(
    [sys.executable, "-c", {program}], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
)
child.stdout.readline()

def event():
    import time
    time.sleep(0.02)  # until it sleeps again
    begin = clock()
    publish(path)
    return int(child.stdout.readline()) - begin
"""

CASES = [
    Case(
        "change to first callback, against looking each ms", "event()", IDLE.replace("{program}", "SLEEPER"), own=True,
        rival=IDLE.replace("{program}", "POLLER"), most=1_000_000, calls=1, processes=3,
    )
]  # fmt: skip
