"""`snapsafe doctor`: machines are recognised by trees of files laid out like theirs, and each gets the commands that
mend it."""

import errno
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from snapsafe_rt.cli import doctor, machine, main
from snapsafe_rt.cli.doctor import Found, Python
from snapsafe_rt.source import vmclock_file

from ..conftest import FOLDER, PACKAGE

pytestmark = pytest.mark.any_python

GUEST = {
    "proc/cpuinfo": "processor : 0\nflags\t\t: fpu vme hypervisor lahf_lm\n",
    "proc/sys/kernel/osrelease": "6.13.1\n",
}
METAL = {"proc/cpuinfo": "flags\t\t: fpu vme lahf_lm\n", "proc/sys/kernel/osrelease": "6.1.0\n"}
SYSTEMD = {"run/systemd/system/": ""}
ACTIVE = Python("/usr/bin/python3", "3.13.1", "active", "")


def dmi(vendor, product=""):
    return {"sys/class/dmi/id/sys_vendor": vendor, "sys/class/dmi/id/product_name": product}


def acpi(*names, oem=""):
    table = {"sys/firmware/acpi/tables/DSDT": f"DSDTxxxxxx{oem}"} if oem else {}
    return {f"sys/bus/acpi/devices/{name}:00/": "" for name in names} | table


def config(**values):
    return {"proc/config.gz": gzip.compress("".join(f"CONFIG_{k}={v}\n" for k, v in values.items()).encode())}


NO_DRIVER = config(PCI="y")
CLOCK_MODULE = config(PTP_1588_CLOCK_VMCLOCK="m", VMGENID="y")

# Name: files, environment, kind, container, words of the next commands in their order.
MACHINES = {
    "firecracker": (
        GUEST | acpi("AMZNC10C", "VMGENCTR", oem="FIRECK") | NO_DRIVER | SYSTEMD,
        {},
        ("firecracker", ""),
        ["lacks the driver", "snapsafe-manager.service", "enable --now snapsafe-manager", "snapsafe doctor"],
    ),
    "firecracker whose tables may not be read": (
        GUEST | {"proc/cmdline": "console=ttyS0 reboot=k panic=1 pci=off"} | acpi("VMGENCTR"),
        {},
        ("firecracker", ""),
        ["snapsafe manager &"],
    ),
    "firecracker on mmio, old": (
        GUEST | {"proc/cmdline": "quiet virtio_mmio.device=4K@0xd0000000:5"},
        {},
        ("firecracker", ""),
        ["guest_agent.py"],
    ),
    "firecracker, the driver is a module": (
        GUEST | acpi("AMZNC10C", oem="FIRECK") | CLOCK_MODULE,
        {},
        ("firecracker", ""),
        ["modprobe ptp_vmclock", "snapsafe manager"],
    ),
    "qemu": (GUEST | dmi("QEMU", "Standard PC"), {}, ("qemu", ""), ["-device vmclock -device vmgenid,guid=auto"]),
    "qemu with vmgenid": (
        GUEST | dmi("QEMU") | acpi("QEMUVGID") | SYSTEMD,
        {},
        ("qemu", ""),
        ["-device vmclock", "milliseconds late", "enable --now snapsafe-manager"],
    ),
    "kubevirt": (GUEST | dmi("KubeVirt", "None"), {}, ("qemu", ""), ["-device vmclock"]),
    "cloud hypervisor": (
        GUEST | dmi("Cloud Hypervisor", "cloud-hypervisor") | acpi("VMGENCTR"),
        {},
        ("cloud-hypervisor", ""),
        ["snapsafe manager"],
    ),
    "ec2": (GUEST | dmi("Amazon EC2", "m7i.large"), {}, ("ec2", ""), ["nobody clones its memory", "snapsafe demo"]),
    "ec2, bare metal": (METAL | dmi("Amazon EC2", "m7i.metal-24xl"), {}, ("bare", ""), ["snapsafe demo"]),
    "google": (GUEST | dmi("Google", "Google Compute Engine"), {}, ("vm", ""), ["snapsafe trigger --create"]),
    "lambda": (
        GUEST,
        {"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"},
        ("lambda", ""),
        ["--print make-layer", "make-layer layer.zip", "AWS_LAMBDA_EXEC_WRAPPER"],
    ),
    "gvisor": ({"proc/gvisor/": ""}, {}, ("gvisor", ""), ["snapsafe manager --file /dev/shm/snapsafe"]),
    "gvisor by its version": ({"proc/version": machine.GVISOR_KERNEL}, {}, ("gvisor", ""), ["checkpoint.path"]),
    "podman on bare metal": (
        METAL | dmi("Dell Inc.", "R640") | {"run/.containerenv": ""},
        {},
        ("bare", "podman"),
        ["trigger --create --frozen", "action-script"],
    ),
    "criu on bare metal": (METAL | {"usr/sbin/criu": ""}, {}, ("bare", ""), ["action-script"]),
    "docker in qemu": (
        GUEST | dmi("QEMU") | {".dockerenv": ""},
        {},
        ("qemu", "Docker"),
        ["docker run --device /dev/vmclock0", "docker run -v /run/snapsafe"],
    ),
    "docker in firecracker without a driver": (
        GUEST | {".dockerenv": ""} | acpi("AMZNC10C", oem="FIRECK") | NO_DRIVER,
        {},
        ("firecracker", "Docker"),
        ["lacks the driver", "docker run -v /run/snapsafe"],
    ),
    "docker on ec2": (GUEST | dmi("Amazon EC2") | {".dockerenv": ""}, {}, ("ec2", "Docker"), ["snapsafe demo"]),
    "kubernetes": (
        GUEST | dmi("QEMU"),
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        ("qemu", "Kubernetes"),
        ["kubernetes.yaml"],
    ),
    "by its cgroup": (
        GUEST | dmi("Xen") | {"proc/1/cgroup": "0::/system.slice/crio-abc.scope"},
        {},
        ("vm", "a container"),
        ["docker run"],
    ),
    "nspawn": (METAL | {"run/systemd/container": "systemd-nspawn"}, {}, ("bare", "systemd-nspawn"), ["snapsafe demo"]),
    "a guest of nobody's": (GUEST, {}, ("vm", ""), ["snapsafe trigger --create"]),
    "bare metal": (METAL | dmi("Dell Inc.", "R640"), {}, ("bare", ""), ["nobody clones its memory"]),
    "nothing to be seen": ({}, {}, ("unknown", ""), ["snapsafe trigger --create"]),
}


def lay_out(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)


def found_on(here, *, source=None, manager=None, pythons=(ACTIVE,), processes=None, root=True):
    none = dict.fromkeys(("python", "active", "protected", "not_permitted"), 0)
    none |= {"silent": [], "unprotected": {}, "unexamined": {}}
    missing = [{"source": "vmclock:/dev/vmclock0", "reason": "does not exist"}]
    return Found(here, source, [] if source else missing, manager, list(pythons), none | (processes or {}), root)


def text_of(steps):
    return "\n".join("\n".join([step.where, step.why, *step.commands]) for step in steps)


@pytest.mark.parametrize("name", MACHINES)
def test_each_machine_is_recognised_and_told_what_to_do(tmp_path, capsys, name):
    files, environ, expected, commands = MACHINES[name]
    lay_out(tmp_path, files)
    here = machine.describe(str(tmp_path), environ)
    assert (here.kind, here.container) == expected, here.signs
    found = found_on(here)
    steps = doctor.advise(found)
    text = text_of(steps)
    at = 0
    for words in commands:
        assert words in text[at:], text
        at = text.index(words, at)
    assert steps[-1].commands == ["snapsafe doctor"]
    json.dumps(doctor.as_dict(found, steps))
    doctor.show(found, steps)
    assert here.name in capsys.readouterr().out


SOURCE = {"source": "vmclock:/dev/vmclock0", "what": "device with a generation", "synchronous": True, "deserted": False}


@pytest.mark.parametrize("name", MACHINES)
def test_where_nothing_is_missing_nothing_is_to_do(tmp_path, capsys, name):
    files, environ, *_ = MACHINES[name]
    lay_out(tmp_path, files)
    found = found_on(machine.describe(str(tmp_path), environ), source=SOURCE)
    assert doctor.advise(found) == []
    doctor.show(found, [])
    assert "Nothing is missing" in capsys.readouterr().out


def test_without_proc_no_process_is_counted(tmp_path, capsys):
    found = found_on(machine.describe(str(tmp_path), {}))
    doctor.show(found, [])
    said = capsys.readouterr().out
    assert "cannot be seen" in said
    assert "0 of Python run" not in said
    (tmp_path / "proc/self").mkdir(parents=True)
    doctor.show(found_on(machine.describe(str(tmp_path), {})), [])
    assert "0 of Python run" in capsys.readouterr().out


@pytest.mark.parametrize("marked", [True, False], ids=["", "twin"])
def test_a_python_where_pip_refuses(tmp_path, marked):
    """As distributions mark theirs (PEP 668)."""
    python = tmp_path / "python"
    python.write_text(
        f"""#!/bin/sh
exec {sys.executable} -S -c 'import sys, sysconfig; sys.base_prefix = sys.prefix
sysconfig.get_path = lambda name: "{tmp_path}"; sys.path.append("/nowhere"); exec(sys.argv[1])' "$3"
"""
    )
    python.chmod(0o755)
    if marked:
        (tmp_path / "EXTERNALLY-MANAGED").touch()
    found = doctor._python(str(python))
    assert (found.state, found.externally_managed) == ("no package", marked), found
    text = text_of(doctor.advise(found_on(machine.describe(str(tmp_path), {}), pythons=[found])))
    for way in (f"{python} -m venv ", f"pipx install --python {python} ", f"uv tool install --python {python} "):
        assert (way in text) is marked
    assert (f"{python} -m pip install snapsafe-rt" in text) is not marked


def test_a_device_that_may_not_be_read(tmp_path):
    lay_out(tmp_path, GUEST | SYSTEMD | acpi("AMZNC10C", oem="FIRECK"))
    here = machine.describe(str(tmp_path), {})
    here = here._replace(devices=[machine.Device("/dev/vmclock0", True, "crw-------", 0, False), *here.devices[1:]])
    text = text_of(doctor.advise(found_on(here, root=False)))
    assert "60-snapsafe.rules" in text
    assert "As root:" in text
    text = text_of(doctor.advise(found_on(here._replace(container="podman"))))
    assert "on the host" in text
    assert "60-snapsafe.rules" in text
    assert "snapsafe-manager" not in text


@pytest.mark.parametrize("closed", ["file", "folder", ""])
def test_a_named_source_that_may_not_be_read(tmp_path, run_python, closed):
    """As another user than its owner; the way out, followed word by word, mends it."""
    if os.geteuid():
        pytest.skip("takes root")
    place = tempfile.mkdtemp(prefix="snapsafe named ", dir=vmclock_file.private_folders()[0])
    file = f"{place}/source"
    os.chmod(place, 0o700 if closed == "folder" else 0o755)
    try:
        vmclock_file.create(file, generation=1)
        os.chmod(file, 0o600 if closed else 0o644)
        script = """
            import json, os
            from snapsafe_rt.cli import doctor
            os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
            found = doctor.look(environ={"PATH": ""})
            print(json.dumps([found.source is not None, [step.commands for step in doctor._named_steps(found)]]))
        """
        env = {"SNAPSAFE_SOURCES": f"vmclock:{file}", "SNAPSAFE": "0", "PATH": "/usr/bin:/bin"}
        usable, steps = json.loads(run_python(script, env=env))
        assert (usable, len(steps)) == (not closed, 1 if closed else 0)
        for [command] in steps:
            subprocess.run(command, shell=True, check=True)
        assert json.loads(run_python(script, env=env)) == [True, []]
    finally:
        shutil.rmtree(place)


def test_a_deserted_source_a_stranger_and_a_library(tmp_path):
    here = machine.describe(str(tmp_path), {})
    deserted = SOURCE | {"deserted": True}
    assert "snapsafe manager" in text_of(doctor.advise(found_on(here, source=deserted)))
    pythons = [
        ACTIVE,
        Python("/opt/my python", "3.12.1", "installed", "activate() was not called"),
        Python("/opt/python3.14", "3.14.0", "no package", "No module named 'snapsafe_rt'"),
        Python("/usr/bin/python3", "3.13.5", "no package", "No module named 'snapsafe_rt'", True),
        Python("/opt/python3.9", "3.9.1", "no package", ""),
        Python("/opt/python3.15", "", "does not start", "Exec format error"),
    ]
    processes = {"unprotected": {"torch": [7, 8], "jax": [7], "os": [5]}, "unexamined": {"granian": [9]}}
    text = text_of(doctor.advise(found_on(here, source=SOURCE, pythons=pythons, processes=processes)))
    assert "snapsafe install --python '/opt/my python'" in text
    assert "/opt/python3.14 -m pip install snapsafe-rt" in text
    assert "/usr/bin/python3 -m venv ~/snapsafe && ~/snapsafe/bin/pip install snapsafe-rt" in text
    assert "3.9" not in text
    assert "jax, os, torch" in text
    assert text.count("snapsafe status --pid 7") == text.count("snapsafe status --pid 5") == 1
    assert "snapsafe status --pid 9" in text


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({"sys/module/ptp_vmclock/": ""}, "loaded"),
        (config(PTP_1588_CLOCK_VMCLOCK="y"), "built in"),
        (CLOCK_MODULE, "module"),
        (NO_DRIVER, "absent"),
        ({"boot/config-6.13.1": "CONFIG_PTP_1588_CLOCK_VMCLOCK=m\n"}, "module"),
        ({"boot/config-6.13.1": "# CONFIG_PTP_1588_CLOCK_VMCLOCK is not set\n"}, "absent"),
        ({"lib/modules/6.13.1/modules.builtin": "kernel/drivers/ptp/ptp_vmclock.ko\n"}, "built in"),
        ({"lib/modules/6.13.1/modules.builtin": "", "lib/modules/6.13.1/kernel/ptp_vmclock.ko.xz": ""}, "module"),
        ({"lib/modules/6.13.1/modules.builtin": ""}, "absent"),
        ({"proc/config.gz": b"\x1f\x8bdamaged"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_driver(tmp_path, files, state):
    lay_out(tmp_path, GUEST | files)
    assert machine.describe(str(tmp_path), {}).drivers["ptp_vmclock"] == state
    lay_out(tmp_path, {".dockerenv": ""})  # whose /boot and /lib/modules are not the kernel's
    of_the_kernel = any(name.startswith(("sys", "proc")) for name in files)
    assert machine.describe(str(tmp_path), {}).drivers["ptp_vmclock"] == (state if of_the_kernel else "unknown")


def page(counter, kind, magic=b"VCLK"):
    """VMClock's first 112 bytes: which counter it tells the time by, and which time."""
    return magic.ljust(0x0A, b"\0") + bytes([counter, kind]).ljust(0x70 - 0x0A, b"\0")


@pytest.mark.parametrize(
    ("device", "clock", "told"),
    [
        (None, ("tsc", ""), "no VMClock to compare it with"),
        (page(0xFF, 0), ("tsc", "none"), "tells no time"),
        (page(1, 0), ("tsc", "UTC"), "tells the time (UTC)"),
        (page(0, 1), ("tsc", "TAI"), "tells the time (TAI)"),
        (page(1, 9), ("tsc", "none"), "tells no time"),
        (page(1, 0, b"xxxx"), ("tsc", ""), "no VMClock"),
        (page(1, 0)[:-1], ("tsc", ""), "no VMClock"),
        (b"", ("tsc", ""), "no VMClock"),
    ],
)
def test_the_clock(tmp_path, capsys, device, clock, told):
    files = GUEST | {machine.CLOCKSOURCE: "tsc\n"} | ({} if device is None else {"dev/vmclock0": device})
    lay_out(tmp_path, files)
    assert machine.clock(str(tmp_path)) == clock
    doctor.show(found_on(machine.describe(str(tmp_path), {})), [])
    assert told in " ".join(capsys.readouterr().out.split())
    assert machine.clock(str(tmp_path / "none")) == ("", "")


def test_without_proc(tmp_path):
    assert "/proc (not mounted)" in machine.describe(str(tmp_path), {}).unseen
    mounts = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc 2>/dev/null || exit 99; exec "$@"', "sh"]
    command = [sys.executable, "-m", "snapsafe_rt"]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    for words, code in ((["doctor"], 1), (["metrics"], 77), (["status", "--all"], 77)):
        done = subprocess.run([*mounts, *command, *words], env=env, capture_output=True, text=True, timeout=60)
        if done.returncode in (99, 1) and not done.stdout:
            pytest.skip(f"no mount namespace: {done.stderr}")
        assert done.returncode == code, done
        assert "/proc" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def run(*arguments, **more):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "snapsafe_rt", "doctor", *arguments]
    return subprocess.run(command, env={**clean, **more}, capture_output=True, text=True, timeout=120)


def test_on_this_machine(source_file):
    done = run("--json", PYTHONPATH=str(PACKAGE.parent))
    told = json.loads(done.stdout)
    assert "Traceback" not in done.stderr  # a slow machine shows how far it is
    assert set(told) == {
        *("protected_by_itself", "machine", "source", "candidates", "manager", "pythons", "processes", "next"),
    }
    assert told["pythons"][0]["path"] == sys.executable
    assert done.returncode == (0 if told["protected_by_itself"] else 1)
    done = run(PYTHONPATH=f"{FOLDER}:{PACKAGE.parent}", SNAPSAFE_SOURCES=source_file.uri, PATH="/nowhere")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{source_file.uri}, a file with a generation, asynchronous" in done.stdout
    assert "snapsafe install" not in done.stdout  # what other programs run here is theirs


def test_as_nobody(run_python):
    """It says what it could not see, and ends."""
    said = run_python(
        """
        import contextlib, io, os, sys
        from snapsafe_rt.cli import main
        with contextlib.redirect_stdout(io.StringIO()):
            main.main(["doctor"])  # imports what could not be imported later
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        os.environ["PATH"] = "/usr/bin:/bin"
        sys.exit(main.main(["doctor"]))
        """,
        status=1,
        activated=False,
    )
    assert "Next:" in said


def test_it_is_a_command():
    assert "doctor" in [command.name for command in main.COMMANDS]


def test_without_a_process_that_looks_it_says_so(monkeypatch, capfd):
    """And does not show that no process is there."""

    def refuse():
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    assert main.main(["doctor"]) == 1
    assert "no process can be started that looks at others" in capfd.readouterr().err
