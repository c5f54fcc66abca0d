"""packaging/criu/snapsafe.sh writes what snapsafe_rt.source.vmclock_file writes, and nothing to what is no source.

That it runs at the right moment is shown with CRIU itself: tests/criu.
"""

import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from snapsafe_rt.source import vmclock_file

from ..conftest import layout

pytestmark = pytest.mark.any_python

SCRIPT = Path(__file__).parents[2] / "packaging/criu/snapsafe.sh"


@pytest.fixture
def script(shm_path):
    """script() -> (status, stderr), as CRIU runs it for a tree whose first process is this one."""

    def run(action="post-restore", file=shm_path / "vmclock0", pid=None):
        environment = {
            "PATH": os.environ["PATH"],
            "SNAPSAFE_FILE": str(file),
            "CRTOOLS_SCRIPT_ACTION": action,
            "CRTOOLS_INIT_PID": str(pid or os.getpid()),
        }
        done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout == ""
        return done.returncode, done.stderr

    return run


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (0, None),
        (5, None),
        (2**63 - 1, 2**63),
        (2**63, 2**63 + 1),
        (2**64 - 2, 2**64 - 1),
        (2**64 - 1, None),
        (9 * 10**18, 9 * 10**18 + 1),
    ],
)
def test_the_generation_is_the_clock_or_one_more_than_the_old_one(script, shm_path, old, new):
    path = shm_path / "vmclock0"
    vmclock_file.create(str(path), synchronous=True, generation=old)
    before = path.read_bytes()
    assert script() == (0, "")
    after = path.read_bytes()
    (written,) = struct.unpack_from("<Q", after, 0x68)
    assert written == new or (new is None and abs(written - time.time_ns()) < 60e9)
    assert struct.unpack_from("<I", after, 0x0C)[0] == struct.unpack_from("<I", before, 0x0C)[0] + 2
    assert after[0x10:0x68] + after[0x70:] == before[0x10:0x68] + before[0x70:]


@pytest.mark.parametrize("count", [1, 2**32 - 1, 2**32 - 2])
def test_the_sequence_count_ends_even_also_after_a_writer_that_died(script, shm_path, count):
    page = bytearray(layout(1))
    struct.pack_into("<I", page, 0x0C, count)
    (shm_path / "vmclock0").write_bytes(page)
    assert script() == (0, "")
    after = struct.unpack_from("<I", (shm_path / "vmclock0").read_bytes(), 0x0C)[0]
    assert after % 2 == 0
    assert after != count


@pytest.mark.parametrize("action", ["pre-restore", "post-resume", "pre-dump", ""])
def test_other_actions_do_nothing(script, shm_path, action):
    (shm_path / "vmclock0").write_bytes(layout(1))
    assert script(action) == (0, "")
    assert (shm_path / "vmclock0").read_bytes() == layout(1)


def test_a_container_without_a_file_is_let_through(script, shm_path):
    assert script() == (0, "")
    assert list(shm_path.iterdir()) == []


def no_generation():
    page = bytearray(layout(1))
    page[0x18:0x20] = bytes(8)
    return bytes(page)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "layout"), (b"KCLV" + layout(1)[4:], "layout"), (no_generation(), "generation"), (None, "regular")],
)
def test_what_is_no_source_ends_the_restore_and_is_left_as_it_is(script, shm_path, content, why):
    path = shm_path / "vmclock0"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    status, said = script()
    assert status == 1
    assert said.count("\n") == 1
    assert said.startswith(f"snapsafe: {path}: ")
    assert why in said
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize("link", ["file", "folder", "dangling"])
def test_a_container_cannot_lead_it_to_a_file_of_the_host(script, shm_path, link):
    other = shm_path / "other"
    other.mkdir()
    (other / "vmclock0").write_bytes(layout(1))
    if link == "folder":
        (shm_path / "folder").symlink_to(other)
        file = shm_path / "folder/vmclock0"
    else:
        file = shm_path / "vmclock0"
        file.symlink_to(other / "vmclock0" if link == "file" else "/no/such")
    status, said = script(file=file)
    assert status == 1
    assert "symbolic link" in said
    assert (other / "vmclock0").read_bytes() == layout(1)


@pytest.mark.parametrize("mount", ["mount -t tmpfs own", "mount --bind -o ro"])
def test_the_file_of_the_tasks_is_moved_where_they_see_it(script, shm_path, tmp_path, mount):
    """Their own on a tmpfs, beside which another one here is left alone; or ours, mounted read-only."""
    own = "tmpfs" in mount
    path, page = shm_path / "vmclock0", tmp_path / "page"
    path.write_bytes(layout(1))
    page.write_bytes(layout(2))
    look = f"od -An -tu8 -j104 -N8 {path}"
    there = f"{mount} {'' if own else shm_path} {shm_path} && {f'cp {page} {path}' if own else ':'}"
    command = ["unshare", "--mount", "sh", "-c", f"{there} && {look} && read line && {look}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as container:
        first = container.stdout.readline()
        if not first:
            pytest.skip("no mount namespaces here")
        assert int(first) == (2 if own else 1)
        assert script(pid=container.pid) == (0, "")
        told, _ = container.communicate("\n", timeout=30)
    moved = int(told)
    assert moved > 10**18
    (here,) = struct.unpack_from("<Q", path.read_bytes(), 0x68)
    assert here == (1 if own else moved)
