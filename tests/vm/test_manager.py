"""The manager as a service of systemd, and who is told of a restore by it: docs/manager.md, done as it says."""

import functools
import json
import pathlib
import struct

import pytest

from tests.vm.compare import Names
from tests.vm.system import SNAPSAFE, System
from tests.vm.test_hot import compare

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/manager.md"
SOCKET, FILE = "/run/snapsafe/org.snapsafe.Manager", "/run/snapsafe/vmclock0"
DEVICE, PUBLISHED = "vmclock:/dev/vmclock0", f"vmclock:{FILE}"
HARDENED = "PrivateDevices=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "User=lab"
CLONES = 3
OWN = f"""\
[Service]
Type=oneshot
ExecStart={SNAPSAFE} run {SNAPSAFE} status --json
SuccessExitStatus=1
StandardOutput=file:/tmp/own.json
"""
XDG = "XDG_RUNTIME_DIR=/run/user/1000 "


@pytest.fixture(scope="module")
def managed(lab, system):
    """Like `system`, with the manager installed as the document says, and ready."""
    commands = DOCUMENT.read_text().partition("## Install")[2].split("```")[1]
    with system("install") as guest:
        guest.do("sh", "-euc", f"PATH=$PATH:/opt/app/bin\n{commands}")
        snapshot = guest.snapshot("managed", resume=False)
    yield functools.partial(lab.copy, machine=System(), snapshot=snapshot)
    lab.forget(snapshot)


def call(guest, method, user="root", **parameters):
    """By systemd's own client: what is answered, or the error's text."""
    words = "varlinkctl", "--json=short", "call", SOCKET, f"org.snapsafe.Manager.{method}", json.dumps(parameters)
    code, out, error = guest.run_command("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *words)
    return json.loads(out) if code == 0 else error


def described(guest, true=lambda found: True):
    """What the manager says of itself, once it can be asked and that is true."""

    def ask():
        found = call(guest, "Describe")
        return found if isinstance(found, dict) and true(found) else None

    return guest.until(ask)


def state(guest, name="snapsafe-manager", what="ActiveState"):
    return guest.do("systemctl", "show", "--property", what, "--value", name).strip()


def words_of(guest):
    """Generation, "kernel reseeded for generation" and the claim to be synchronous, of the file."""
    data = guest.do("od", "-An", "-v", "-tx1", FILE)
    page = bytes.fromhex(data.replace("\n", "").replace(" ", ""))
    return struct.unpack_from("<Q", page, 0x68)[0], *struct.unpack_from("<QI", page, 0x800)


def asked(guest, name):
    guest.tell_program(name)
    return guest.hear(name)


def test_the_service(managed):
    """This guest is a copy of the one that it was installed in, so the manager has told of a restore."""
    with managed("service") as guest:
        found = described(guest, lambda found: found["published"] == 2)
        assert (found["source"], found["vmgenid"], found["reseeded"]) == (DEVICE, True, True)
        assert words_of(guest) == (found["generation"], found["generation"], 0)
        shown = guest.do("systemctl", "status", "--no-pager", "snapsafe-manager")
        assert "active (running)" in shown
        assert f"watching {DEVICE} ({found['how']}), 2 restores published" in shown
        assert state(guest, what="NRestarts") == "0"
        assert guest.do("stat", "-c", "%a %U", "/dev/vmclock0") == "444 root\n"
        assert state(guest, "dev-vmclock0.device") == "active"
        security = guest.do("systemd-analyze", "security", "--no-pager", "snapsafe-manager").splitlines()[-1]
        said = DOCUMENT.read_text().partition("gives the unit ")[2].split()[0].rstrip(".")
        assert f": {said} OK" in security
        # A program of a user's own service manager.
        guest.do("loginctl", "enable-linger", "lab")
        guest.do("systemctl", "start", "user@1000")
        guest.put("/etc/systemd/user/own.service", OWN)
        guest.do("setpriv", "--reuid=lab", "--regid=lab", "--init-groups", "sh", "-c", XDG + "systemctl --user start own")
        status = json.loads(guest.do("cat", "/tmp/own.json"))
        assert (status["source"]["source"], status["source"]["via"]) == (DEVICE, "")
        assert status["protected"], status


WAYS = {
    "user": (["User=lab"], (), (DEVICE, "", True)),
    "opened": (HARDENED, ["snapsafe-device.conf"], (DEVICE, "systemd", True)),
    "asking": (HARDENED, (), (DEVICE, "the manager", True)),
    "reading": ((*HARDENED, f"Environment=SNAPSAFE_SOURCES={PUBLISHED}"), (), (PUBLISHED, "", False)),
    "blind": ((*HARDENED, "InaccessiblePaths=/run/snapsafe"), (), None),
    "stock": (HARDENED, (), None),
}


def test_each_way_to_a_source(lab, managed, results):
    with managed("ways") as guest:
        for name, (lines, files, _) in WAYS.items():
            drop_ins = [guest.do(SNAPSAFE, "manager", "--print", file) for file in files]
            guest.start(name, "idle", *lines, drop_ins=drop_ins, protected=name != "stock")
        outside = {name: json.loads(seen) for name, seen in seen_from_outside(guest).items()}
        snapshot = guest.snapshot("ways-0", resume=False)

    def body(clone):
        begun = clone.run()
        late = {}
        for name, (_, _, source) in WAYS.items():
            if source is not None:
                assert clone.hear(name)["callback"] == 1
        reports = {name: asked(clone, name) for name in WAYS}
        return reports, described(clone), words_of(clone), begun, late

    (answers,) = lab.run_clones("ways", System(), [snapshot], CLONES, body).values()
    print(outside)
    for name, (_, _, source) in WAYS.items():
        names = Names()
        for reports, *_ in answers:
            report = reports[name]
            names.add({"random": report["random"], "ssl": report["ssl"]})
            status = report["status"]
            print(name, status and (status["source"], status["protected"], status["fence"], status["epoch"]), names.result())


def seen_from_outside(guest):
    return {
        name: guest.run_command(SNAPSAFE, "status", "--json", "--pid", state(guest, name, "MainPID")).out for name in WAYS
    }
