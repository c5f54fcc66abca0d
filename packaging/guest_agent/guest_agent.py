#!/usr/bin/env python3
# snapsafe manager --print guest_agent.py >guest_agent.py
"""A guest agent: the host tells it of a restore, and it tells every program of this machine by `snapsafe trigger`.

    guest_agent.py --vsock 5005                     the host connects, sends entropy, and reads the answer
    guest_agent.py --unix /run/snapsafe/agent       the same over a Unix socket: another hypervisor's channel, or a test
    guest_agent.py --mmds latest/snapsafe/entropy   asks Firecracker's metadata service; the host puts hex digits there

Run it as root, from before the snapshot on. One connection, or one new value, is one restore. The host sends 16 to 512
bytes, which must be secret and different for each clone, and then ends its half of the connection. The answer is one
line:

    restored OLD -> NEW         programs are told, and the kernel is reseeded
    moved OLD -> NEW, but ...   programs are told; the kernel was not reseeded
    failed: ...                 programs are not told

Programs that run may draw old values until then. So let work in only after "restored".

Instead of entropy the host may send the word "quiesce" before a snapshot, and "unquiesce" after it, in the original and
in each clone: programs are asked and told (docs/orchestrators.md; the manager has to run). The answer is one line: the
exit code of the command, and its JSON or its message.

Everything else on the command line is for `snapsafe trigger`, such as --path FILE; --create is always given.
"""

import argparse
import contextlib
import http.client
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

LEAST, MOST = 16, 512  # bytes, as `snapsafe trigger --entropy`
SECONDS = 10.0  # the host has this long to send them
SNAPSAFE = [sys.executable, "-m", "snapsafe_rt"]
TRIGGER = [*SNAPSAFE, "trigger", "--create"]
PHASES = {b"quiesce": ["--hold", "--json"], b"unquiesce": ["--json"]}


def trigger(entropy: bytes, more: list[str]) -> str:
    """Tell the programs here. If the host sent too little entropy it is a restore all the same."""
    short = 0 < len(entropy) < LEAST
    given = ["--entropy", "-"] if entropy and not short else []
    done = subprocess.run([*TRIGGER, *more, *given], input=entropy if given else b"", capture_output=True, check=False)
    moved, reason = done.stdout.decode().strip(), done.stderr.decode().strip().replace("\n", " ")
    if short:
        reason = f"{len(entropy)} bytes are no entropy: {LEAST} to {MOST} are needed"
    if not moved:
        return f"failed: {reason}"
    return f"moved {moved}, but {reason}" if reason else f"restored {moved}"


def phase(word: bytes) -> str:
    done = subprocess.run([*SNAPSAFE, word.decode(), *PHASES[word]], capture_output=True, text=True, check=False)
    return f"{done.returncode} {' '.join((done.stdout + done.stderr).split())}"


# ---- the host connects ----


def listen_on_vsock(port: int) -> socket.socket:
    server = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    server.bind((socket.VMADDR_CID_ANY, port))
    return server


def listen_on_unix(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    server.bind(path)
    os.umask(before)
    return server


def may_tell(connection: socket.socket, peer: object, host: int) -> bool:
    """Over vsock only the host may tell; over a Unix socket only root and our own user."""
    if connection.family == socket.AF_UNIX:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", credentials)[1] in (0, os.geteuid())
    return isinstance(peer, tuple) and peer[0] == host


def serve(server: socket.socket, host: int, more: list[str]) -> None:
    server.listen()
    print("ready", flush=True)
    while True:
        connection, peer = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(SECONDS)
            if not may_tell(connection, peer, host):
                connection.sendall(b"failed: not the host\n")
                continue
            entropy = b""
            with contextlib.suppress(TimeoutError):  # a connection is a restore, even if the bytes do not come
                while piece := connection.recv(4096):
                    entropy = (entropy + piece)[:MOST]
            answer = phase(entropy) if entropy in PHASES else trigger(entropy, more)
            print(answer, flush=True)
            connection.sendall(answer.encode() + b"\n")


# ---- we ask ----


def values_of_mmds(address: str, path: str, seconds: float) -> Iterator[bytes]:
    """Yields each new value of the metadata service, V2. The service forgets its values and session tokens over a
    snapshot, so each look begins a session. Any process with a route to the service can read the value."""
    last = b""
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection = http.client.HTTPConnection(address, timeout=SECONDS)
            with contextlib.closing(connection):
                connection.request("PUT", "/latest/api/token", headers={"X-metadata-token-ttl-seconds": "60"})
                token = connection.getresponse().read().decode()
            with contextlib.closing(connection):
                connection.request("GET", f"/{path.lstrip('/')}", headers={"X-metadata-token": token})
                answer = connection.getresponse()
                value = bytes.fromhex(answer.read().decode()) if answer.status == 200 else last
            if value != last:
                last = value
                yield value
        time.sleep(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--vsock", metavar="PORT", type=int)
    way.add_argument("--unix", metavar="PATH")
    way.add_argument("--mmds", metavar="KEY")
    parser.add_argument("--host", metavar="CID", type=int, default=2, help="who may connect by vsock (default: 2)")
    parser.add_argument("--address", default="169.254.169.254", help="of the metadata service")
    parser.add_argument("--every", metavar="SECONDS", type=float, default=0.2, help="how often it is asked")
    options, more = parser.parse_known_args()
    if options.vsock is not None:
        serve(listen_on_vsock(options.vsock), options.host, more)
    elif options.unix:
        serve(listen_on_unix(options.unix), options.host, more)
    for entropy in values_of_mmds(options.address, options.mmds, options.every):
        print(trigger(entropy, more), flush=True)


if __name__ == "__main__":
    main()
