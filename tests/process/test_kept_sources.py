"""What is mapped stays watched until something better is, whatever may be looked at; and slots are used again."""

import os
import subprocess
import sys

import pytest

from tests.helpers.managed import NOBODY, Manager, python_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="giving up the way to a file needs root")

# A daemon that has its source mapped, and gives up the way to it. `write` moves the generation.
BEGINS = """
    import os, random, sys
    import snapsafe_rt
    from snapsafe_rt.core import native
    path, jail = sys.argv[1:3]
    fd = os.open(path, os.O_RDWR)
    told = []
    snapsafe_rt.register_after_restore(lambda: told.append(snapsafe_rt.epoch()))
    snapsafe_rt.status()
    random.random()

    def write(number):
        state = random.getstate()
        os.pwrite(fd, number.to_bytes(8, "little"), 0x68)
        return random.getstate() != state

    def missed(number):
        "The twin: what a program that gives its source up would do with this restore."
        native.watch(-1, True)
        return not write(number)
"""
WAYS = {
    "chroot": "os.chroot(jail); os.chdir('/')",
    "setuid": "os.chmod(os.path.dirname(path), 0o700); os.setresuid(65533, 65533, 65533)",
    "no descriptor": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("watch", ["1", "0"])
def test_a_path_that_may_not_be_looked_at(run_python, source_file, tmp_path, way, watch):
    script = f"""
    {WAYS[way]}
    for _ in range(3):
        status = snapsafe_rt.status()
        assert snapsafe_rt.check() == 0 and not told, (snapsafe_rt.epoch(), told)
    assert status.source["source"] == "vmclock:" + path, status.as_dict()
    # Where it cannot be seen what is loaded, or whether the file has a name, that is no protection.
    assert status.protected == (sys.argv[3] == "setuid"), status.as_dict()
    assert not status.candidates[0]["usable"] and "is watched until" in status.candidates[0]["reason"]
    assert write(9)
    assert snapsafe_rt.check() == 1 and told == [1], told
    snapsafe_rt.status()
    assert snapsafe_rt.check() == 1 and told == [1], told
    assert missed(10)
    """
    source_file.path.parent.chmod(0o755)
    environment = {**source_file.env, "SNAPSAFE_WATCH": watch}
    run_python(BEGINS + script, source_file.path, tmp_path, way, env=environment)


def test_a_managers_file_whose_manager_cannot_be_seen(run_python, source_file, shm_path, tmp_path):
    """It is watched, but nobody could say that it is written: that is no protection. Seen from outside it is."""
    (shm_path / "run").mkdir()
    manager = Manager(shm_path / "run", source_file.uri)
    script = """
    import json, subprocess
    assert snapsafe_rt.status().protected
    waits = "import sys, subprocess; sys.stdin.read(); subprocess.run(sys.argv[1:])"
    command = [sys.executable, "-m", "snapsafe_rt", "status", "--json", "--pid", str(os.getpid())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    reader = subprocess.Popen([sys.executable, "-c", waits, *command], **pipes)
    os.chroot(jail)
    os.chdir("/")
    status = snapsafe_rt.status()
    assert not status.protected and status.source["distrust"], status.as_dict()
    outside = json.loads(reader.communicate(timeout=60)[0])
    assert outside["protected"] and outside["source"]["distrust"] == "", outside
    assert write(1 << 62)
    """
    try:
        run_python(BEGINS + script, manager.file, tmp_path, env={"SNAPSAFE_SOURCES": f"vmclock:{manager.file}"})
    finally:
        manager.close()


REPLACED = """
    import os, random, sys
    import snapsafe_rt
    from snapsafe_rt.source.vmclock_file import FileSource
    path = sys.argv[1]
"""


def test_any_number_of_replacements(run_python, source_file):
    """Each is a restore, and each new file is watched."""
    script = """
    for number in range(1, 41):
        state = random.getstate()
        os.unlink(path)
        FileSource(path).create()
        status = snapsafe_rt.status()
        assert status.protected and status.epoch == 2 * number - 1, (number, status.as_dict())
        assert random.getstate() != state
        state = random.getstate()
        FileSource(path).bump()
        assert random.getstate() != state and snapsafe_rt.epoch() == 2 * number
    """
    run_python(REPLACED + script, source_file.path, env=source_file.env)


def test_any_number_of_activations(run_python, source_file):
    """Each with files of its own."""
    script = """
    for number in range(20):
        snapsafe_rt.deactivate()
        files = [FileSource(f"{path}.{number}.{n}").create() for n in range(3)]
        snapsafe_rt.activate([file.uri for file in files])
        assert snapsafe_rt.status().protected, (number, snapsafe_rt.status().as_dict())
        state = random.getstate()
        files[0].bump()
        assert random.getstate() != state
    """
    run_python(REPLACED + script, source_file.path, env=source_file.env)


def test_a_slot_that_is_used_again_is_another_source(run_python, source_file):
    """While deactivated the file is replaced by one that shows the same number, and takes its slot: a restore."""
    script = """
    def gap(between):
        before = snapsafe_rt.epoch()
        snapsafe_rt.deactivate()
        between()
        snapsafe_rt.activate(["vmclock:" + path])
        return snapsafe_rt.epoch() - before

    def replace():
        with open(path, "rb") as file:
            page = file.read()
        os.unlink(path)
        FileSource(path).create()
        with open(path, "r+b", buffering=0) as file:
            file.write(page)

    assert gap(lambda: None) == 0  # the twin
    assert gap(replace) == 1
    assert gap(replace) == 1
    assert gap(lambda: None) == 0
    """
    run_python(REPLACED + script, source_file.path, env=source_file.env)


def test_seventeen_at_a_time(run_python, shm_path):
    """The limit is one of what is used at a time, and is said."""
    script = """
    import resource
    files = [FileSource(f"{path}/{n}").create() for n in range(17)]
    snapsafe_rt.activate([file.uri for file in files])
    reasons = [one["reason"] for one in snapsafe_rt.status().candidates]
    assert reasons[:16] == [""] * 16 and "one too many" in reasons[16], reasons
    """
    run_python(REPLACED + script, shm_path, activated=False)


def test_threads_draw_while_slots_are_used_again(run_python, source_file):
    """They read without a lock what is mapped elsewhere meanwhile."""
    script = """
    import ssl, threading
    over = threading.Event()

    def draw():
        while not over.is_set():
            ssl.RAND_bytes(1 << 14)
            random.random()

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        os.unlink(path)
        FileSource(path).create()
        assert snapsafe_rt.status().source is not None
    over.set()
    for thread in threads:
        thread.join()
    assert snapsafe_rt.epoch() == 300
    """
    run_python(REPLACED + script, source_file.path, env=source_file.env)


def test_a_file_of_another_users_record_is_not_opened(shm_path, source_file):
    """See also test_status_outside.py. Another user's record is shown as that user's word."""
    source_file.path.parent.chmod(0o755)
    python = python_for(NOBODY)
    script = "import random, sys; print('ready', flush=True); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_folders()), **source_file.env}
    one = subprocess.Popen([*NOBODY, python, "-c", script], env=environment, stdin=-1, stdout=-1)
    try:
        if one.stdout.readline() != b"ready\n":
            pytest.skip("this package lies where no other user may go")
        command = [sys.executable, "-m", "snapsafe_rt", "status", "--pid", str(one.pid)]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if "not activated" in said.stdout:
            pytest.skip("this package lies where no other user may go")
        assert "is the word of user nobody" in " ".join(said.stdout.split())
    finally:
        one.communicate(b"")


def _folders():
    from tests.conftest import FOLDER, PACKAGE

    return [str(FOLDER), str(PACKAGE.parent)]


@pytest.mark.parametrize(
    "call",
    [
        "snapsafe_rt.status()",
        "snapsafe_rt.check()",
        "snapsafe_rt.register_after_restore(print)",
        "snapsafe_rt.register_before_snapshot(print)",
        "import asyncio; loop.run_until_complete(snapsafe_rt.acheck())",
    ],
)
def test_nothing_is_raised_where_no_descriptor_is_left(run_python, source_file, call):
    """What is imported at the first call is read by a thread that has descriptors of its own."""
    script = f"""
    import asyncio, os, resource, sys
    import snapsafe_rt
    loop = asyncio.new_event_loop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))
    kept = []
    try:
        while True:
            kept.append(os.dup(2))
    except OSError:
        pass
    try:
        import wave  # the twin: stock cannot read a file
        sys.exit("there was a descriptor left")
    except OSError:
        pass
    {call}
    for fd in kept:
        os.close(fd)
    assert snapsafe_rt.status().source is not None
    loop.close()
    """
    run_python(script, env=source_file.env)


@pytest.mark.parametrize("barrier", ["check", "notify_restored", ""])
def test_the_first_barrier_without_a_watcher(run_python, source_file, barrier):
    """What the restore event renews is of the epoch in which it was imported, whoever asks first."""
    script = """
    import os, sys
    from refreshed_library import drawn
    before = drawn()
    with open(sys.argv[1], "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), bytes([9]), 0x68)
    import snapsafe_rt
    if sys.argv[2]:
        getattr(snapsafe_rt, sys.argv[2])()
    assert (drawn() != before) == bool(sys.argv[2])  # else the twin
    """
    run_python(
        script, source_file.path, barrier, env={**source_file.env, "SNAPSAFE_WATCH": "0"}, options=["-W", "ignore"]
    )
