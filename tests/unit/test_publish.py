"""Writers of file sources: what readers may rely on, and what a writer leaves alone."""

import fcntl
import itertools
import mmap
import os
import select
import stat
import struct
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from snapsafe_rt.source import vmclock_file
from snapsafe_rt.source.vmclock_file import FileSource

from ..conftest import layout

pytestmark = [pytest.mark.any_python, pytest.mark.usefixtures("shm_path")]


@pytest.fixture
def path(shm_path):
    return str(shm_path / "vmclock0")


def word(path, offset, kind="Q"):
    with open(path, "rb") as file:
        return struct.unpack_from(f"<{kind}", file.read(4096), offset)[0]


def test_a_new_file_has_the_layout_of_the_contract(path):
    vmclock_file.create(path, generation=7, synchronous=True)
    with open(path, "rb") as file:
        page = file.read()
    assert len(page) == 4096
    assert page[:12] == struct.pack("<IIHBB", 0x4B4C4356, 4096, 1, 0xFF, 0)
    assert struct.unpack_from("<I", page, 0x0C)[0] % 2 == 0
    assert struct.unpack_from("<Q", page, 0x18)[0] == 1 << 8
    assert struct.unpack_from("<Q", page, 0x68)[0] == 7
    assert struct.unpack_from("<QI", page, 0x800) == (0, 1)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_everybody_reads_a_new_file_and_only_its_owner_writes_it(path, umask):
    before = os.umask(umask)
    try:
        vmclock_file.create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644


def test_create_never_replaces_what_is_there(path, shm_path):
    (shm_path / "vmclock0").write_text("precious")
    with pytest.raises(FileExistsError):
        vmclock_file.create(path)
    assert (shm_path / "vmclock0").read_text() == "precious"
    assert os.listdir(shm_path) == ["vmclock0"]


def test_a_generation_only_rises_and_differs_between_machines(path):
    vmclock_file.create(path, generation=5)
    old, new = vmclock_file.publish(path)
    assert old == 5
    assert abs(new - time.time_ns()) < 60e9  # not 6: an image dumped at 5 elsewhere must see a change as well
    ahead = new + 10**18
    vmclock_file.publish(path, generation=ahead)
    assert vmclock_file.publish(path) == (ahead, ahead + 1)


def test_the_greatest_generation_is_followed_by_another_one(path):
    vmclock_file.create(path, generation=2**64 - 1)
    old, new = vmclock_file.publish(path)
    assert old == 2**64 - 1
    assert 0 < new < old


def test_a_given_generation_is_written_once(path):
    source = FileSource(path).create()
    assert source.bump(10**19) == 10**19
    sequence = word(path, 0x0C, "I")
    assert source.bump(10**19) == 10**19
    assert word(path, 0x0C, "I") == sequence
    assert source.generation == 10**19
    assert source.uri == f"vmclock:{path}"


@pytest.mark.parametrize("before", [0, 2, 3, 2**32 - 1, 2**32 - 2])
def test_the_sequence_count_moves_and_ends_even_even_after_a_writer_that_died(path, before):
    vmclock_file.create(path)
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<I", before), 0x0C)
    vmclock_file.publish(path)
    after = word(path, 0x0C, "I")
    assert after % 2 == 0
    assert after != before


def test_a_reader_of_the_mapping_never_sees_half_a_generation(path):
    """All bytes of each generation are alike, so a mixture shows."""
    vmclock_file.create(path, generation=0)
    done = threading.Event()

    def write():
        for number in itertools.count():
            vmclock_file.publish(path, generation=int.from_bytes(bytes([1 + number % 250]) * 8, "little"))
            if number >= 100 and (accepted or number >= 20000):
                break
        done.set()

    with open(path, "rb") as file:
        page = mmap.mmap(file.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_READ)
    accepted = 0
    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        before = struct.unpack_from("<I", page, 0x0C)[0] & ~1
        value = bytes(page[0x68:0x70])
        if struct.unpack_from("<I", page, 0x0C)[0] == before:
            accepted += 1
            assert len(set(value)) == 1
    writer.join()
    assert accepted


def test_reseeded_is_claimed_for_the_new_generation_and_no_later_one(path):
    vmclock_file.create(path)
    _, new = vmclock_file.publish(path, reseeded=True)
    assert word(path, 0x800) == new
    vmclock_file.publish(path)
    assert word(path, 0x800) == new != word(path, 0x68)


def test_a_file_of_just_the_layout_is_written(path, shm_path):
    (shm_path / "vmclock0").write_bytes(layout(1)[:112])
    _, new = vmclock_file.publish(path)
    assert word(path, 0x68) == new
    assert os.path.getsize(path) == 112


def bad(page, offset, form, value):
    page = bytearray(page)
    struct.pack_into(form, page, offset, value)
    return bytes(page)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "layout"),
        (layout(1)[:111], "layout"),
        (b"#!/bin/sh\n" * 500, "layout"),
        (bad(layout(1), 8, "<H", 2), "version"),
        (bad(layout(1), 0x18, "<Q", 0), "flag"),
    ],
)
def test_what_is_no_source_is_left_as_it_is(path, shm_path, content, why):
    (shm_path / "vmclock0").write_bytes(content)
    with pytest.raises(vmclock_file.NotASource, match=why):
        vmclock_file.publish(path)
    assert (shm_path / "vmclock0").read_bytes() == content


def test_devices_fifos_and_folders_are_refused_at_once(path):
    with pytest.raises(vmclock_file.NotASource, match="device"):
        vmclock_file.publish("/dev/null")
    os.mkfifo(path)
    with pytest.raises(vmclock_file.NotASource, match="regular"):
        vmclock_file.publish(path)
    with pytest.raises(IsADirectoryError):
        vmclock_file.publish(os.path.dirname(path))


def test_overlayfs_is_refused(path, monkeypatch):
    monkeypatch.setattr(vmclock_file, "filesystem", lambda path: "overlay")
    with pytest.raises(vmclock_file.NotASource, match=r"overlay.*tmpfs"):
        vmclock_file.create(path)
    assert not os.path.exists(path)


def test_the_filesystem_of_a_path_that_is_not_there_yet_is_its_folders(shm_path):
    assert vmclock_file.filesystem(f"{shm_path}/no/such/file") == vmclock_file.filesystem("/dev/shm") == "tmpfs"
    assert vmclock_file.filesystem("/proc/1") == "proc"


def test_whoever_may_read_the_file_cannot_hold_a_restore_back(path):
    vmclock_file.create(path)
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        began = time.monotonic()
        old, new = vmclock_file.publish(path)
    assert new > old
    assert time.monotonic() - began < 5


def test_writers_wait_for_each_other(path):
    """Four processes, no generation lost: each of their new ones is the old one of exactly one other."""
    vmclock_file.create(path, generation=0)
    script = textwrap.dedent("""
        import sys
        from snapsafe_rt.source import vmclock_file
        vmclock_file.LOCK_SECONDS = 60  # else who is held off the CPU for longer is not waited for
        for _ in range(200):
            print(*vmclock_file.publish(sys.argv[1]))
    """)
    command = [sys.executable, "-c", script, path]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    steps = [line.split() for writer in writers for line in writer.communicate(timeout=60)[0].splitlines()]
    assert len(steps) == len({old for old, _ in steps}) == len({new for _, new in steps}) == 800


def test_inotify_tells_of_a_new_generation(path):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        pytest.skip("no inotify instance left for this user")
    try:
        vmclock_file.create(path)
        assert libc.inotify_add_watch(fd, path.encode(), 2) > 0  # IN_MODIFY
        vmclock_file.publish(path)
        assert select.select([fd], [], [], 5)[0]
    finally:
        os.close(fd)


def test_private_folders_are_fit_for_a_source():
    for folder in vmclock_file.private_folders():
        assert os.access(folder, os.W_OK)
        assert vmclock_file.filesystem(folder) != "overlay"
