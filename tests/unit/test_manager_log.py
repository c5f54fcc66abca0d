"""The kernel's log as the manager reads it, and what it remembers of it over a new start."""

import errno
import os

import pytest

from snapsafe_rt.manager import detectors

pytestmark = pytest.mark.any_python

FORK = "random: crng reseeded due to virtual machine fork"


@pytest.fixture
def log(tmp_path, monkeypatch):
    """log(lines...) -> what a manager that starts now has seen."""
    path = tmp_path / "kmsg"
    monkeypatch.setattr(detectors, "KERNEL_LOG", str(path))

    def read(*lines):
        path.write_text("".join(f"{line}\n" for line in lines))
        return detectors.KernelLog()

    return read


def record(number, text="something", priority=5):
    return f"{priority},{number},1000,-;{text}"


def test_what_is_remembered(log):
    quiet = log(record(0), record(1))
    assert quiet.seen == log(record(0), record(1), record(2)).seen  # nothing happened
    forked = log(record(0), record(1, FORK), record(2))
    assert forked.seen != quiet.seen
    assert forked.seen == log(record(0), record(1, FORK), record(2), record(3)).seen
    assert forked.seen == log(record(1, FORK), record(9)).seen  # what is older was overwritten
    assert forked.seen != log(record(1, FORK), record(9, FORK)).seen


def test_what_cannot_be_told_counts_as_changed(log):
    forked = log(record(0), record(1, FORK))
    assert forked.seen == log(record(2), record(3)).seen  # all that came since is there
    assert forked.seen != log(record(3)).seen
    assert log(record(0)).seen != log(record(7)).seen


@pytest.mark.parametrize("priority", [13, 8 | 5, 16])
def test_others_are_not_believed(log, priority):
    assert log(record(0), record(1, FORK, priority)).last is None


@pytest.mark.parametrize(
    "line", ["", ";", "x,1,2;" + FORK, "5;" + FORK, " SUBSYSTEM=acpi", "5,x,1,-;" + FORK, "\x00\xff,1,1,-;" + FORK]
)
def test_lines_that_are_no_record(log, line):
    assert log(record(0), line).last is None


def test_overwritten_before_it_was_read(tmp_path, monkeypatch):
    """Perhaps it told of a fork."""
    os.mkfifo(tmp_path / "kmsg")
    writer = os.open(tmp_path / "kmsg", os.O_RDWR)
    monkeypatch.setattr(detectors, "KERNEL_LOG", str(tmp_path / "kmsg"))
    os.write(writer, f"{record(0)}\n".encode())
    one = detectors.KernelLog()
    os.write(writer, f"{record(50)}\n".encode())
    read, errors = os.read, [OSError(errno.EPIPE, "overwritten")]

    def overwritten(fd, size):
        if errors:
            raise errors.pop()
        return read(fd, size)

    monkeypatch.setattr(os, "read", overwritten)
    before = one.seen
    assert one.read() is True
    assert one.seen != before
    assert one.read() is False
    assert one.readable
    os.close(writer)
    assert one.read() is False
    assert not one.readable
    assert "cannot be read any more" in one.problem


def test_the_machines_own():
    one = detectors.KernelLog()
    assert one.readable or one.problem
