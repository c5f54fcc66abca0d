"""snapsafe doctor: what this machine is, what on it tells of a restore, what it lacks, and which commands mend it."""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from snapsafe_rt import settings
from snapsafe_rt.cli import installation, machine, output, processes, scan_cache, status
from snapsafe_rt.cli.machine import NO_PROC, Machine
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.errors import FAILED, NOT_PERMITTED, OK, Failure
from snapsafe_rt.source import selection

EXAMPLES = ("snapsafe doctor", "snapsafe doctor --json")
EXITS = {
    OK: "a program started here would be protected by itself",
    FAILED: "something is missing: the next commands are told",
}
PYTHON_SECONDS = 20
FILE_HERE = "/dev/shm/snapsafe"
CONFIG = "CONFIG_PTP_1588_CLOCK_VMCLOCK"
FORBIDDEN = "may not be opened by this user"
NOTHING = ("ec2", "bare")  # nobody clones their memory

_ASK = """
import json, os, sys, sysconfig
marked = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
managed = sys.prefix == sys.base_prefix and os.path.exists(marked)
try:
    import snapsafe_rt._core as core
    state = sys.modules["snapsafe_rt.state"].state if "snapsafe_rt.state" in sys.modules else None
    print(json.dumps(["yes" if core.active() else "no", getattr(state, "why_not", ""), managed]))
except Exception as error:
    print(json.dumps(["no package", str(error), managed]))
"""


class Python(NamedTuple):
    """`state`: "active" at a plain start, "installed" (the package is there), "no package", or "does not start"."""

    path: str
    version: str
    state: str
    reason: str
    externally_managed: bool = False  # pip refuses to install there: it is a distribution's (PEP 668)


class Found(NamedTuple):
    """All that the next commands follow from."""

    machine: Machine
    source: dict[str, Any] | None  # what a program started here would watch
    candidates: list[dict[str, str]]
    manager: dict[str, Any] | None
    pythons: list[Python]
    processes: dict[str, Any]
    root: bool


class Step(NamedTuple):
    """What to do next. `where`: "here", "on the host" or "in your build"; `why`: sentences; commands may be none."""

    where: str
    why: str
    commands: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the same for programs; docs/command.md lists the keys")
    parser.epilog = (
        "Nothing is changed. Each Python on PATH is started once, to see whether it activates. It needs no rights, and "
        "says what it could not see."
    )


def main(options: argparse.Namespace) -> int:
    found = look()
    steps = advise(found)
    if options.json:
        print(json.dumps(as_dict(found, steps), indent=2))
    else:
        show(found, steps)
    return OK if _fine(found) else FAILED


def look(root: str = "/", environ: Mapping[str, str] = os.environ) -> Found:
    here = machine.describe(root, environ)
    source, candidates = _source()
    with scan_cache.kept():
        processes = _processes()
    return Found(here, source, candidates, status.of_machine(), _pythons(environ), processes, os.geteuid() == 0)


def _source() -> tuple[dict[str, Any] | None, list[dict[str, str]]]:
    if native is None:
        return None, [{"source": "", "reason": MISSING}]
    candidates, problems = selection.parse(settings.Settings().sources)
    best = selection.best(candidates)
    told = [{"source": one.name, "reason": "" if one.rank is not None else one.why_not} for one in candidates]
    told += [{"source": "SNAPSAFE_SOURCES", "reason": problem} for problem in problems]
    if best is None or best.rank is None:
        return None, told
    synchronous = native.describe_source(best.slot).synchronous
    deserted = best.deserted is True
    return {
        "source": best.name,
        "what": selection.RANKS[best.rank],
        "synchronous": synchronous,
        "deserted": deserted,
    }, told


def _pythons(environ: Mapping[str, str]) -> list[Python]:
    """Each that a command on PATH starts, once."""
    found: list[Python] = []
    seen = set()
    for path in filter(None, [sys.executable, *installation.on_path(environ.get("PATH", ""))]):
        # A virtual environment's is its own, though it leads to its base's.
        own = os.path.exists(os.path.join(os.path.dirname(os.path.dirname(path)), "pyvenv.cfg"))
        real = os.path.join(os.path.realpath(os.path.dirname(path)), "python") if own else os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            found.append(_python(path))
    return found


def _python(path: str) -> Python:
    script = f"import sys; print('%d.%d.%d' % sys.version_info[:3])\n{_ASK}"
    try:
        # As a plain start by this user, here; it writes no bytecode.
        done = subprocess.run(
            [path, "-B", "-c", script],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PYTHON_SECONDS,
        )
        version, answer = done.stdout.splitlines()
        state, reason, managed = json.loads(answer)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Python(path, "", "does not start", str(error).partition("\n")[0])
    return Python(path, version, {"yes": "active", "no": "installed"}.get(state, state), reason, managed)


def _processes() -> dict[str, Any]:
    try:
        found, hidden, silent = processes.find_all()
    except Failure as failure:
        if failure.code != NOT_PERMITTED:
            raise
        found, hidden, silent = [], 0, []  # there is no /proc, which the machine's `unseen` tells
    names: dict[str, dict[str, list[int]]] = {"unprotected": {}, "unexamined": {}}
    for one in found:
        for kind, listed in (("unprotected", one.unprotected), ("unexamined", one.unexamined)):
            for name in listed if one.active and one.source is not None else []:
                names[kind].setdefault(name, []).append(one.pid)
    return {
        "python": len(found),
        "active": sum(one.active for one in found),
        "protected": sum(one.protected for one in found),
        "not_permitted": hidden,
        "silent": silent,
        **names,
    }


def _fine(found: Found) -> bool:
    source = found.source
    first = found.pythons[0] if found.pythons else None
    return source is not None and not source["deserted"] and first is not None and first.state == "active"


# ---- what follows ----


def advise(found: Found) -> list[Step]:
    """The next steps, in their order; none where nothing is missing."""
    steps = []
    if found.source is None or found.source["deserted"]:
        steps = _named_steps(found) or _source_steps(found)
    if found.source is not None and found.source["deserted"]:
        start = "systemctl start snapsafe-manager" if found.machine.systemd else "snapsafe manager"
        steps = [Step("here", "The manager that writes the source does not run.", [start])]
    steps += _activation_steps(found)
    for kind, why in (
        ("unprotected", "would repeat in a clone"),
        ("unexamined", "may have random state that nobody has examined"),
    ):
        names = found.processes[kind]
        if names:
            # Of each a process that has it; one process may have several.
            commands = [f"snapsafe status --pid {pid}" for pid in dict.fromkeys(pids[0] for pids in names.values())]
            steps.append(Step("here", f"In processes that run, this {why}: {', '.join(sorted(names))}.", commands))
    if steps:
        steps.append(Step("here", "Look again.", ["snapsafe doctor"]))
    return steps


def _source_steps(found: Found) -> list[Step]:
    here = found.machine
    device = here.devices[0]
    if here.kind == "lambda":
        layer = [
            "snapsafe manager --print make-layer >make-layer",
            "bash make-layer layer.zip snapsafe_rt-*.whl   # of the function's Python, machine and C library",
        ]
        layer.append("aws lambda publish-layer-version --layer-name snapsafe --zip-file fileb://layer.zip")
        layer.append(
            "aws lambda update-function-configuration --function-name NAME --layers ARN "
            "--environment 'Variables={AWS_LAMBDA_EXEC_WRAPPER=/opt/snapsafe-wrapper}'"
        )
        return [Step("in your build", "SnapStart's hooks tell of a restore: add the layer and its wrapper.", layer)]
    if here.kind == "gvisor":
        why = "gVisor tells the manager, if the sandbox has the annotation dev.gvisor.internal.checkpoint.path."
        commands = [f"snapsafe manager --file {FILE_HERE} &", f"export SNAPSAFE_SOURCES=vmclock:{FILE_HERE}"]
        return [Step("here", why, commands)]
    if device.exists and not device.readable:
        if here.container:
            why = f"{device.path} is here, and this user may not read it: let everybody read it."
            return [Step("on the host", why, _udev())]
        return [
            _manager(found, f"{device.path} is here, and this user may not read it: the udev rule and the manager.")
        ]
    lacks = here.acpi["vmclock"] and here.drivers["ptp_vmclock"] == "absent"
    kernel = f"The machine has a VMClock; its kernel {here.kernel} lacks the driver, {CONFIG} of Linux 6.13."
    if here.container:
        return [Step("on the host", kernel, [])] * lacks + _container_steps(found, device=not lacks)
    if here.acpi["vmclock"] and here.drivers["ptp_vmclock"] == "module":
        commands = ["modprobe ptp_vmclock", "echo ptp_vmclock >/etc/modules-load.d/snapsafe.conf"]
        return [Step("here", "The machine has a VMClock; its driver is not loaded.", commands), _manager(found, MANAGE)]
    if here.acpi["vmclock"]:
        steps = [Step("on the host", kernel, [])]
        return steps + ([_manager(found, LATE)] if here.acpi["vmgenid"] else [])
    if here.kind == "qemu":
        why = "The machine has no VMClock: start QEMU 10 or later with it. The guest needs Linux 6.13."
        steps = [Step("on the host", why, ["qemu-system-x86_64 ... -device vmclock -device vmgenid,guid=auto"])]
        return steps + ([_manager(found, LATE)] if here.acpi["vmgenid"] else [])
    if here.kind in ("firecracker", "cloud-hypervisor", "vm") and here.acpi["vmgenid"]:
        return [_manager(found, LATE)]
    if here.kind == "firecracker":
        why = "Firecracker 1.15 and later has a VMClock; until then the host's word has to do, by a guest agent."
        agent = f"{shlex.quote(sys.executable)} guest_agent.py --vsock 5005 &   # as root"
        return [Step("here", why, ["snapsafe manager --print guest_agent.py >guest_agent.py", agent])]
    if here.criu:
        return _criu_steps()
    if here.kind in NOTHING:
        why = f"{here.name}: nobody clones its memory, so nothing has to tell of it. To try it out:"
        return [Step("here", why, _try())]
    why = "Nothing here tells of a restore. Whoever restores this machine has to say so, in each clone:"
    return [Step("here", why, ["snapsafe trigger --create", "snapsafe trigger   # after each restore"])]


def _named_steps(found: Found) -> list[Step]:
    """For sources that SNAPSAFE_SOURCES names and this user may not open; the default ones have advice of their own."""
    usual = settings.DEFAULT_SOURCES.split(",")
    named = [one for one in found.candidates if one["source"] not in usual and one["reason"].startswith(FORBIDDEN)]
    steps = []
    behind: dict[tuple[str | None, str], list[str]] = {}  # a step for all of which the same is true
    for one in named:
        path = one["source"].partition(":")[2]
        behind.setdefault((_closed_folder(path), one["reason"]), []).append(path)
    for (closed, reason), paths in behind.items():
        why = f"{', '.join(paths)}, which SNAPSAFE_SOURCES names, {reason}. "
        files = " ".join(map(shlex.quote, paths))
        if closed is None:
            why += "Let everybody read it. Whoever makes it again has to do the same; `snapsafe trigger --create` does."
            steps.append(Step("here", why + _as_root(found), [f"chmod a+r {files}"]))
        else:
            why += f"The folder {closed} lets nobody else in. Let everybody pass it, and read the file."
            steps.append(Step("here", why + _as_root(found), [f"chmod a+x {shlex.quote(closed)} && chmod a+r {files}"]))
    return steps


def _as_root(found: Found) -> str:
    return "" if found.root else " As root, or as its owner:"


def _closed_folder(path: str) -> str | None:
    """The outermost folder on the way there that this user may not pass."""
    for folder in reversed(pathlib.PurePath(path).parents):
        if os.path.isdir(folder) and not os.access(folder, os.X_OK):
            return str(folder)
    return None


MANAGE = "The manager publishes restores to programs that may not open the device."
LATE = (
    "VMGenID tells the kernel alone: the manager hears of it by the kernel's log and tells programs, milliseconds late."
)


def _udev() -> list[str]:
    return [
        "snapsafe manager --print 60-snapsafe.rules >/etc/udev/rules.d/60-snapsafe.rules",
        "udevadm control --reload && udevadm trigger --subsystem-match=misc",
    ]


def _manager(found: Found, why: str) -> Step:
    if not found.machine.systemd:
        return Step("here", why if found.root else f"{why} As root:", ["snapsafe manager &"])
    commands = [
        "snapsafe manager --print snapsafe-manager.service >/etc/systemd/system/snapsafe-manager.service",
        "snapsafe manager --print snapsafe.tmpfiles >/etc/tmpfiles.d/snapsafe.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/snapsafe.conf",
        *_udev(),
        "systemctl daemon-reload && systemctl enable --now snapsafe-manager",
    ]
    return Step("here", why if found.root else f"{why} As root:", commands)


def _container_steps(found: Found, device: bool) -> list[Step]:
    here = found.machine
    if here.kind == "bare" and here.container == "podman":
        return _criu_steps()
    if here.kind in NOTHING:
        why = f"{here.name}: nobody clones its memory, unless CRIU does (docs/criu.md). To try it out:"
        return [Step("here", why, _try())]
    why = "A container has the source that its machine passes to it. First look at what that one offers:"
    if here.container == "Kubernetes":
        commands = ["snapsafe manager --print kubernetes.yaml >app.yaml   # to copy from: the source and a bundle"]
    else:
        program = "podman" if here.container == "podman" else "docker"
        commands = [f"{program} run --device /dev/vmclock0:/dev/vmclock0:r ...   # if it has the device"] * device
        commands.append(f"{program} run -v /run/snapsafe:/run/snapsafe:ro ...   # if `snapsafe manager` runs there")
    return [Step("on the host", why, ["snapsafe doctor", *commands])]


def _criu_steps() -> list[Step]:
    commands = [
        "snapsafe trigger --create --frozen",
        "snapsafe manager --print snapsafe-criu >/usr/libexec/snapsafe-criu && chmod 755 /usr/libexec/snapsafe-criu",
        "mkdir -p /etc/criu && echo 'action-script /usr/libexec/snapsafe-criu' >>/etc/criu/default.conf",
    ]
    return [Step("on the host", "If CRIU or podman restores processes: its action script moves a file.", commands)]


def _try() -> list[str]:
    return ["snapsafe demo", "snapsafe trigger --create"]


def _activation_steps(found: Found) -> list[Step]:
    """A step for all of which the same is true."""
    installed = [one for one in found.pythons if one.state == "installed"]
    bare = [one for one in found.pythons if one.state == "no package" and _version(one) >= (3, 10)]
    own = [one for one in bare if not one.externally_managed]
    managed = [one for one in bare if one.externally_managed]
    steps = []
    if installed:
        why = f"{_have(installed)} the package and does not activate by itself."
        steps.append(Step("here", why, [f"snapsafe install --python {shlex.quote(one.path)}" for one in installed]))
    if own:
        quoted = [shlex.quote(one.path) for one in own]
        commands = [f"{one} -m pip install snapsafe-rt && snapsafe install --python {one}" for one in quoted]
        steps.append(Step("here", f"{_have(own)} no package, or none that was built for it.", commands))
    if managed:
        why = (
            f"{_have(managed)} no package, or none that was built for it. It is the distribution's, where pip refuses "
            "(PEP 668). In an environment beside it, one of:"
        )
        steps.append(Step("here", why, [command for one in managed for command in installation.beside(one.path)]))
    return steps


def _version(one: Python) -> tuple[int, ...]:
    return tuple(map(int, one.version.split(".")[:2]))


def _have(pythons: list[Python]) -> str:
    names = [f"{one.path} ({one.version})" for one in pythons]
    return f"{names[0]} has" if len(names) == 1 else f"Each of {', '.join(names)} has"


# ---- showing it ----


def as_dict(found: Found, steps: list[Step]) -> dict[str, Any]:
    """The keys are stable."""
    return {
        "protected_by_itself": _fine(found),
        "machine": found.machine.as_dict(),
        "source": found.source,
        "candidates": found.candidates,
        "manager": found.manager,
        "pythons": [one._asdict() for one in found.pythons],
        "processes": found.processes,
        "next": [step._asdict() for step in steps],
    }


def show(found: Found, steps: list[Step]) -> None:
    here = found.machine
    output.say(
        f"This is {here.name}" + (f", in a container of {here.container}" if here.container else "") + ".", "bold"
    )
    output.say("Known by: " + "; ".join(here.signs) + ".")
    rows: list[list[output.Cell]] = []
    for kind, driver in (("vmclock", "ptp_vmclock"), ("vmgenid", "vmgenid")):
        listed = "the machine has it" if here.acpi[kind] else "the machine does not list it"
        rows.append(
            [{"vmclock": "VMClock", "vmgenid": "VMGenID"}[kind], f"{listed}; driver {driver}: {here.drivers[driver]}"]
        )
    for device in here.devices:
        able = "readable" if device.readable else "not readable by this user"
        rows.append(
            [device.path, f"{device.mode}, of user {device.owner}, {able}" if device.exists else "does not exist"]
        )
    rows.append(["kernel", here.kernel or "unknown"])
    rows.append(["clock", str(here.clock)])
    rows.append(["manager", f"runs, the machine is {found.manager['state']}" if found.manager else "none answers here"])
    source = found.source
    if source is not None:
        told = f"{source['source']}, a {source['what']}, {'' if source['synchronous'] else 'a'}synchronous"
        rows.append(["source", (told, "good")])
    else:
        why = output.reasons((one["source"], one["reason"]) for one in found.candidates)
        rows.append(["source", (f"none: {why}", "bad")])
    for one, reason in zip(found.pythons, output.once([one.reason for one in found.pythons]), strict=True):
        told = f"{one.version} {one.state}" + (f" ({reason})" if reason else "")
        rows.append([one.path, (told, "good" if one.state == "active" else "warn")])
    if not found.pythons:
        rows.append(["Python", "none on PATH"])
    processes = found.processes
    told = f"{processes['python']} of Python run, {processes['protected']} of them protected"
    rows.append(["processes", ("cannot be seen", "warn") if any(NO_PROC in one for one in here.unseen) else told])
    for kind in ("unprotected", "unexamined"):
        if processes[kind]:
            rows.append([f"{kind} in them", ", ".join(sorted(processes[kind]))])
    output.say()
    output.table(["what", "is"], rows)
    output.say()
    unseen = list(here.unseen)
    if processes["not_permitted"]:
        unseen.append(f"processes of others ({processes['not_permitted']})")
    if processes["silent"]:
        unseen.append(f"processes that do not answer ({len(processes['silent'])})")
    if unseen:
        output.say("Not to be seen by this user: " + ", ".join(unseen) + ".", "warn")
    if not steps:
        output.say("Nothing is missing: a program started here is protected. What it watches and guards:", "good")
        output.command("snapsafe status")
        return
    output.say("Next:", "bold")
    for step in steps:
        output.say(f"{step.where[0].upper()}{step.where[1:]}: {step.why}")
        for command in step.commands:
            output.command(command)
