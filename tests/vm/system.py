"""A guest that runs Debian with systemd: Lab.boot(name, System()), Lab.clone(name, System(), snapshot).

The project is in /opt/app, a virtual environment; there is a user lab (1000). /data is an ext4 file system of the
guest's own; all else that is written lies in memory. What the host asks is done by root: guest/system/agent.py. The
fixture `system` gives copies of one that has just booted.
"""

import json
import os
import pathlib
import shlex
import shutil
import struct
import time
from typing import NamedTuple

from tests.vm.lab import KERNEL
from tests.vm.qemu import ANSWER, Guest, Trouble, receive

PYTHON, SNAPSAFE = "/opt/app/bin/python3", "/opt/app/bin/snapsafe"
UNIT = """\
[Service]
ExecStart={run}{python} -X faulthandler /usr/lib/lab/{program}.py
Environment=LAB_NAME={name}
{lines}
"""


class Done(NamedTuple):
    code: "int | None"
    """None: it did not end in time, and was killed."""
    out: str
    error: str


class SystemGuest(Guest):
    """`ready` has "state" (of systemctl is-system-running), "units" (failed ones), "systemd" (its version)."""

    ports = ("lab", "org.qemu.guest_agent.0")

    def drives(self, origin):
        """The root, which is only read, and /data: of the snapshot, if this is a copy."""
        self.data = self.folder / "data"
        shutil.copyfile(f"{origin}.data" if origin else self.lab.home / "system/data", self.data)
        drives = ("base", self.lab.home / "system/disk", ",readonly=on"), ("data", self.data, ",cache=unsafe")
        return [
            word
            for name, path, more in drives
            for word in (
                *("-drive", f"id={name},file={path},format=raw,if=none{more}"),
                *("-device", f"virtio-blk-pci,drive={name},romfile="),
            )
        ]

    def snapshot(self, name, resume=True):
        self.qmp.command("stop")  # and what was written is in the file then
        shutil.copyfile(self.data, f"{self.lab.folder / name}.data")
        return super().snapshot(name, resume)

    def kill(self):
        super().kill()
        self.data.unlink(missing_ok=True)

    # ---- commands ----

    def _ask(self, what, seconds, **arguments):
        """Reports of programs that come meanwhile are kept for hear()."""
        text = json.dumps({"do": what, **arguments}).encode()
        self.channel.sendall(struct.pack("<I", len(text)) + text)
        deadline = time.monotonic() + seconds
        while True:
            message = self.message(deadline - time.monotonic())
            if "answer" in message:
                return message["answer"]
            self._heard(message)

    def run_command(self, *command, text="", seconds=300):
        """Done. The command's standard input is `text`."""
        return Done(**self._ask("run", seconds + ANSWER, command=list(map(str, command)), text=text, limit=seconds))

    def do(self, *command, text="", seconds=300):
        """The command's standard output. Raises Trouble if its exit code is not 0."""
        code, out, error = self.run_command(*command, text=text, seconds=seconds)
        if code != 0:
            raise Trouble(f"guest {self.name}: {shlex.join(map(str, command))}: code {code}\n{out}\n{error}")
        return out

    def put(self, path, text, mode=0o644):
        """A file, and its folder."""
        self._ask("put", ANSWER, path=path, text=text, mode=mode)

    def until(self, true, seconds=150):
        """Calls true() until it is true of what it returns, and returns that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = true()
            if found:
                return found
            time.sleep(0.05)
        raise Trouble(f"guest {self.name}: not within {seconds} s; the last was {found!r}")

    # ---- programs of guest/, as services ----

    def start(self, name, program, *lines, protected=True, drop_ins=(), **settings):
        """Starts guest/PROGRAM.py as NAME.service, with further lines of its [Service] section and the environment
        `settings`, and returns the first that it reports. protected=False: by stock Python."""
        words = [*lines, *(f'Environment="{key}={value}"' for key, value in settings.items())]
        if not protected:
            words.append("Environment=SNAPSAFE=0")
        run = f"{SNAPSAFE} run " if protected else ""
        text = UNIT.format(run=run, python=PYTHON, program=program, name=name, lines="\n".join(words))
        self.put(f"/etc/systemd/system/{name}.service", text)
        for number, drop_in in enumerate(drop_ins):
            self.put(f"/etc/systemd/system/{name}.service.d/{number}.conf", drop_in)
        self.do("systemctl", "daemon-reload")
        self.do("systemctl", "start", name)
        return self.hear(name)

    def hear(self, name, seconds=ANSWER):
        """The next report of the program of that name: a dictionary, its bytes under "blob"."""
        deadline = time.monotonic() + seconds
        while not self.reports.get(name):
            self._heard(self.message(deadline - time.monotonic()))
        report = self.reports[name].pop(0)
        if "failed" in report:
            raise Trouble(f"guest {self.name}: {name}: {report['failed']}")
        return report

    def _heard(self, message):
        self.reports.setdefault(message["name"], []).append(message["report"] | {"blob": message["blob"]})

    @property
    def reports(self):
        return self.__dict__.setdefault("_reports", {})

    def tell_program(self, name, data=b"go"):
        self._ask("tell", ANSWER, name=name, data=data.hex())

    # ---- the QEMU guest agent ----

    def agent(self, command, seconds=ANSWER, **arguments):
        """What the QEMU guest agent answers: agent("guest-ping"). Raises Trouble for an error of it."""
        channel, deadline = self.channels[1], time.monotonic() + seconds
        mark = int.from_bytes(os.urandom(4), "little")
        # What another host asked before the snapshot may be answered now: see guest-sync-delimited.
        channel.sendall(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n' % mark)
        while self._line(channel, deadline, b"\xff") != {"return": mark}:
            pass
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        channel.sendall(json.dumps(request).encode() + b"\n")
        answer = self._line(channel, deadline)
        if "error" in answer:
            raise Trouble(f"guest {self.name}: {command}: {answer['error']['desc']}")
        return answer["return"]

    def _line(self, channel, deadline, after=b""):
        while after and receive(channel, 1, deadline) != after:
            pass
        line = b""
        while not line.endswith(b"\n"):
            line += receive(channel, 1, deadline)
        return json.loads(line)


class System(NamedTuple):
    cpus: int = 1
    rdrand: bool = True
    generation: bool = False
    memory: int = 512  # MiB
    guest: type = SystemGuest

    def hardware(self, lab):
        pack = (
            "mkdir -p added/usr/lib/lab added/etc/systemd/system/multi-user.target.wants"
            ' && cp "$0"/guest/*.py "$0"/guest/system/agent.py added/usr/lib/lab/'
            ' && cp "$0/../helpers/surfaces.py" "$0/../../snapsafe_rt/cli/demo_surfaces.py" added/usr/lib/lab/'
            ' && cp "$0/guest/system/init" init && chmod 755 init'
            ' && cp "$0/guest/system/lab.service" added/etc/systemd/system/'
            " && ln -s ../lab.service added/etc/systemd/system/multi-user.target.wants/"
        )
        disk = lab.packed(("system",), ("system/initrd", "system/site"), pack)
        words = f"{KERNEL} modprobe.blacklist=kvm_amd,kvm_intel,ahci,serio_raw"
        return ["-m", self.memory, "-initrd", disk, "-append", words]


def document(name, title):
    """The first block of commands, or of a file, below that title of docs/."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / name).read_text()
    return text.partition(f"\n{title}")[2].split("```")[1].partition("\n")[2]
