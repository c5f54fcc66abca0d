"""What machine this is, as far as its files tell, and which counters its kernel could offer. Nothing is executed, and
nothing changed. `root` and `environ` are parameters, so that any machine can be laid out as a tree of files."""

import glob
import gzip
import itertools
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from snapsafe_rt.source.vmclock_file import LAYOUT, MAGIC

NO_PROC = "/proc (not mounted)"
MOST = 64  # pieces of a file that are read
DMI = "sys/class/dmi/id"
ACPI = "sys/bus/acpi/devices"
VMCLOCK_IDS, VMGENID_IDS = ("AMZNC10C",), ("VMGENCTR", "QEMUVGID", "FCVMGID", "VM_GEN_C")  # by maker; first 8 letters
DRIVERS = {"ptp_vmclock": "CONFIG_PTP_1588_CLOCK_VMCLOCK", "vmgenid": "CONFIG_VMGENID"}
DEVICES = ("dev/vmclock0", "dev/sysgenid")
VMCLOCK = f"/{DEVICES[0]}"
NO_COUNTER = 0xFF  # counter_id, where the page tells no time: QEMU's and Firecracker's
CLOCKSOURCE = "sys/devices/system/clocksource/clocksource0/current_clocksource"
TIMES = ("UTC", "TAI", "monotonic", "smeared", "smeared")  # by the page's time_type
GVISOR_KERNEL = "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016"  # what gVisor says it is

# Of DMI's vendor and product, in any case: the machine's kind and its name.
_BY_DMI = (
    ("cloud hypervisor", "cloud-hypervisor", "Cloud Hypervisor"),
    ("amazon ec2", "ec2", "Amazon EC2"),
    ("firecracker", "firecracker", "Firecracker"),
    ("kubevirt", "qemu", "KubeVirt (QEMU)"),
    ("qemu", "qemu", "QEMU"),
    ("google", "vm", "Google Compute Engine"),
    ("vmware", "vm", "VMware"),
    ("microsoft corporation virtual machine", "vm", "Hyper-V"),
    ("innotek", "vm", "VirtualBox"),
    ("virtualbox", "vm", "VirtualBox"),
    ("xen", "vm", "Xen"),
    ("red hat", "qemu", "QEMU of Red Hat"),
    ("bochs", "qemu", "QEMU"),
    ("seabios", "qemu", "QEMU"),
)
_BY_CGROUP = ("docker", "kubepods", "libpod", "crio", "containerd", "lxc", "garden")


class Device(NamedTuple):
    path: str
    exists: bool
    mode: str
    owner: int
    readable: bool


class Clock(NamedTuple):
    """`source`: what the kernel's clocks go by, "" where that cannot be seen. `vmclock`: the time that the VMClock
    tells ("UTC", "TAI", "monotonic", "smeared"), "none" where its page tells none, "" where the page cannot be read."""

    source: str
    vmclock: str

    def __str__(self) -> str:
        told = {"": "no VMClock to compare it with", "none": f"{VMCLOCK} tells no time to compare it with"}
        by_counter = f"{VMCLOCK} tells the time ({self.vmclock}) by the CPU's counter, which is not read here"
        return f"{self.source or 'unknown'}; {told.get(self.vmclock, by_counter)}"


class Machine(NamedTuple):
    """`kind`: "firecracker", "qemu", "cloud-hypervisor", "ec2", "lambda", "gvisor", "vm" (another one), "bare", or
    "unknown". `container`: "", or what made it. `signs`: what each of these was concluded from. `unseen`: what
    could not be looked at."""

    kind: str
    name: str
    container: str
    criu: bool
    signs: list[str]
    kernel: str
    drivers: dict[str, str]  # "loaded", "built in", "module", "absent" or "unknown"
    acpi: dict[str, bool]  # does the firmware list a VMClock, a VMGenID?
    devices: list[Device]
    clock: "Clock"
    systemd: bool
    unseen: list[str]

    def as_dict(self) -> dict[str, Any]:
        devices = [device._asdict() for device in self.devices]
        return {**self._asdict(), "devices": devices, "clock": self.clock._asdict()}


class _Tree:
    """The machine's files. Which of them may not be read is kept."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.unseen: list[str] = []

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def there(self, name: str) -> bool:
        return os.path.exists(self.path(name))

    def names(self, name: str) -> list[str]:
        try:
            return sorted(os.listdir(self.path(name)))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._miss(name, error)
            return []

    def bytes(self, name: str, count: int = -1) -> bytes:
        try:
            with open(self.path(name), "rb", buffering=0) as file:
                if count >= 0:
                    return file.read(count) or b""
                pieces = iter(lambda: file.read(1 << 16), b"")  # a sysctl refuses to be asked for more
                return b"".join(itertools.islice(pieces, MOST))
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except OSError as error:
            self._miss(name, error)
            return b""

    def text(self, name: str) -> str:
        return self.bytes(name).decode("utf-8", "replace").strip()

    def _miss(self, name: str, error: OSError) -> None:
        self.unseen.append(f"/{name} ({error.strerror})")


def describe(root: str = "/", environ: Mapping[str, str] = os.environ) -> Machine:
    tree, signs = _Tree(root), []
    if not tree.there("proc/self"):
        tree.unseen.append(NO_PROC)
    kind, name, sign = _kind(tree, environ)
    signs.append(f"{name}: {sign}")
    container, sign = _container(tree, environ)
    if container:
        signs.append(f"{container}: {sign}")
    release = tree.text("proc/sys/kernel/osrelease") or next(iter(tree.text("proc/version").split()[2:3]), "")
    # A container has another /lib/modules and /boot than the kernel's.
    drivers = {driver: _driver(tree, driver, release, bool(container)) for driver in DRIVERS}
    acpi = tree.names(ACPI)
    return Machine(
        kind=kind,
        name=name,
        container=container,
        criu=any(tree.there(f"{folder}/criu") for folder in ("usr/sbin", "usr/bin", "usr/local/sbin", "sbin")),
        signs=signs,
        kernel=release,
        drivers=drivers,
        acpi={"vmclock": _listed(acpi, VMCLOCK_IDS), "vmgenid": _listed(acpi, VMGENID_IDS)},
        devices=[_device(tree, path) for path in DEVICES],
        clock=_clock(tree),
        systemd=tree.there("run/systemd/system"),
        unseen=tree.unseen,
    )


def _kind(tree: _Tree, environ: Mapping[str, str]) -> tuple[str, str, str]:
    """(kind, name, what it was concluded from)."""
    if environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        snap = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
        return "lambda", "AWS Lambda" + (" with SnapStart" if snap else ""), "AWS_LAMBDA_FUNCTION_NAME is set"
    version = tree.text("proc/version")
    if tree.there("proc/gvisor") or "gvisor" in version.lower() or version == GVISOR_KERNEL:
        return "gvisor", "gVisor", "/proc/gvisor is there" if tree.there("proc/gvisor") else "/proc/version"
    fields = ("sys_vendor", "board_vendor", "bios_vendor", "product_name", "chassis_asset_tag")
    dmi = {field: tree.text(f"{DMI}/{field}") for field in fields}
    told = " ".join(filter(None, (dmi["sys_vendor"], dmi["product_name"], dmi["bios_vendor"], dmi["board_vendor"])))
    guest = re.search(r"^(flags|Features)\s*:.*\bhypervisor\b", tree.text("proc/cpuinfo"), re.MULTILINE) is not None
    for words, kind, name in _BY_DMI:
        if words in told.lower():
            if kind == "ec2" and "metal" in dmi["product_name"]:
                return "bare", f"{name}, bare metal", f"the firmware says {told!r}"
            return kind, name, f"the firmware says {told!r}"
    oem = tree.bytes("sys/firmware/acpi/tables/DSDT")[10:16] if tree.names("sys/firmware/acpi/tables") else b""
    if oem == b"FIRECK":
        return "firecracker", "Firecracker", "the maker of its ACPI tables is FIRECK"
    if oem.strip() == b"CLOUDH":
        return "cloud-hypervisor", "Cloud Hypervisor", "the maker of its ACPI tables is CLOUDH"
    if tree.text("sys/hypervisor/type") == "xen":
        return "vm", "Xen", "/sys/hypervisor/type"
    command = tree.text("proc/cmdline")
    tiny = "virtio_mmio.device=" in command or ("reboot=k" in command and "panic=1" in command)
    device_tree = tree.text("proc/device-tree/compatible")
    if not told and (guest or "linux,dummy-virt" in device_tree) and tiny:
        return "firecracker", "Firecracker", "a guest without firmware tables, with its kernel's command line"
    if "linux,dummy-virt" in device_tree:
        return "qemu", "QEMU", "its device tree says linux,dummy-virt"
    if guest:
        return "vm", "a virtual machine of a kind that is not known here", "the CPU says that there is a hypervisor"
    if tree.text("proc/cpuinfo") or told:
        return (
            "bare",
            "no virtual machine",
            "the CPU names no hypervisor" + (f"; the firmware: {told!r}" if told else ""),
        )
    return "unknown", "an unknown machine", "neither CPU nor firmware can be looked at here"


def _container(tree: _Tree, environ: Mapping[str, str]) -> tuple[str, str]:
    """(what made this container, by what that is known), both "" where it seems to be none."""
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "Kubernetes", "KUBERNETES_SERVICE_HOST is set"
    if tree.there("run/.containerenv"):
        return "podman", "/run/.containerenv is there"
    if tree.there(".dockerenv"):
        return "Docker", "/.dockerenv is there"
    named = tree.text("run/systemd/container") or environ.get("container", "")
    if named:
        return named, "/run/systemd/container" if tree.there("run/systemd/container") else "the variable container"
    cgroup = tree.text("proc/1/cgroup") + tree.text("proc/self/cgroup")
    for word in _BY_CGROUP:
        if re.search(rf"[/:.-]{word}[/:.\w-]", cgroup):
            return "a container", f"its cgroup is {word}'s"
    return "", ""


def _driver(tree: _Tree, driver: str, release: str, container: bool) -> str:
    if tree.there(f"sys/module/{driver}") or tree.there(f"sys/bus/acpi/drivers/{driver}"):
        return "loaded"
    configs = [f"boot/config-{release}", f"lib/modules/{release}/config"]
    text = ""
    if packed := tree.bytes("proc/config.gz"):
        try:
            text = gzip.decompress(packed).decode("utf-8", "replace")
        except (OSError, EOFError):
            tree.unseen.append("/proc/config.gz (damaged)")
    for name in configs if not container else []:
        text = text or tree.text(name)
    if text:
        found = re.search(rf"^{DRIVERS[driver]}=([ym])$", text, re.MULTILINE)
        return {"y": "built in", "m": "module"}[found[1]] if found else "absent"
    folder = tree.path(f"lib/modules/{release}") if release and not container else ""
    if folder and tree.there(f"lib/modules/{release}/modules.builtin"):
        if f"/{driver}.ko" in tree.text(f"lib/modules/{release}/modules.builtin"):
            return "built in"
        found_files = glob.glob(os.path.join(glob.escape(folder), "**", f"{driver}.ko*"), recursive=True)
        return "module" if found_files else "absent"
    return "unknown"


def clock(root: str = "/") -> Clock:
    return _clock(_Tree(root))


def _clock(tree: _Tree) -> Clock:
    """The skew is not computed: the page tells the time of a reading of the CPU's counter, so that takes one of now."""
    page = tree.bytes(DEVICES[0], LAYOUT) if os.access(tree.path(DEVICES[0]), os.R_OK) else b""
    time = ""
    if len(page) == LAYOUT and int.from_bytes(page[:4], "little") == MAGIC:
        counter, kind = page[0x0A], page[0x0B]
        time = "none" if counter == NO_COUNTER or kind >= len(TIMES) else TIMES[kind]
    return Clock(tree.text(CLOCKSOURCE), time)


def _listed(names: list[str], wanted: tuple[str, ...]) -> bool:
    return any(name.startswith(wanted) for name in names)


def _device(tree: _Tree, path: str) -> Device:
    try:
        found = os.stat(tree.path(path))
    except FileNotFoundError:
        return Device(f"/{path}", False, "", 0, False)
    except OSError as error:
        tree.unseen.append(f"/{path} ({error.strerror})")
        return Device(f"/{path}", False, "", 0, False)
    mode = stat.filemode(found.st_mode)
    return Device(f"/{path}", True, mode, found.st_uid, os.access(tree.path(path), os.R_OK))
