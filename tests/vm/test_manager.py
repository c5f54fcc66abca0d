"""The manager as a service of systemd, and who is told of a restore by it: docs/manager.md, done as it says."""

import json
import pathlib
import struct
import time

from tests.vm.compare import Names, by_surface
from tests.vm.lab import scaled
from tests.vm.manager import FILE, SOCKET, call, described
from tests.vm.system import SNAPSAFE, System, document

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/manager.md"
DEVICE, PUBLISHED = "vmclock:/dev/vmclock0", f"vmclock:{FILE}"
HARDENED = "PrivateDevices=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "User=lab"
CLONES = scaled(3)
OWN = f"""\
[Service]
Type=oneshot
ExecStart={SNAPSAFE} run {SNAPSAFE} status --json
SuccessExitStatus=1
StandardOutput=file:/tmp/own.json
"""


def state(guest, name="snapsafe-manager", what="ActiveState"):
    return guest.do("systemctl", "show", "--property", what, "--value", name).strip()


def words_of(guest):
    """Generation, "kernel reseeded for generation" and the claim to be synchronous, of the file."""
    data = guest.do("od", "-An", "-v", "-tx1", FILE)
    page = bytes.fromhex(data.replace("\n", "").replace(" ", ""))
    return struct.unpack_from("<Q", page, 0x68)[0], *struct.unpack_from("<QI", page, 0x800)


def asked(guest, name):
    """What the idle program says, past what its callback has reported."""
    guest.tell_program(name)
    while True:
        report = guest.hear(name)
        if "callback" not in report:
            return report


def test_the_service(managed):
    """This guest is a copy of the one that it was installed in, so the manager has told of a restore."""
    with managed("service") as guest:
        found = described(guest)
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
        user = "setpriv", "--reuid=lab", "--regid=lab", "--init-groups", "env", "XDG_RUNTIME_DIR=/run/user/1000"
        guest.do(*user, "systemctl", "--user", "start", "own")
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

TITLES = {
    "user": "a user's service, udev rule",
    "opened": "PrivateDevices=yes, OpenFile=",
    "asking": "PrivateDevices=yes, GetSource",
    "reading": "PrivateDevices=yes, the manager's file",
    "blind": "nothing of these",
}


def seen_from_outside(guest, name):
    """Source, who opened it, is it synchronous, protected: by `snapsafe status --pid` as root."""
    pid = state(guest, name, "MainPID")
    return in_short(json.loads(guest.run_command(SNAPSAFE, "status", "--json", "--pid", pid).out))


def in_short(status):
    source = status["source"]
    found = source and (source["source"], source["via"], source["synchronous"])
    return found, status["protected"]


def until_shown(guest, name, source, status=None):
    """A manager that was silent for 0.2 s, on a busy machine, is asked again after 3 s."""
    expected = source, source is not None
    if status is None or in_short(status) != expected:
        guest.until(lambda: in_short(asked(guest, name)["status"]) == expected)


def test_each_way_to_a_source(lab, managed, results):
    """Idle programs, one for each way; what each draws first after the restore."""
    with managed("ways") as guest:
        for name, (lines, files, source) in WAYS.items():
            drop_ins = [guest.do(SNAPSAFE, "manager", "--print", file) for file in files]
            begun = guest.start(name, "idle", *lines, drop_ins=drop_ins, protected=name != "stock")
            if name != "stock":
                until_shown(guest, name, source, begun["status"])
                assert seen_from_outside(guest, name) == (source, source is not None), name
        # On a busy machine a program may have begun with another source, and to change it counts as a restore.
        before = {name: asked(guest, name) for name in WAYS}
        snapshot = guest.snapshot("ways-0", resume=False)

    def body(clone):
        begun = clone.run()
        for name, (_, _, source) in WAYS.items():
            if source is not None:
                assert clone.hear(name)["callback"] == before[name]["calls"] + 1, name
                if name == "reading":
                    late = time.monotonic() - begun
        reports = {name: asked(clone, name) for name in WAYS}
        return reports, late, described(clone), words_of(clone)

    (answers,) = lab.run_clones("ways", System(), [snapshot], CLONES, body).values()
    repeated = {}
    for name, (_, _, source) in WAYS.items():
        names = Names()
        for reports, *_ in answers:
            names.add({"random": reports[name]["random"], "ssl": reports[name]["ssl"]})
            if name != "stock":
                status = reports[name]["status"]
                assert in_short(status) == (source, source is not None), name
                assert status["epoch"] == before[name]["status"]["epoch"] + (1 if source else 0), name
        repeated[name] = {key: result["repeated"] for key, result in names.result().items()}
    for name, words in TITLES.items():
        for key, number in repeated[name].items():
            figures = {"clones": CLONES, "values": CLONES, "without": repeated["stock"][key], "ours": number}
            results.add("systemd", words, key, **figures)
    for _, _, found, words in answers:
        assert (found["source"], found["reseeded"]) == (DEVICE, True)
        assert words == (found["generation"], found["generation"], 0)
    slowest = round(max(late for _, late, *_ in answers), 2)
    note = f"VMClock and VMGenID, slowest of {CLONES}"
    results.add("systemd", TITLES["reading"], "seconds from the restore to the callback", ours=slowest, note=note)
    none, all_of_them = {"random": 0, "ssl": 0}, {"random": CLONES, "ssl": CLONES}
    assert repeated == {name: none if way[2] else all_of_them for name, way in WAYS.items()}


COUNT = 5000


def hot(lab, name, guest, snapshot):
    """Of clones of that snapshot: what is repeated, the reports, what the managers say, the files' words."""

    def body(clone):
        clone.run()
        return clone.hear("hot"), described(clone), words_of(clone)

    answers = lab.run_clones(name, System(), [snapshot], CLONES, body)[snapshot]
    reports, managers, words = zip(*answers, strict=True)
    assert {report["status"]["epoch"] for report in reports} == {1}
    assert {(found["source"], found["how"], found["reseeded"]) for found in managers} == {(None, "kmsg", True)}
    return by_surface(reports), reports, managers, words


def test_vmgenid_alone(lab, managed, results):
    """No VMClock: the kernel's message is all there is. Programs that run meanwhile repeat themselves until the file
    has moved; those that stand still until then do not, and may take the file for synchronous."""
    with managed("vmgenid") as guest:
        guest.do("systemctl", "stop", "snapsafe-manager")
        guest.do("modprobe", "-r", "ptp_vmclock")
        guest.do("systemctl", "start", "snapsafe-manager")
        begun = guest.start("hot", "hot", "Slice=cloned.slice", THREADS=1, COUNT=COUNT)
        assert in_short(begun["status"]) == ((PUBLISHED, "", False), True)
        guest.silent(0.5)
        running = guest.snapshot("running")
        guest.do("systemctl", "stop", "hot")
        guest.put("/etc/systemd/system/snapsafe-manager.service.d/freeze.conf", document("manager.md", "## --freeze"))
        guest.do("systemctl", "daemon-reload")
        guest.do("systemctl", "restart", "snapsafe-manager")
        begun = guest.start("hot", "hot", "Slice=cloned.slice", THREADS=1, COUNT=COUNT)
        assert in_short(begun["status"]) == ((PUBLISHED, "", True), True)
        guest.silent(0.5)
        assert call(guest, "Freeze") == {}
        frozen = guest.snapshot("frozen")
        assert call(guest, "Thaw", restored=False) == {}
        assert guest.silent(1), "the original was not restored"
        broken = guest.snapshot("promise-broken", resume=False)
    late, reports, _, words = hot(lab, "running", guest, running)
    timely, reports_frozen, _, words_frozen = hot(lab, "frozen", guest, frozen)
    for surface, result in timely.items():
        figures = {"clones": CLONES, "values": result["values"], "without": late[surface]["repeated"]}
        last = late[surface]["last"]
        note = "" if last is None else f"the last is draw {last + 1:,}"
        results.add("frozen over the snapshot", "VMGenID alone", surface, **figures, ours=result["repeated"], note=note)
    assert late["random.getrandbits()"]["repeated"] > 0
    assert late["ssl.RAND_bytes()"]["repeated"] > 0
    assert {surface: result["repeated"] for surface, result in timely.items()} == dict.fromkeys(timely, 0)
    for all_reports, all_words, synchronous in ((reports, words, False), (reports_frozen, words_frozen, True)):
        for report, (generation, reseeded, claim) in zip(all_reports, all_words, strict=True):
            assert in_short(report["status"]) == ((PUBLISHED, "", synchronous), True)
            assert (reseeded, claim) == (generation, int(synchronous))
    with lab.copy("promise", System(), broken) as guest:
        found = described(guest, lambda found: found["published"] == 1)
        assert "without Freeze" in found["problems"][0]
        assert words_of(guest)[2] == 0
        assert in_short(guest.hear("hot")["status"]) == ((PUBLISHED, "", False), True)


def test_a_manager_that_is_not_there(managed):
    """Killed, stopped, started late, its socket gone, no room for its file; and who may not bump."""
    with managed("harm") as guest:
        described(guest, lambda found: found["published"] == 2)
        for name in ("reading", "asking"):
            guest.start(name, "idle", *WAYS[name][0])
        pids = [state(guest, name, "MainPID") for name in ("reading", "asking")]
        guest.do("systemctl", "kill", "--signal=KILL", "snapsafe-manager")
        guest.until(lambda: state(guest, what="NRestarts") == "1" and state(guest) == "active")
        assert described(guest)["published"] == 0  # the file tells the next one what was published
        for name in ("reading", "asking"):
            until_shown(guest, name, WAYS[name][2])

        guest.do("systemctl", "stop", "snapsafe-manager")
        assert in_short(asked(guest, "asking")["status"]) == (WAYS["asking"][2], True)  # what is mapped stays
        report = asked(guest, "reading")["status"]
        assert (report["source"]["deserted"], report["protected"]) == (True, False)
        guest.do("sh", "-c", "rm -r /run/snapsafe/*")
        begun = guest.start("late", "idle", *HARDENED)
        assert in_short(begun["status"]) == (None, False)
        guest.do("systemctl", "start", "snapsafe-manager")
        described(guest)
        until_shown(guest, "late", WAYS["asking"][2])
        found = asked(guest, "reading")["status"]
        assert in_short(found) == (WAYS["reading"][2], True)
        assert found["epoch"] in (1, 2), found  # its file went, and another one came: unknown counts as a restore

        guest.do("rm", SOCKET)
        begun = guest.start("socketless", "idle", *HARDENED)
        assert in_short(begun["status"]) == ((PUBLISHED, "", False), True)

        guest.do("systemctl", "stop", "snapsafe-manager")
        guest.do(
            "sh", "-euc", "mount -t tmpfs -o mode=755,size=16k full /run/snapsafe; yes >/run/snapsafe/filler || true"
        )
        guest.do("systemctl", "start", "snapsafe-manager")
        problems = described(guest)["problems"]
        assert any("No space left on device" in problem for problem in problems), problems
        assert "No space left on device" in state(guest, what="StatusText")
        begun = guest.start("nowhere", "idle", *WAYS["reading"][0])
        assert in_short(begun["status"]) == (None, False)
        guest.do("rm", "/run/snapsafe/filler")
        guest.until(lambda: described(guest)["generation"])
        assert in_short(asked(guest, "nowhere")["status"]) == (WAYS["reading"][2], True)

        generation = words_of(guest)[0]
        for method in ({"method": "Bump"}, {"method": "Freeze"}, {"method": "Thaw", "restored": True}):
            assert "PermissionDenied" in call(guest, user="lab", **method)
        assert words_of(guest)[0] == generation
        assert call(guest, "Bump") == {"generation": words_of(guest)[0], "reseeded": True}
        assert words_of(guest)[0] > generation
        assert asked(guest, "nowhere")["status"]["epoch"] == 2
        assert [state(guest, name, "MainPID") for name in ("reading", "asking")] == pids
