"""What every program in a guest shares: the way to the harness, and the look at the page that tells of a restore.

Messages go over a virtio serial port, after what they tell about: a header of two 32-bit lengths, JSON, bytes. Where
systemd is, LAB_NAME is the program's name for system/agent.py, which has the port.
"""

import json
import mmap
import os
import socket
import struct
import sys

HEAD = struct.Struct("<II")
PROTECTED = os.environ.get("SNAPSAFE") != "0"
_name = os.environ.get("LAB_NAME")
if _name is None:
    _port = os.open("/dev/" + next(name for name in os.listdir("/dev") if name.startswith("vport")), os.O_RDWR)
else:
    _peer = socket.socket(socket.AF_UNIX)
    _peer.connect("/run/lab/socket")
    _port = _peer.fileno()


def setting(name, default):
    return type(default)(os.environ.get(name, default))


def send(blob=b"", **what):
    if "ready" in what:
        what |= {"python": sys.version.split()[0]}
    text = json.dumps(what).encode()
    data = memoryview(HEAD.pack(len(text), len(blob)) + text + blob)
    while data:
        data = data[os.write(_port, data) :]


def wait_for_host():
    """Blocks until the harness sends something, which is returned."""
    return os.read(_port, 4096)


def watch_marker():
    """The disruption marker of the mapped page: item 0 of what is returned. QEMU changes it before a clone's vCPUs run,
    whatever the programs watch; without the driver too, where it is found in the machine's memory (takes root)."""
    path, offset = ("/dev/vmclock0", 0) if os.path.exists("/dev/vmclock0") else ("/dev/mem", 0xFEFFB000)
    page = mmap.mmap(os.open(path, os.O_RDONLY), 4096, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)
    return memoryview(page)[0x10:0x18].cast("Q")


def status():
    """What snapsafe_rt says of this process; None where it is switched off."""
    if not PROTECTED:
        return None
    import snapsafe_rt

    return snapsafe_rt.status().as_dict()


def eight_bytes(value):
    if isinstance(value, int):
        return value.to_bytes(8, "little")
    return getattr(value, "bytes", value)[-8:]


if _name is not None:
    send(name=_name)
if PROTECTED and "snapsafe_rt._core" not in sys.modules:
    send(failed="sitecustomize did not start snapsafe_rt")
    raise SystemExit(1)
