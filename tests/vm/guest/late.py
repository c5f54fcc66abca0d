"""A file source that a script moves when the kernel has told of the restore: late. What was drawn meanwhile is told."""

import os
import random
import subprocess
import sys

import channel

PATH = "/run/snapsafe/vmclock0"
SCRIPT = f"""
import os
from snapsafe_rt.source.vmclock_file import FileSource
messages = os.open("/dev/kmsg", os.O_RDONLY)
os.lseek(messages, 0, os.SEEK_END)
print(flush=True)
while b"virtual machine fork" not in os.read(messages, 8192):
    pass
FileSource({PATH!r}).bump()
"""

script = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, env=os.environ | {"SNAPSAFE": "0"})
script.stdout.readline()
marker = channel.watch_marker()
channel.send(ready=True, status=channel.status())
before = marker[0]
while True:
    random.getrandbits(64)
    if marker[0] != before:
        break
with open(PATH, "rb", buffering=0) as file:

    def generation():
        return os.pread(file.fileno(), 8, 0x68)

    old, meanwhile = generation(), []
    while generation() == old:
        meanwhile.append(random.getrandbits(64))
    after = [random.getrandbits(64) for _ in range(2000)]
blob = b"".join(value.to_bytes(8, "little") for value in meanwhile + after)
channel.send(blob, meanwhile=len(meanwhile), status=channel.status())
channel.wait_for_host()
