"""A source that cannot be used has its reason in status(), is fatal under SNAPSAFE_STRICT=1, and hurts no program."""

import os
import socket
import stat
import struct
import subprocess

import pytest

from tests.conftest import layout

# Prints the reason for the one candidate; then draws from everything that is guarded without an import of its own.
PROBE = """
    import json, os, random, sys, uuid, ssl
    import snapsafe_rt
    status = snapsafe_rt.status()
    [candidate] = status.as_dict()["candidates"]
    assert not candidate["usable"] and status.source is None and not status.protected, status.as_dict()
    random.random(), os.urandom(8), uuid.uuid4(), uuid.uuid1(), ssl.RAND_bytes(8), snapsafe_rt.entropy(8)
    assert snapsafe_rt.epoch() == 0 and snapsafe_rt.notify_restored() == 1 == snapsafe_rt.epoch()
    assert set(status.unprotected) >= {"os", "random"} or "random" not in sys.modules, status.unprotected
    print(candidate["reason"])
"""


def missing(path):
    pass


def empty(path):
    path.touch()


def short(path):
    path.write_bytes(layout(7)[:111])


def wrong_magic(path):
    path.write_bytes(b"KCLV" + layout(7)[4:])


def other_version(path):
    page = bytearray(layout(7))
    page[8] = 2
    path.write_bytes(page)


def no_generation(path):
    page = bytearray(layout(7))
    page[0x18:0x20] = bytes(8)
    path.write_bytes(page)


def directory(path):
    path.mkdir()


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))


def dangling_link(path):
    path.symlink_to("nowhere")


def writable_by_all(path):
    path.write_bytes(layout(7))
    path.chmod(0o646)


def writable_by_group(path):
    path.write_bytes(layout(7))
    os.chown(path, -1, 12345)
    path.chmod(0o664)


def writable_by_roots_group(path):
    """In a container that runs as some user of that group, as OpenShift's do, that is whoever runs there."""
    path.write_bytes(layout(7))
    os.chown(path, -1, 0)
    path.chmod(0o664)


def writable_by_an_access_list(path):
    path.write_bytes(layout(7))
    give(path, 12345, 6)


def give(path, user, rights):
    """By an access list. Its format: Linux include/uapi/linux/posix_acl_xattr.h"""
    nobody = 0xFFFFFFFF
    entries = (0x01, 6, nobody), (0x02, rights, user), (0x04, 4, nobody), (0x10, rights, nobody), (0x20, 4, nobody)
    access_list = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", access_list)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")


def of_another_user(path):
    path.write_bytes(layout(7))
    os.chown(path, 12345, -1)


def a_character_device_that_is_none(path):
    path.symlink_to("/dev/null")


def one_that_can_be_mapped(path):
    path.symlink_to("/dev/zero")


NEEDS_ROOT = (writable_by_group, writable_by_roots_group, of_another_user)
WRITABLE = (writable_by_all, writable_by_group, writable_by_roots_group, writable_by_an_access_list)
CASES = {
    missing: "does not exist",
    empty: "is shorter than the layout",
    short: "is shorter than the layout",
    wrong_magic: "does not begin with VMClock's magic",
    other_version: "has a layout version other than 1",
    no_generation: "has the generation flag (bit 8) clear",
    directory: "is neither a device nor a regular file",
    fifo: "is neither a device nor a regular file",
    unix_socket: "is neither a device nor a regular file",
    dangling_link: "does not exist",
    writable_by_all: "can be written by other users",
    writable_by_group: "can be written by other users",
    writable_by_roots_group: "can be written by other users",
    writable_by_an_access_list: "can be written by other users",
    of_another_user: "belongs to another user",
    a_character_device_that_is_none: "is a device of another kind",  # which cannot be mapped
    one_that_can_be_mapped: "is a device of another kind",  # and would read as a generation that never moves
}


@pytest.fixture(params=CASES, ids=lambda make: make.__name__)
def bad(request, shm_path):
    """(path, expected reason) of a source that is none."""
    make = request.param
    if make in NEEDS_ROOT and os.geteuid() != 0:
        pytest.skip("changing the owner of a file needs root")
    path = shm_path / "vmclock0"
    make(path)
    if path.exists() and not path.is_symlink() and make not in WRITABLE:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o022)
    return path, CASES[make]


def test_reason_is_told_and_program_runs(run_python, bad):
    path, reason = bad
    assert run_python(PROBE, env={"SNAPSAFE_SOURCES": f"vmclock:{path}"}).strip().startswith(reason)


def test_an_access_list_may_give_the_right_to_read(run_python, source_file):
    give(source_file.path, 12345, 4)
    script = "import snapsafe_rt; print(snapsafe_rt.status().protected)"
    assert run_python(script, env=source_file.env).strip() == "True"


def test_strict_refuses(run_python, bad):
    path, reason = bad
    environment = {"SNAPSAFE_SOURCES": f"vmclock:{path}", "SNAPSAFE_STRICT": "1"}
    line = run_python("print('not reached')", env=environment, status=78, stream="stderr")
    assert line.startswith("snapsafe: refusing to start (SNAPSAFE_STRICT=1): ")
    assert reason in line
    assert line.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_unreadable(run_python, source_file):
    source_file.path.chmod(0o600)
    become = """
    import json, os, random, ssl, sys, uuid
    import snapsafe_rt
    snapsafe_rt.status()
    os.setresuid(65534, 65534, 65534)    # after the imports: this Python may lie where nobody reads
    snapsafe_rt.activate()
    """
    reason = run_python(become + PROBE, env=source_file.env, activated=False).strip()
    assert reason == "may not be opened by this user (Permission denied)"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_overlayfs(run_python, shm_path):
    """A bump through the overlay would copy the file up and leave every older mapping behind."""
    lower, upper, work, merged = (shm_path / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower, upper, work, merged):
        folder.mkdir()
    (lower / "vmclock0").write_bytes(layout(7))
    (lower / "vmclock0").chmod(0o644)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mounted = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no overlayfs here: {mounted.stderr.strip()}")
    try:
        reason = run_python(PROBE, env={"SNAPSAFE_SOURCES": f"vmclock:{merged / 'vmclock0'}"}).strip()
    finally:
        subprocess.run(["umount", str(merged)], check=True)
    assert reason.startswith("lies on a filesystem where a mapping may not follow what is written")


# What becomes of a source while it is watched. Each ends with a renewed state: unknown counts as changed.
WATCHED = """
    import os, random, sys
    import snapsafe_rt
    from stage import write
    path = sys.argv[1]
    assert snapsafe_rt.status().protected
    state = random.getstate()

    def renewed():
        return random.getstate() != state
"""


@pytest.mark.parametrize("size", [0, 1, 100])
def test_truncated_while_mapped(run_python, source_file, size):
    """A load beyond the end raises SIGBUS, which kills a program that does not handle it."""
    script = f"""
    from snapsafe_rt.core import native
    os.truncate(path, {size})
    assert renewed()
    assert native.epoch() == 1  # which looks for no source: cut to 100 bytes it showed 0, and would now be lost as well
    status = snapsafe_rt.status()
    assert status.source is None and "is shorter than the layout" in status.candidates[0]["reason"], status.as_dict()
    os.truncate(path, 0)
    random.random(), os.urandom(4)
    print("alive")
    """
    assert run_python(WATCHED + script, source_file.path, env=source_file.env).strip() == "alive"


def test_two_threads_find_it_truncated(run_python, source_file, compile_native):
    """Each makes the hole; neither may take from the other what it is still writing to."""
    script = """
    import ctypes, ssl
    from snapsafe_rt.core import native
    seams = ctypes.CDLL(None)
    [library] = native.libcryptos()
    rand_bytes = ctypes.cast(ctypes.CDLL(library.path).RAND_bytes, ctypes.c_void_p)
    os.truncate(path, 0)
    assert seams.sigbus_draw_twice(rand_bytes) == 2
    assert snapsafe_rt.epoch() == 1 and snapsafe_rt.status().source is None
    """
    env = source_file.env | {"LD_PRELOAD": str(compile_native("sigbus_seam.c"))}
    run_python(WATCHED + script, source_file.path, env=env)


def test_truncated_where_every_bit_is_set(run_python, source_file):
    """The hole differs from each generation, from the highest too."""
    source_file.bump(2**64 - 1)
    script = """
    os.truncate(path, 0)
    assert renewed()
    assert snapsafe_rt.epoch() == 1 and snapsafe_rt.status().source is None
    """
    run_python(WATCHED + script, source_file.path, env=source_file.env)


def test_truncation_kills_without_us(run_python, source_file):
    """The twin: the same load, from a mapping of the program's own."""
    script = """
    import mmap, os, sys
    with open(sys.argv[1], "rb") as file:
        page = mmap.mmap(file.fileno(), 112, mmap.MAP_SHARED, mmap.PROT_READ)
    os.truncate(sys.argv[1], 0)
    page[0]
    """
    run_python(script, source_file.path, env={"SNAPSAFE": "0"}, status=-7)


@pytest.mark.parametrize("order", ["faulthandler first", "faulthandler second"])
def test_sigbus_of_others_still_kills(run_python, source_file, order):
    """Ours fills holes in the source's page only; every other SIGBUS goes on to whoever was there before."""
    options = ["-X", "faulthandler"] if order == "faulthandler first" else []  # -X dev would enable it first
    script = """
    import faulthandler, mmap, os, sys, tempfile
    import snapsafe_rt
    assert snapsafe_rt.status().protected
    if sys.argv[2] == "faulthandler second":
        faulthandler.enable()
        assert any("SIGBUS" in problem for problem in snapsafe_rt.status().problems)
    with tempfile.TemporaryFile() as file:
        file.write(bytes(4096))
        file.flush()
        page = mmap.mmap(file.fileno(), 4096)
        file.truncate(0)
        page[0]
    """
    trace = run_python(
        script, source_file.path, order, env=source_file.env, status=-7, stream="stderr", options=options, dev=False
    )
    assert "Fatal Python error: Bus error" in trace


def test_faulthandler_above_ours_passes_the_loss_on(run_python, source_file):
    """It tells of the fault, as it would of any other, and raises the signal again: for us."""
    script = """
    import faulthandler, signal
    faulthandler.enable()
    os.truncate(path, 0)
    assert renewed() and snapsafe_rt.epoch() == 1
    assert not any("SIGBUS" in problem for problem in snapsafe_rt.status().problems)
    signal.raise_signal(signal.SIGBUS)  # nobody's fault: it still kills
    """
    path, env = source_file.path, source_file.env
    trace = run_python(WATCHED + script, path, env=env, status=-7, stream="stderr", dev=False)
    assert trace.count("Fatal Python error: Bus error") == 1


def test_a_loss_is_one_restore(run_python, source_file):
    """Which a draw notices; who looks for another source and finds none has nothing to add."""
    script = """
    from snapsafe_rt.source import probe
    from snapsafe_rt.core import native
    os.truncate(path, 0)
    assert renewed() and native.epoch() == 1
    probe.probe(now=True)
    assert native.epoch() == 1 and snapsafe_rt.status().source is None
    """
    run_python(WATCHED + script, source_file.path, env=source_file.env)


def test_overwritten(run_python, source_file):
    script = """
    write(0, 0, 112)
    assert renewed() and snapsafe_rt.epoch() == 1
    assert "magic" in snapsafe_rt.status().candidates[0]["reason"]
    """
    run_python(WATCHED + script, source_file.path, env=source_file.env)


def test_replaced(run_python, source_file):
    """The mapped file is nobody's any more: the new one at the path is watched from the next probe on."""
    script = """
    new = path + ".new"
    with open(path, "rb") as file:
        page = bytearray(file.read())
    page[0x68] = 1
    with open(new, "wb") as file:
        file.write(page)
    os.chmod(new, 0o644)
    os.rename(new, path)
    status = snapsafe_rt.status()
    assert status.protected and status.source["value"] == 1 and status.epoch == 1, status.as_dict()
    assert renewed()
    state = random.getstate()
    write(0x68, 2)
    assert renewed() and snapsafe_rt.epoch() == 2
    """
    run_python(WATCHED + script, source_file.path, env=source_file.env)


def test_removed(run_python, source_file):
    """Nobody writes it any more, so it protects nothing. It is watched all the same until there is another."""
    script = """
    os.rename(path, path + ".kept")
    status = snapsafe_rt.status()
    assert status.source is None and "does not exist" in status.candidates[0]["reason"], status.as_dict()
    assert not status.protected and "random" in status.unprotected
    assert not renewed() and snapsafe_rt.epoch() == 0
    fd = os.open(path + ".kept", os.O_WRONLY)
    os.pwrite(fd, bytes([9]), 0x68)
    assert renewed() and snapsafe_rt.epoch() == 1
    os.rename(path + ".kept", path)
    assert snapsafe_rt.status().protected and snapsafe_rt.epoch() == 1
    """
    run_python(WATCHED + script, source_file.path, env=source_file.env)


def test_stuck(run_python, source_file):
    """A writer that died half-way: the change counts once, is told, and later changes count as well."""
    script = """
    write(0x0c, 3, 4)
    assert not renewed() and snapsafe_rt.epoch() == 0    # nothing changed yet
    write(0x68, 99)
    assert renewed() and snapsafe_rt.epoch() == 1
    state = random.getstate()
    for _ in range(1000):
        random.random()
    assert snapsafe_rt.epoch() == 1
    status = snapsafe_rt.status()
    assert status.source["stuck"] and any("half-way" in problem for problem in status.problems)
    state = random.getstate()
    write(0x68, 100)
    assert renewed() and snapsafe_rt.epoch() == 2
    write(0x0c, 4, 4)
    assert not snapsafe_rt.status().source["stuck"] and snapsafe_rt.epoch() == 2
    """
    run_python(WATCHED + script, source_file.path, env=source_file.env)


def test_going_backwards(run_python, source_file):
    """Any difference is a restore: a CRIU image may come to a host whose counter is behind."""
    script = """
    write(0x68, 0)
    assert renewed() and snapsafe_rt.epoch() == 1
    """
    run_python(WATCHED + script, source_file.path, env=source_file.env)


def test_late(run_python, shm_path):
    """Made after activation: found again by status(), epoch() and in a forked child, and its coming counts."""
    script = """
    import os, sys
    import snapsafe_rt
    assert snapsafe_rt.status().source is None
    with open(sys.argv[1], "wb") as file:
        file.write(bytes.fromhex(sys.argv[2]))
    os.chmod(sys.argv[1], 0o644)
    child = os.fork()
    if child == 0:
        from snapsafe_rt.state import state
        os._exit(0 if state.watched is not None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    status = snapsafe_rt.status()
    assert status.protected and status.epoch == 1, status.as_dict()
    """
    path = shm_path / "late"
    run_python(script, path, layout(1).hex(), env={"SNAPSAFE_SOURCES": f"vmclock:{path}"})


def test_sysgenid_is_32_bits(run_python, shm_path):
    path = shm_path / "sysgenid"
    path.write_bytes(bytes(4) + b"\xff" * 4)
    path.chmod(0o644)
    script = """
    import os, random, sys
    import snapsafe_rt
    assert snapsafe_rt.status().source["value"] == 0
    state = random.getstate()
    fd = os.open(sys.argv[1], os.O_WRONLY)
    os.pwrite(fd, bytes(4), 4)       # beyond the counter
    assert random.getstate() == state and snapsafe_rt.epoch() == 0
    os.pwrite(fd, bytes([1]), 0)
    assert random.getstate() != state and snapsafe_rt.epoch() == 1
    """
    run_python(script, path, env={"SNAPSAFE_SOURCES": f"sysgenid:{path}"})


@pytest.mark.parametrize(("kind", "synchronous"), [("sysgenid", False), ("vmclock", True)])
def test_what_user_space_moves_is_late(run_python, shm_path, compile_native, kind, synchronous):
    """A hypervisor moves VMClock before a clone runs; whoever is told to moves SysGenID, and programs run meanwhile."""
    path = shm_path / "device"
    path.write_bytes(layout(1))
    found = path.stat()
    script = """
    import json, subprocess, sys, uuid
    import snapsafe_rt
    uuid.uuid4()
    status = snapsafe_rt.status()
    outside = subprocess.run([sys.executable, "-m", "snapsafe_rt", "status", "--json", "--pid", str(status.pid)],
                             stdout=subprocess.PIPE).stdout
    for source in status.source, json.loads(outside)["source"]:
        assert "device" in source["what"] and source["synchronous"] == (sys.argv[1] == "True"), source
    from builds import FREE_THREADED
    note = next(row.note for row in status.rows if row.name == "uuid")
    assert ("drawn ahead" in note.split(";")[0]) == (sys.argv[1] == "True" and not FREE_THREADED), note
    """
    preload = {"LD_PRELOAD": str(compile_native("device.c")), "STANDIN_DEVICE": f"{found.st_dev}:{found.st_ino}"}
    run_python(script, str(synchronous), env={"SNAPSAFE_SOURCES": f"{kind}:{path}", **preload})


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SNAPSAFE", "yes", "SNAPSAFE='yes' is not one of 0, 1; 1 is used instead"),
        ("SNAPSAFE_SEEDED", "maybe", "SNAPSAFE_SEEDED='maybe' is not one of keep, reseed; keep is used instead"),
        ("SNAPSAFE_DISRUPTION", "x", "SNAPSAFE_DISRUPTION='x' is not one of event, reseed; event is used instead"),
        ("SNAPSAFE_WATCH", "2", "SNAPSAFE_WATCH='2' is not one of 0, 1; 1 is used instead"),
        (
            "SNAPSAFE_LIFECYCLE",
            "x",
            "SNAPSAFE_LIFECYCLE='x' is not one of logind, off, snapsafe; snapsafe is used instead",
        ),
        ("SNAPSAFE_STRICT", "true", "SNAPSAFE_STRICT='true' is not one of 0, 1; 0 is used instead"),
        ("SNAPSAFE_SOURCES", "vmclock", "SNAPSAFE_SOURCES: source 'vmclock': must be vmclock:PATH or sysgenid:PATH"),
        ("SNAPSAFE_SOURCES", "vmclock:rel", "SNAPSAFE_SOURCES: source 'vmclock:rel': the path must be absolute"),
        (
            "SNAPSAFE_SOURCES",
            "vmgenid:/x",
            "SNAPSAFE_SOURCES: source 'vmgenid:/x': must be vmclock:PATH or sysgenid:PATH",
        ),
        ("SNAPSAFE_SOURCES", ",", "SNAPSAFE_SOURCES: no source is named"),
    ],
)
def test_bad_values(run_python, source_file, variable, value, told):
    environment = {**source_file.env, variable: value}
    script = "import random, snapsafe_rt; random.random(); print(*snapsafe_rt.status().problems, sep='\\n')"
    assert told in run_python(script, env=environment).splitlines()
    if variable != "SNAPSAFE_STRICT":
        line = run_python(script, env={**environment, "SNAPSAFE_STRICT": "1"}, status=78, stream="stderr")
        assert told in line
