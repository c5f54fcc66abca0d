"""Does what the harness asks, one thing after the other, and passes on what programs report.

Of the harness come a 32-bit length and JSON. To it go messages as channel.py has them: "answer" to what was asked, or
"name" of the program and its "report". Programs connect to /run/lab/socket: see channel.py.
"""

import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys

HEAD = struct.Struct("<II")
LENGTH = struct.Struct("<I")


def exactly(read, size):
    data = b""
    while len(data) < size:
        part = read(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class Agent:
    def __init__(self):
        self.port = os.open("/dev/virtio-ports/lab", os.O_RDWR)
        self.programs = {}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("/run/lab/socket")
        os.chmod("/run/lab/socket", 0o666)
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.port, selectors.EVENT_READ, self.asked)
        self.selector.register(self.listener, selectors.EVENT_READ, self.connected)

    def send(self, blob=b"", **what):
        text = json.dumps(what).encode()
        data = memoryview(HEAD.pack(len(text), len(blob)) + text + blob)
        while data:
            data = data[os.write(self.port, data) :]

    def asked(self):
        def read(size):
            return os.read(self.port, size)

        (length,) = LENGTH.unpack(exactly(read, LENGTH.size))
        what = json.loads(exactly(read, length))
        try:
            self.send(answer=getattr(self, f"do_{what.pop('do')}")(**what))
        except (OSError, KeyError) as error:
            self.send(failed=f"{what}: {error!r}")

    def do_run(self, command, text, limit):
        """With its own process group, which does not outlive that many seconds."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, error = process.communicate(text, limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, error = process.communicate()
            return {"code": None, "out": out, "error": error}
        return {"code": process.returncode, "out": out, "error": error}

    def do_put(self, path, text, mode):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)

    def do_tell(self, name, data):
        self.programs[name].sendall(bytes.fromhex(data))

    def connected(self):
        peer = self.listener.accept()[0]
        try:
            self.programs[self.report(peer)[0]["name"]] = peer
        except EOFError:
            return
        self.selector.register(peer, selectors.EVENT_READ, lambda: self.reported(peer))

    def report(self, peer):
        text, blob = HEAD.unpack(exactly(peer.recv, HEAD.size))
        return json.loads(exactly(peer.recv, text)), exactly(peer.recv, blob)

    def reported(self, peer):
        [name] = [name for name, known in self.programs.items() if known is peer]
        try:
            report, blob = self.report(peer)
        except (EOFError, ConnectionResetError):
            self.selector.unregister(peer)
            del self.programs[name]
            peer.close()
            return
        self.send(blob, name=name, report=report)

    def run(self):
        state = self.do_run(["systemctl", "is-system-running", "--wait"], "", 380)["out"].strip()
        failed = self.do_run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"], "", 10)["out"]
        version = self.do_run(["systemctl", "--version"], "", 10)["out"].splitlines()[0]
        self.send(ready=True, python=sys.version.split()[0], state=state, units=failed, systemd=version)
        while True:
            for key, _ in self.selector.select():
                key.data()


Agent().run()
