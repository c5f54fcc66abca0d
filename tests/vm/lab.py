"""Where guests run: what is provisioned, how a machine becomes a command, and how many clones run at a time."""

import atexit
import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tests.vm.qemu import BOOT, FLAGS, GENERATION, GENERATION_PRESENT, Guest, Trouble

HERE = pathlib.Path(__file__).resolve().parent
AT_ONCE = int(os.environ.get("SNAPSAFE_VM_AT_ONCE") or min(2, os.cpu_count() or 1))
PROVISION = 1800  # seconds
MORE = float(os.environ.get("SNAPSAFE_VM_MORE") or 1)  # times as many clones; of those that must not repeat if below 1

# Without what costs an emulated machine time alone: nobody attacks it.
KERNEL = "console=ttyS0 panic=-1 quiet mitigations=off init_on_alloc=0"
MEMORY = {"": 320, "numpy": 512, "torch": 2048}  # MB, by libraries: they lie in it twice, until the disk is unpacked


class Machine(NamedTuple):
    program: str
    protected: bool = True
    python: str = "3.13"
    cpus: int = 1
    rdrand: bool = True
    generation: bool = False  # VMClock as Firecracker gives it: with vm_generation_counter
    network: bool = False
    libraries: str = ""  # the memory disk that has them
    settings: Mapping[str, object] = MappingProxyType({})  # environment of the guest's program
    guest: type = Guest

    def hardware(self, lab):
        """What is not the same in all machines: options of QEMU."""
        words = {"SNAPSAFE": int(self.protected), "PROGRAM": self.program, **self.settings}
        network = ["-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile="]
        return [
            *("-m", MEMORY[self.libraries], "-initrd", lab.disk(self.python, self.libraries)),
            *("-append", " ".join([KERNEL, "initramfs_options=size=90%", *(f"{k}={v}" for k, v in words.items())])),
            *(network if self.network else []),
        ]


def scaled(number, protected=True, least=2):
    """How many clones that makes. A twin, which must repeat itself, has never fewer."""
    return max(least, round(number * MORE)) if MORE > 1 or protected else number


def say(text):
    print(f"vm: {text}", file=sys.stderr, flush=True)


def provision(*guests):
    """Makes what is missing for them; the folder."""
    made = subprocess.run([HERE / "provision", *guests], stdout=subprocess.PIPE, text=True, timeout=PROVISION)
    if made.returncode:
        raise Trouble(f"tests/vm/provision failed ({made.returncode})")
    return pathlib.Path(made.stdout.strip())


def first_report(guest):
    guest.run()
    return guest.message()


class Lab:
    """`folder` lies in memory and goes with the lab, except after a failure: then logs stay, and what is large goes."""

    def __init__(self):
        self.guests, self.failed, self.disks, self.pythons, self.clones = set(), False, {}, set(), 0
        self.home = provision()
        self.tree = self.home / "tree"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="snapsafe-vm-", dir="/dev/shm"))
        atexit.register(self.close)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        libraries = f"{self.tree}/usr/lib/x86_64-linux-gnu"
        self.environment = {"QEMU_MODULE_DIR": f"{libraries}/qemu", "LC_ALL": "C"}
        # By the tree's own loader: QEMU needs neither a chroot nor root.
        self.qemu = [f"{self.tree}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries]
        self.qemu += [f"{self.tree}/usr/bin/qemu-system-x86_64", "-L", f"{self.tree}/usr/share/qemu"]
        self.qemu += ["-L", f"{self.tree}/usr/share/seabios"]
        self.accel = "tcg,thread=multi"
        self._probe()

    def close(self):
        atexit.unregister(self.close)
        for guest in list(self.guests):
            guest.kill()
        for thing in self.folder.iterdir() if self.failed else ():
            if thing.is_file():
                thing.unlink()
        if self.failed:
            say(f"logs of the failed run: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _probe(self):
        """KVM where a guest really runs on it: some machines have the device, and a guest dies all the same."""
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return
        software, self.accel, end = self.accel, "kvm", time.monotonic() + 20
        try:
            with Guest(self, "kvm-probe", Machine("probe", protected=False)) as guest:
                guest.run()
                while guest.silent(0.5):
                    if guest.qmp.command("query-status")["status"] != "running" or time.monotonic() > end:
                        raise Trouble("/dev/kvm is there, and a guest does not run on it")
        except Trouble as error:
            self.failed = False
            say(f"{str(error).partition('; logs')[0]}: software emulation")
            self.accel = software

    def disk(self, python, libraries):
        """The memory disk: interpreter, project and the guest's programs, one archive after the other."""
        more = (libraries,) if libraries else ()
        programs = '"$0"/guest/*.py "$0/../helpers/surfaces.py" "$0/../../snapsafe_rt/cli/demo_surfaces.py"'
        pack = f'mkdir app && cp {programs} app/ && cp "$0/guest/init" init && chmod 755 init'
        return self.packed((python, *more), (f"disk-{python}", f"site-{python}", *more), pack)

    def packed(self, guests, parts, pack):
        """A file of these archives of the provisioning, and of what the shell command `pack` puts in its folder."""
        name = "-".join(guests)
        if name not in self.disks:
            provision(*guests)
            path = self.folder / f"disk-{name}"
            with open(path, "wb") as file:
                for part in parts:
                    with open(self.home / part, "rb") as archive:
                        shutil.copyfileobj(archive, file)
                with tempfile.TemporaryDirectory() as work:
                    file.flush()
                    # Not the folder itself: it is this user's alone, and would be the guest's root.
                    script = f"({pack}) && find . -mindepth 1 | cpio --quiet -o -H newc -R 0:0"
                    subprocess.run(["sh", "-c", script, HERE], cwd=work, stdout=file, check=True)
            self.disks[name] = path
        return self.disks[name]

    def command(self, machine):
        cpu = "max,la57=off" if self.accel != "kvm" else "host"  # emulated, a fifth level of pages costs time alone
        if not machine.rdrand:
            cpu += ",rdrand=off,rdseed=off"
        return [
            *(*self.qemu, "-accel", self.accel, "-machine", "q35", "-cpu", cpu, "-smp", machine.cpus),
            *("-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-kernel", f"{self.tree}/kernel/vmlinuz", "-device", "vmgenid,guid=auto", "-device", "vmclock"),
            *machine.hardware(self),
        ]

    def boot(self, name, machine):
        """A guest whose program says that it is ready."""
        begin = time.monotonic()
        guest = machine.guest(self, name, machine)
        if machine.generation:
            guest.write_clock(FLAGS, GENERATION_PRESENT)
            guest.write_clock(GENERATION, 1)
        guest.run()
        guest.ready = guest.message(BOOT)
        self.pythons.add(guest.ready["python"])
        say(f"{name}: booted in {time.monotonic() - begin:.1f} s")
        return guest

    @contextlib.contextmanager
    def clone(self, name, machine, snapshot, generation=None):
        """A paused copy; its run() is the caller's. generation: what vm_generation_counter becomes before it runs."""
        with machine.guest(self, name, machine, snapshot) as guest:
            guest.restore(snapshot)
            if generation is not None:
                guest.write_clock(GENERATION, generation)
            yield guest
        self.clones += 1

    @contextlib.contextmanager
    def copy(self, name, machine, snapshot):
        """A running copy."""
        with self.clone(name, machine, snapshot) as guest:
            guest.run()
            yield guest

    def clones_of(self, name, machine, chance, snapshots, each, body=None, generation=None):
        """Boots, takes snapshots at random moments, runs body(clone) in `each` clones of every one. What body returned
        (by default the program's first report), a list for each snapshot."""
        states, clones = [], scaled(snapshots * each, machine.protected)
        each = scaled(each, machine.protected)
        snapshots = min(snapshots, max(1, round(clones / each)))
        with self.boot(name, machine) as guest:
            for number in range(snapshots):
                if not guest.silent(chance.uniform(0.1, 0.5)):
                    raise Trouble(f"{name}: the program reported although nothing was restored: {guest.message()}")
                states.append(guest.snapshot(f"{name}-{number}", resume=number + 1 < snapshots))
        return list(self.run_clones(name, machine, states, each, body or first_report, generation).values())

    def run_clones(self, name, machine, snapshots, each, body, generation=None):
        """body(guest) for `each` clones of every snapshot, some at a time; what they returned, by snapshot. The caller
        has scaled their number."""
        stop, begin, done = [], time.monotonic(), 0

        def one(job):
            if stop:
                raise Trouble("another clone failed")
            path, number = job
            try:
                with self.clone(f"{path.name}-{number}", machine, path, generation) as guest:
                    return path, body(guest)
            except BaseException:
                stop.append(True)
                raise

        jobs = [(path, number) for path in snapshots for number in range(each)]
        found = {path: [] for path in snapshots}
        with concurrent.futures.ThreadPoolExecutor(max(1, AT_ONCE // machine.cpus)) as pool:
            try:
                for path, answer in pool.map(one, jobs):
                    found[path].append(answer)
                    done += 1
                    if done % 10 == 0 or done == len(jobs):
                        say(f"{name}: {done} of {len(jobs)} clones, {time.monotonic() - begin:.1f} s")
            except BaseException:
                stop.append(True)
                for guest in list(self.guests):
                    guest.kill()
                raise
        for path in snapshots:
            self.forget(path)
        return found

    def forget(self, snapshot):
        """Frees the memory that it takes."""
        snapshot.unlink(missing_ok=True)
        pathlib.Path(f"{snapshot}.data").unlink(missing_ok=True)
