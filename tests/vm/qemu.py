"""Guests under QEMU: started, frozen into a file, copied from it. Nothing outlives its Guest, however the run ends."""

import contextlib
import json
import os
import pathlib
import selectors
import signal
import socket
import struct
import subprocess
import time

BOOT, ANSWER = 400, 150  # seconds: until a guest's program is ready; until QEMU or a program has answered
LIFETIME = 1500  # seconds a QEMU lives at most, even if this process is killed
VMCLOCK = 0xFEFFB000  # VMCLOCK_ADDR of QEMU's hw/acpi/vmclock.h: where the page lies in the guest's memory
FLAGS, GENERATION = 0x18, 0x68  # of struct vmclock_abi, linux/vmclock-abi.h
GENERATION_PRESENT = 1 << 8


class Trouble(Exception):
    """QEMU or a guest did not do what it should; says what, and where the logs are."""


def receive(stream, size, deadline):
    """Exactly size bytes of a socket, or Trouble at the deadline (time.monotonic())."""
    data = bytearray()
    while len(data) < size:
        stream.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            part = stream.recv(size - len(data))
        except TimeoutError:
            raise Trouble("no answer in time") from None
        if not part:
            raise Trouble("QEMU has ended")
        data += part
    return bytes(data)


class Qmp:
    """QEMU's control connection. Every line of it goes to the log."""

    def __init__(self, connection, log):
        self.connection, self.log = connection, log
        self.rest, self.events = b"", []
        self._next(time.monotonic() + ANSWER)
        self.command("qmp_capabilities")

    def _next(self, deadline):
        while b"\n" not in self.rest:
            self.rest += receive(self.connection, 1, deadline)
        line, _, self.rest = self.rest.partition(b"\n")
        self.log.write(f"{time.monotonic():.3f} < {line.decode()}\n")
        return json.loads(line)

    def command(self, name, **arguments):
        text = json.dumps({"execute": name, "arguments": arguments})
        self.log.write(f"{time.monotonic():.3f} > {text}\n")
        self.connection.sendall(text.encode())
        deadline = time.monotonic() + ANSWER
        while True:
            answer = self._next(deadline)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise Trouble(f"{name}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_migration(self):
        """Until the state is written, or read."""
        deadline = time.monotonic() + ANSWER
        while True:
            for event in self.events:
                state = event["data"].get("status") if event["event"] == "MIGRATION" else None
                if state == "failed":
                    raise Trouble("the guest's state could not be written or read")
                if state == "completed":
                    self.events.clear()
                    return
            self.events = [event for event in [self._next(deadline)] if "event" in event]


class Guest:
    """One QEMU. `lab` has what was provisioned and where to write; `machine` what the hardware is, see Lab.command;
    `origin` is the snapshot of which this will be a copy."""

    ports = ("lab",)  # virtio serial ports, by name; the first is `channel`

    def __init__(self, lab, name, machine, origin=None):
        self.lab, self.name, self.machine = lab, name, machine
        self.folder = pathlib.Path(lab.folder, name)
        self.folder.mkdir()
        self.heard = self.ready = None
        self.control, theirs = socket.socketpair()
        ends = [socket.socketpair() for _ in self.ports]
        self.channels = [ours for ours, _ in ends]
        self.channel = self.channels[0]
        for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self.channel.setsockopt(socket.SOL_SOCKET, size, 1 << 22)
        passed = [theirs, *(port for _, port in ends)]
        command = [
            *lab.command(machine),
            *self.drives(origin),
            *("-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"),
            *("-serial", f"file:{self.folder}/console", "-device", f"virtio-serial-pci,max_ports={len(ends) + 1}"),
            *("-gdb", f"unix:{self.folder}/gdb,server=on,wait=off"),
            *(["-incoming", "defer"] if origin else []),
            *(["-S"] if machine.generation else []),
        ]
        for number, (port, name) in enumerate(zip(passed[1:], self.ports, strict=True), 1):
            command += ["-chardev", f"socket,id=port{number},fd={port.fileno()}"]
            command += ["-device", f"virtserialport,chardev=port{number},nr={number},name={name}"]
        with open(self.folder / "qemu", "w") as errors:
            errors.write(" ".join(map(str, command)) + "\n")
            errors.flush()
            self.process = subprocess.Popen(
                ["timeout", "-k", "5", str(LIFETIME), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[end.fileno() for end in passed],
                start_new_session=True,
                env=os.environ | lab.environment,
            )
        lab.guests.add(self)
        for end in passed:
            end.close()
        self.log = open(self.folder / "qmp", "w", buffering=1)  # noqa: SIM115 - as long as the guest
        with self._explained("did not start"):
            self.qmp = Qmp(self.control, self.log)

    def drives(self, origin):
        """QEMU's options for the disks of this guest."""
        return ()

    @contextlib.contextmanager
    def _explained(self, what):
        try:
            yield
        except (Trouble, OSError) as error:
            self.kill()
            self.lab.failed = True
            raise Trouble(f"guest {self.name} {what}: {error}; logs: {self.folder}{self._console()}") from None

    def _console(self):
        """Its last lines, indented: only that is left where a machine goes after a failure."""
        console = self.folder / "console"
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        return "".join(f"\n    console: {line[:200]!r}" for line in lines[-20:])

    def message(self, seconds=ANSWER):
        """The next report of the guest's program: a dictionary, its bytes under "blob"."""
        with self._explained("sent no report"):
            deadline = time.monotonic() + seconds
            text, blob = struct.unpack("<II", receive(self.channel, 8, deadline))
            what = json.loads(receive(self.channel, text, deadline))
            if "failed" in what:
                raise Trouble(what["failed"])
            return what | {"blob": receive(self.channel, blob, deadline)}

    def silent(self, seconds):
        """True if no report comes for so long; `heard` is when that was clear."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            quiet = not selector.select(seconds)
        self.heard = time.monotonic()
        return quiet

    def tell(self, data=b"go"):
        self.channel.sendall(data)

    def snapshot(self, name, resume=True):
        """Freezes the guest, writes its state to a new file and returns that; `resume`: the guest goes on."""
        path = pathlib.Path(self.lab.folder, name)
        with self._explained("was not written"):
            self.qmp.command("stop")
            self.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
            self.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
            self.qmp.events.clear()
            self.qmp.command("migrate", uri=f"file:{path}")
            self.qmp.wait_migration()
            deadline = time.monotonic() + ANSWER
            while resume and self.qmp.command("query-status")["status"] != "postmigrate":  # told after the event
                if time.monotonic() > deadline:
                    raise Trouble("QEMU does not go on after a migration")
                time.sleep(0.01)
            if resume:
                self.qmp.command("cont")
        return path

    def restore(self, path):
        with self._explained("was not restored"):
            self.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
            self.qmp.events.clear()
            self.qmp.command("migrate-incoming", uri=f"file:{path}")
            self.qmp.wait_migration()

    def run(self):
        """Lets the vCPUs run; returns when, as time.monotonic()."""
        now = time.monotonic()
        self.qmp.command("cont")
        return now

    def write_clock(self, offset, value):
        """Writes 8 bytes of the VMClock page through QEMU's gdb stub, as no one but the hypervisor can."""
        packets = "Qqemu.PhyMemMode:1", f"M{VMCLOCK + offset:x},8:{struct.pack('<Q', value).hex()}"
        with self._explained("could not be written to"), socket.socket(socket.AF_UNIX) as stub:
            stub.connect(f"{self.folder}/gdb")
            for packet in packets:
                stub.sendall(f"${packet}#{sum(packet.encode()) & 255:02x}".encode())
                answer, deadline = b"", time.monotonic() + ANSWER
                while not answer.endswith(b"#9a"):  # $OK#9a
                    answer += receive(stub, 1, deadline)
                    if b"$E" in answer:
                        raise Trouble(f"gdb stub: {packet}: {answer}")
                stub.sendall(b"+")

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.lab.guests.discard(self)
        for thing in (self.control, *self.channels, self.log):
            thing.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.kill()
