"""Which word of a manager's file lowers the fence of a program that watches the device: ss_file_attests in source.h."""

import struct

import pytest

from snapsafe_rt.source import vmclock_file
from snapsafe_rt.source.vmclock_file import Seen

pytestmark = pytest.mark.any_python


@pytest.fixture
def file(shm_path):
    path = shm_path / "published"
    vmclock_file.create(str(path), generation=5, reseeded=True, seen=Seen(99, 7))
    return path


def words(path):
    page = path.read_bytes()
    generation, reseeded = (struct.unpack_from("<Q", page, at)[0] for at in (0x68, 0x800))
    return generation, reseeded, *struct.unpack_from("<QQ", page, 0x810)


def test_what_is_written(file):
    assert words(file) == (5, 5, 99, 7)
    assert vmclock_file.last_seen(str(file)) == Seen(99, 7)
    _, new = vmclock_file.publish(str(file), reseeded=True, seen=Seen(99, 8))
    assert words(file) == (new, new, 99, 8)
    # Without a reseed the old claim is for another generation than the one that the file shows.
    _, newer = vmclock_file.publish(str(file), seen=Seen(99, 9))
    assert words(file) == (newer, new, 99, 9)
    # Somebody else moves it: what the manager saw stays, and its claim is void.
    _, last = vmclock_file.publish(str(file))
    assert words(file) == (last, new, 99, 9)


def test_no_moment_claims_too_much(file, monkeypatch):
    """Whoever reads between two writes finds no claim for a number that the kernel was not reseeded for."""
    write, moments = vmclock_file._write, []

    def recording(fd, offset, size, value):
        write(fd, offset, size, value)
        moments.append(words(file))

    monkeypatch.setattr(vmclock_file, "_write", recording)
    vmclock_file.publish(str(file), seen=Seen(99, 8))  # not reseeded
    claims = {(origin, seen) for generation, reseeded, origin, seen in moments if generation == reseeded}
    assert claims <= {(99, 7)}
    moments.clear()
    vmclock_file.publish(str(file), reseeded=True, seen=Seen(42, 9))  # for another device
    claims = {(origin, seen) for generation, reseeded, origin, seen in moments if generation == reseeded and origin}
    # The number of the one before is claimed until its word goes: the kernel was reseeded since.
    assert claims <= {(99, 8), (42, 9)}


def test_never_seen(shm_path):
    path = str(shm_path / "plain")
    vmclock_file.create(path)
    assert vmclock_file.last_seen(path) is None
    with pytest.raises(FileNotFoundError):
        vmclock_file.last_seen(path + "x")
