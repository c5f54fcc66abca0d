"""snapsafe manager: tells programs of this machine or container that it was restored."""

import argparse
import os
import sys

from snapsafe_rt import activation, settings
from snapsafe_rt.cli.output import seconds
from snapsafe_rt.cli.shipped import failure, shipped
from snapsafe_rt.core import MISSING, native
from snapsafe_rt.errors import CONFIGURATION, FAILED, NOT_PERMITTED, OK, Failure
from snapsafe_rt.source import selection

EXAMPLES = (
    "snapsafe manager",
    "snapsafe manager --freeze /sys/fs/cgroup/app.slice",
    "snapsafe manager --print snapsafe-manager.service",
)
EXITS = {
    OK: "ended by SIGTERM, or the file is printed",
    FAILED: "another one runs",
    NOT_PERMITTED: "the socket or the file may not be made",
    CONFIGURATION: "a bad source, or no cgroup to freeze, or nothing can be watched",
}
PLACES = "name places of your own with --socket and --file"
PRINTED = {  # where below packaging/ they are
    "snapsafe-manager.service": "systemd/snapsafe-manager.service",
    "snapsafe.tmpfiles": "systemd/snapsafe.tmpfiles",
    "60-snapsafe.rules": "systemd/60-snapsafe.rules",
    "snapsafe-device.conf": "systemd/snapsafe-device.conf",
    "snapsafe-fsfreeze.sh": "qemu/snapsafe-fsfreeze.sh",
    "snapsafe-dbus.service": "systemd/snapsafe-dbus.service",
    "org.snapsafe.Manager1.conf": "dbus/org.snapsafe.Manager1.conf",
    "snapsafe-criu": "criu/snapsafe.sh",
    "guest_agent.py": "guest_agent/guest_agent.py",
    "cdi.json": "containers/cdi.json",
    "kubernetes.yaml": "containers/kubernetes.yaml",
    "Containerfile": "containers/Containerfile",
    "make-layer": "containers/lambda/make-layer",
    "snapsafe-wrapper": "containers/lambda/snapsafe-wrapper",
    "snapsafe-alerts.yml": "prometheus/snapsafe-alerts.yml",
    "snapsafe-dashboard.json": "grafana/snapsafe-dashboard.json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=settings.MANAGER,
        help="where Varlink is spoken (default: %(default)s)",
    )
    parser.add_argument(
        "--file",
        metavar="PATH",
        default=settings.FILE,
        help="the file whose generation is moved (default: %(default)s)",
    )
    parser.add_argument(
        "--freeze",
        metavar="CGROUP",
        help="folder of a cgroup v2 whose programs are stopped over a snapshot, on the word of who takes it",
    )
    parser.add_argument(
        "--gvisor",
        metavar="PATH",
        default="/proc/gvisor/checkpoint",
        help="gVisor's word on checkpoints, followed where it is (default: %(default)s)",
    )
    parser.add_argument(
        "--inhibit-delay-max",
        metavar="SECONDS",
        type=seconds,
        default=5.0,
        help="how long Quiesce waits for those who want to be asked before a snapshot (default: %(default)s)",
    )
    parser.add_argument(
        "--quiesced-max",
        metavar="SECONDS",
        type=seconds,
        default=60.0,
        help="how long the machine stays quiesced if nobody calls Unquiesce (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics-file",
        metavar="PATH",
        help="keep what the manager knows in this file, as node_exporter's textfile collector wants it",
    )
    parser.add_argument(
        "--print",
        choices=PRINTED,
        metavar="FILE",
        help="print a file for the system, CRIU, containers, AWS Lambda, Grafana or Prometheus, with this "
        "command's path in it; its first lines say where it goes. FILE: " + ", ".join(PRINTED),
    )
    parser.epilog = (
        "It stays in the foreground; a service manager is told by sd_notify(3). It watches the sources of "
        "SNAPSAFE_SOURCES but for its own file, the kernel's log, and gVisor's file. SIGTERM ends it."
    )


def main(options: argparse.Namespace) -> int:
    if options.print:
        if sys.__stdout__ is None:
            raise Failure("stdout is closed, and nobody would get the file")
        with open(shipped("packaging", *PRINTED[options.print].split("/")), encoding="utf-8") as file:
            print(file.read().replace("@SNAPSAFE@", _command()), end="")
        return OK
    if native is None:
        raise Failure(f"nothing can be watched: {MISSING}", CONFIGURATION)
    # What programs are to do is not meant for the one that serves them.
    wanted = settings.Settings().sources
    for name in [name for name in os.environ if name.startswith("SNAPSAFE")]:
        del os.environ[name]
    selection.borrowing = False  # of ourselves
    activation.deactivate()  # an installed Python was activated on the list of programs, which has our own file
    from snapsafe_rt.manager.freezer import NotFrozen
    from snapsafe_rt.manager.service import Busy, Manager

    file = os.path.abspath(options.file)
    candidates, problems = selection.parse(wanted)
    if problems:
        raise Failure(f"SNAPSAFE_SOURCES: {'; '.join(problems)}", CONFIGURATION)
    names = [one.name for one in candidates if not _same(one.path, file)]
    try:
        for path in (options.socket, file):
            os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o755, exist_ok=True)
        manager = Manager(
            os.path.abspath(options.socket),
            file,
            names,
            options.gvisor,
            options.freeze,
            delay_max=options.inhibit_delay_max,
            quiesced_max=options.quiesced_max,
            metrics_path=options.metrics_file and os.path.abspath(options.metrics_file),
        )
    except NotFrozen as error:
        raise Failure(f"--freeze: {error}", CONFIGURATION) from None
    except Busy:
        raise Failure(
            f"another manager has {options.socket}: end that one, or name another --socket and --file"
        ) from None
    except OSError as error:
        raise failure(options.socket, error, f"{PLACES}, --metrics-file" if options.metrics_file else PLACES) from None
    manager.run()
    return OK


def _same(path: str, file: str) -> bool:
    """Would we watch what we write?"""
    try:
        return os.path.samefile(path, file)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(file)


def _command() -> str:
    """How a unit starts this command: by its script, else by this interpreter."""
    script = os.path.join(os.path.dirname(sys.executable), "snapsafe")
    return script if os.access(script, os.X_OK) else f"{sys.executable} -m snapsafe_rt"
