"""The detectors of a restore: the best source of the list, watched as programs do; the kernel's log; gVisor's file.

When VMGenID changes, the kernel logs "crng reseeded due to virtual machine fork" (Linux drivers/char/random.c), and
nothing else of it reaches user space. The line comes late, but on a machine without VMClock it is all there is.
"""

import os
import time
from collections.abc import Callable

from snapsafe_rt import activation
from snapsafe_rt.core import native
from snapsafe_rt.manager.gvisor import Checkpoints
from snapsafe_rt.manager.loop import READ, Loop
from snapsafe_rt.restore import registration, watcher
from snapsafe_rt.source import selection
from snapsafe_rt.source.vmclock_file import Seen
from snapsafe_rt.state import state

KERNEL_LOG = "/dev/kmsg"
MESSAGE = b"random: crng reseeded due to virtual machine fork"
# Of Seen; a device's is its number, st_rdev.
ORIGIN_LOG, ORIGIN_GVISOR, ORIGIN_FILE = selection.NO_DEVICE, selection.NO_DEVICE | 1, selection.NO_DEVICE << 1
DRIVERS = ("/sys/bus/platform/drivers/vmgenid", "/sys/bus/acpi/drivers/vmgenid")  # since Linux 6.10; 5.18 to 6.9
START_SECONDS = 10.0  # for the watcher to start: a snapshot may be taken as soon as we say that we are ready
SAME_RESTORE_SECONDS = 5.0  # two detectors that fire within that have noticed the same restore


def vmgenid() -> bool:
    """Has this machine a VMGenID whose driver would tell the log?"""
    for folder in DRIVERS:
        try:
            if any(os.path.islink(os.path.join(folder, name)) and ":" in name for name in os.listdir(folder)):
                return True
        except OSError:
            pass
    return False


class KernelLog:
    """/dev/kmsg: a record is `priority,sequence,time,flags;message` (Linux Documentation/ABI/testing/dev-kmsg)."""

    def __init__(self) -> None:
        self.problem = ""
        self.first = 0
        self.last: int | None = None  # sequence number of the last message of a fork
        self._fd = -1
        try:
            self._fd = os.open(KERNEL_LOG, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            lack = "; it takes CAP_SYSLOG" if isinstance(error, PermissionError) else ""
            self.problem = f"{KERNEL_LOG} cannot be read ({error.strerror}{lack})"
            return
        self._lost = True
        self.read()

    @property
    def readable(self) -> bool:
        return self._fd >= 0

    def watch(self, loop: Loop, told: Callable[[], None], ended: Callable[[], None]) -> None:
        """Call told() when the log speaks of a fork, ended() when it can be read no more."""

        def ready(_: int) -> None:
            if self.read():
                told()
            if self._fd < 0:
                loop.forget(fd)
                os.close(fd)
                ended()

        fd = self._fd
        if fd >= 0:
            loop.watch(fd, READ, ready)

    def read(self) -> bool:
        """Read the new records. True if one speaks of a fork, or if some were overwritten that may have."""
        before, gap = self.last, False
        while self._fd >= 0:
            try:
                records = os.read(self._fd, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:  # some were overwritten before they were read
                self._lost = gap = True
                continue
            except OSError as error:
                self._end(error.strerror or str(error))
                break
            if not records:
                self._end("it has come to its end")
                break
            for record in records.split(b"\n"):
                self._take(record)
        return gap or self.last != before

    def _end(self, why: str) -> None:
        self.problem = f"{KERNEL_LOG} cannot be read any more ({why})"
        self._fd = -1

    def _take(self, record: bytes) -> None:
        head, _, message = record.partition(b";")
        fields = head.split(b",")
        if len(fields) < 3 or not fields[0].isdigit() or not fields[1].isdigit():
            return  # the continuation of a record
        sequence = int(fields[1])
        if self._lost:
            self.first, self._lost = sequence, False
        if int(fields[0]) >> 3 == 0 and message.startswith(MESSAGE):  # facility 0: what users write has another
            self.last = sequence

    @property
    def seen(self) -> Seen:
        """Differs between two looks if there was a fork in between, or if records of that time were overwritten."""
        return Seen(ORIGIN_LOG, self.first if self.last is None else self.last + 1)


class Detectors:
    """`names`: sources as in SNAPSAFE_SOURCES, without the file that this manager writes; `gvisor`: path of gVisor's
    file."""

    def __init__(self, names: list[str], gvisor: str) -> None:
        self.log = KernelLog()
        self.checkpoints = Checkpoints(gvisor)
        self.vmgenid = vmgenid()
        self._expected = 0.0  # until then a message of the kernel belongs to a restore that the source has shown
        self._heard_of_it = False  # was there a message of the restore that is published now?
        self._told = 0.0  # until then what a detector reports belongs to a restore that an agent told of
        self._has_list = bool(names)
        if names:
            activation.activate(names)

    def watch(self, loop: Loop) -> None:
        """From now on each restore advances the epoch and wakes the loop."""
        if self._has_list:  # else the registration would activate with the list of programs, which has our own file
            registration.register_after_restore(loop.wake)
            until = time.monotonic() + START_SECONDS
            while watcher.describe()["how"] == "starting" and time.monotonic() < until:
                time.sleep(0.001)

        def told() -> None:
            self._heard()
            loop.wake()

        self.log.watch(loop, told, loop.wake)
        self.checkpoints.watch(loop, told, loop.wake)

    def _heard(self) -> None:
        """The kernel or gVisor reports a restore."""
        before = native.inspect_epoch().epoch
        moved = native.epoch() != before
        echo = not moved and time.monotonic() < self._expected
        self._expected = 0.0
        self._heard_of_it |= not echo
        if not self.late() and (self.source is None or not (moved or echo)):
            native.advance()  # the source has not moved, and they know better

    def look(self) -> None:
        """Read now what the loop has not come to yet; afterwards the epoch has advanced if there was a restore."""
        if self.log.read():
            self._heard()
        if self.checkpoints.read():
            self._heard()

    def counted(self) -> None:
        """A restore was published. One message of it may still come; where that has come, the next is of another one,
        however little time the clock shows: it may have stood still meanwhile."""
        due = self.source is not None and not self._heard_of_it
        self._expected = time.monotonic() + SAME_RESTORE_SECONDS if due else 0.0
        self._heard_of_it = False

    def told(self) -> None:
        """A restore is published that an agent told of, and that no detector has noticed."""
        self._told = time.monotonic() + SAME_RESTORE_SECONDS

    def late(self) -> bool:
        """Does what a detector reports now belong to a restore that an agent told of before? True once for each of
        those. Never for a device: it moves before any agent runs."""
        source = self.source
        late = time.monotonic() < self._told and (source is None or not native.describe_source(source.slot).device)
        self.forget_told()
        return late

    def forget_told(self) -> None:
        self._told = 0.0

    def announced(self) -> None:
        """A snapshot begins: what is noticed from here on is of no restore before."""
        self._told = self._expected = 0.0

    @property
    def source(self) -> "selection.Candidate | None":
        watched = state.watched
        return None if watched is None or native.describe_source(watched.slot).lost else watched

    @property
    def any(self) -> bool:
        """Would anything notice a restore?"""
        return self.source is not None or self._log_tells or self.checkpoints.readable

    @property
    def _log_tells(self) -> bool:
        return self.vmgenid and self.log.readable

    @property
    def how(self) -> str:
        if self.source is not None:
            return watcher.describe()["how"]
        return "kmsg" if self._log_tells else "gvisor" if self.any else "off"

    @property
    def watched(self) -> str:
        """What is watched, in words."""
        if self.source is not None:
            return self.source.name
        return "the kernel's log" if self._log_tells else self.checkpoints.path if self.any else "nothing"

    def seen(self) -> Seen:
        source = self.source
        if source is None:
            told = self._log_tells or not self.checkpoints.readable
            return self.log.seen if told else Seen(ORIGIN_GVISOR, self.checkpoints.count)
        state = native.describe_source(source.slot)
        if state.device:
            return Seen(state.rdev, state.value)
        return Seen(ORIGIN_FILE | (state.dev << 40 ^ state.ino) & (ORIGIN_FILE - 1), state.value)

    def problems(self) -> list[str]:
        found = []
        if self.checkpoints.problem:
            found.append(f"gVisor's restores are not noticed: {self.checkpoints.problem}")
        if not self.any and not self.vmgenid:
            reasons = "; ".join(f"{one.name} {one.why_not}" for one in state.candidates)
            found.append(f"nothing tells this machine of a restore: no VMGenID; {reasons}")
        if self.log.problem and self.source is None and self.vmgenid:
            found.append(f"VMGenID alone tells of a restore, and {self.log.problem}")
        if self.source is not None and self.how in ("timer", "off"):
            found.append(f"{self.source.name} is looked at once a second ({watcher.describe()['reason']})")
        return found
