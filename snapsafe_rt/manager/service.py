"""The manager itself: restore in, reseed and generation out; and what it answers over Varlink."""

import base64
import contextlib
import fcntl
import os
import signal
import socket
import sys
import time

from snapsafe_rt import settings
from snapsafe_rt.core import native
from snapsafe_rt.manager import varlink
from snapsafe_rt.manager.connections import Connections
from snapsafe_rt.manager.freezer import Freezer, NotFrozen, left_frozen, thaw_left
from snapsafe_rt.manager.interface import INTERFACE
from snapsafe_rt.manager.loop import Loop, Timer
from snapsafe_rt.manager.publisher import Publisher, reseed
from snapsafe_rt.manager.signs import SAME_RESTORE_SECONDS, Signs
from snapsafe_rt.manager.snapshots import Snapshots, must_be_trusted
from snapsafe_rt.manager.varlink import Call, Reply, invalid
from snapsafe_rt.source.vmclock_file import ENTROPY_LEAST, ENTROPY_MOST

RESEEDING = "CAP_SYS_ADMIN, and a CPU with RDRAND or RNDR, or a host's bytes by Bump"
RETRY_SECONDS = 10.0  # while the file cannot be written; nothing else ticks
PUBLISH_TRIES = 16
FROZEN_SECONDS, FROZEN_SECONDS_MOST = 60, 3600


class Busy(Exception):
    """Another manager has the socket."""


class Manager:
    """`names`: sources to watch, as in SNAPSAFE_SOURCES; `gvisor`: gVisor's file, where it is; `cgroup`: the folder of
    the programs to stop over a snapshot; `delay_max`, `quiesced_max`: as for Snapshots. Raises OSError where the socket
    cannot be made, Busy, NotFrozen."""

    def __init__(
        self,
        socket_path: str,
        file_path: str,
        names: list[str],
        gvisor: str,
        cgroup: "str | None",
        delay_max: float,
        quiesced_max: float,
    ) -> None:
        self._lock = _lock(socket_path + ".lock")
        self._freezer = Freezer(cgroup, self._lock) if cgroup else None
        self.frozen = False
        self._freeze_ends: Timer | None = None
        self._published_at_freeze = 0
        self._thawed = -SAME_RESTORE_SECONDS  # when they were let go as restored, last
        self._unfrozen_restores = 0
        self._loop = Loop()
        self._signs = Signs(names, gvisor)
        self._file = Publisher(file_path)
        self._file.synchronous = self._freezer is not None
        self.published = 0
        self._last: float | None = None
        self._done = native.epoch()
        self._retrying = False
        self._bumped = False  # an agent tells of restores
        self._told = ""
        self._catch_up()
        self._snapshots = Snapshots(self, self._loop, socket_path + ".state", delay_max, quiesced_max)
        service = varlink.Service(
            "snapsafe manager",
            settings.VERSION,
            {"org.snapsafe.Manager": INTERFACE},
            {
                "org.snapsafe.Manager.Describe": self._describe,
                "org.snapsafe.Manager.GetSource": self._get_source,
                "org.snapsafe.Manager.Bump": self._bump,
                "org.snapsafe.Manager.Freeze": self._freeze,
                "org.snapsafe.Manager.Thaw": self._thaw,
                **self._snapshots.methods(),
            },
        )
        self._connections = Connections(socket_path, service, self._loop, self._snapshots.gone)

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        self._loop.on_wake(self._look)
        self._signs.watch(self._loop)
        notify("READY=1")
        self._look()  # what happened before the watch stood
        self._loop.run()
        notify("STOPPING=1", wait=False)
        self._snapshots.close()
        self._connections.close()
        if self.frozen:
            self._let_go(restored=True)
        self._file.leave()
        signal.set_wakeup_fd(-1)

    # ---- restores ----

    def _catch_up(self) -> None:
        """What happened before we were here: unknown counts as a restore."""
        left = left_frozen(self._lock)
        if left:
            native.advance()
            self._publish()
            thaw_left(left, self._lock)
            return
        if not self._signs.any and not os.path.exists(self._file.path):
            return  # a file that nobody will ever write would be taken for a source
        if self._file.knows(self._signs.seen()):
            self._attend()
            return
        native.advance()
        self._publish()

    def _attend(self) -> None:
        """Programs may rely on the file while something tells us of restores."""
        if self._signs.any or self._bumped:
            self._file.attend()
        else:
            self._file.leave()

    def _look(self) -> None:
        if native.epoch() != self._done:
            self._restored(known=self._signs.late())
        self._attend()
        self._tell()

    def _restored(self, fed: bool = False, known: bool = False) -> None:
        if known:
            self._publish(known=True)
            return
        same = time.monotonic() - self._thawed < SAME_RESTORE_SECONDS  # a late sign of what we were told
        if self._freezer is not None and not self.frozen and not same:
            self._unfrozen_restores += 1
            self._file.synchronous = False  # not every snapshot is taken of frozen programs
        self._publish(fed)
        if self._snapshots.running:
            self._let_go(restored=False)
        self._snapshots.restored()

    def _publish(self, fed: bool = False, known: bool = False) -> None:
        """`fed`: the kernel was given the host's bytes for this restore; `known`: it was published already."""
        for _ in range(PUBLISH_TRIES):
            epoch = native.epoch()  # advancing has reseeded the kernel, where it may: ss_entropy_restored()
            seen = self._signs.seen()
            reseeded = fed or native.inspect_entropy().kernel_reseeded
            if native.epoch() != epoch:
                fed = known = False
                continue
            self._file.write(seen, reseeded=reseeded, known=known)
            if not known:
                self.published += 1
                self._last = time.time()
            self._done = epoch
            self._attend()
            fed = known = False
            if native.epoch() == epoch:
                break  # else restored meanwhile: what was written is another machine's
        else:
            self._loop.wake()  # a source that moves without pause: others have their turn
        self._signs.counted()
        if self._file.problem and not self._retrying:
            self._retrying = True
            self._loop.later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        if self._file.problem:
            self._publish()
            self._tell()

    def _let_go(self, restored: bool) -> None:
        """If the programs stand still: publish first what they must know, then they go on."""
        if not self.frozen or self._freezer is None:
            return
        if self._freeze_ends is not None:
            self._freeze_ends.cancel()
            self._freeze_ends = None
        if restored:
            native.advance()
        self.look()
        try:
            self._freezer.thaw()
            self.frozen = False
            if self.published != self._published_at_freeze:
                self._thawed = time.monotonic()
        except OSError as error:
            self.say(f"{self._freezer.folder} cannot be thawed: {error.strerror}")
            self._loop.later(1.0, lambda: self._let_go(restored=False))

    # ---- what a snapshot that was announced takes: snapshots.Restores ----

    @property
    def generation(self) -> "int | None":
        return self._file.generation

    def announced(self) -> None:
        self._signs.forget_told()

    def look(self) -> None:
        self._signs.look()
        if native.epoch() != self._done:
            self._publish()

    def told(self) -> None:
        self._bumped = True
        self._signs.look()
        if native.epoch() == self._done:
            native.advance()
            self._signs.told()
        self._publish()

    def unknown(self) -> None:
        if self.frozen or (self._bumped and not self._signs.any):
            native.advance()
        self.look()

    def freeze(self) -> str:
        if self._freezer is not None:
            try:
                self._freezer.freeze()
            except NotFrozen as error:
                return str(error)
            self.frozen = True
            self._published_at_freeze = self.published
        return ""

    def thaw(self) -> None:
        self._let_go(restored=False)

    def say(self, text: str) -> None:
        with contextlib.suppress(
            OSError
        ):  # nobody reads it any more, and the machine may be in the middle of a snapshot
            print(f"snapsafe manager: {text}", file=sys.stderr, flush=True)

    # ----

    def problems(self) -> list[str]:
        found = self._signs.problems()
        if self._unfrozen_restores:
            found.append(
                f"{self._unfrozen_restores} times restored from a snapshot that was taken without Freeze: "
                "no file is called synchronous any more until this manager starts anew"
            )
        if self._file.problem:
            found.append(f"restores are not published: {self._file.problem}")
        untold = self._snapshots.problem()
        if untold:
            found.append(f"no snapshot can be announced: {untold}")
        if self.published and not self._file.reseeded:
            found.append(f"the kernel's generator was not reseeded: that takes {RESEEDING}")
        return found

    def _tell(self) -> None:
        text = f"watching {self._signs.watched} ({self._signs.how}), {self.published} restores published"
        problems = self.problems()
        told = "; ".join([text, *problems])
        if told != self._told:
            notify(f"STATUS={told}", wait=False)
            for problem in problems:
                if problem not in self._told:
                    self.say(problem)
        self._told = told

    # ---- what is answered ----

    def _describe(self, call: Call) -> Reply:
        call.take()
        source = self._signs.source
        return Reply(
            {
                "version": settings.VERSION,
                "pid": os.getpid(),
                "source": None if source is None else source.name,
                "how": self._signs.how,
                "vmgenid": self._signs.vmgenid,
                "file": self._file.path,
                "generation": self._file.generation,
                "published": self.published,
                "reseeded": self._file.reseeded,
                "lastRestore": self._last,
                "clients": len(self._connections),
                "problems": self.problems(),
                **self._snapshots.describe(),
            }
        )

    def _get_source(self, call: Call) -> Reply:
        [wanted] = call.take(source=str)
        source = self._signs.source
        if source is None or not native.describe_source(source.slot).device:
            raise varlink.Error("org.snapsafe.Manager.NoSource", reason="no device is watched here")
        if wanted not in (None, source.name):
            raise varlink.Error("org.snapsafe.Manager.NoSource", reason=f"{source.name} is watched here")
        try:
            fd = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise varlink.Error(
                "org.snapsafe.Manager.NoSource", reason=f"{source.path} cannot be opened ({error.strerror})"
            ) from None
        return Reply({"source": source.name, "fileDescriptor": 0}, fd)

    def _bump(self, call: Call) -> Reply:
        [entropy] = call.take(entropy=str)
        must_be_trusted(call)
        fed = entropy is not None and reseed(_seed(entropy))
        native.advance()
        self._bumped = True
        self._restored(fed)
        self._tell()
        if self._file.problem or self._file.generation is None:
            raise varlink.Error("org.snapsafe.Manager.NotPublished", reason=self._file.problem)
        return Reply({"generation": self._file.generation, "reseeded": self._file.reseeded})

    def _freeze(self, call: Call) -> Reply:
        [seconds] = call.take(seconds=int)
        must_be_trusted(call)
        seconds = FROZEN_SECONDS if seconds is None else seconds
        if not 0 < seconds <= FROZEN_SECONDS_MOST:
            raise invalid("seconds")
        if self._freezer is None:
            raise varlink.Error("org.snapsafe.Manager.NotFrozen", reason="the manager was started without --freeze")
        self._must_run()
        if self.frozen:
            raise varlink.Error("org.snapsafe.Manager.NotFrozen", reason="somebody else froze them, and has not thawed")
        reason = self.freeze()
        if reason:
            raise varlink.Error("org.snapsafe.Manager.NotFrozen", reason=reason)

        def late() -> None:
            self.say(f"nobody thawed within {seconds} s: the programs go on as restored")
            self._let_go(restored=True)

        self._freeze_ends = self._loop.later(seconds, late)
        return Reply({})

    def _thaw(self, call: Call) -> Reply:
        [restored] = call.take(restored=bool)
        if restored is None:
            raise invalid("restored")
        must_be_trusted(call)
        self._must_run()
        self._let_go(restored)
        self._tell()
        return Reply({})

    def _must_run(self) -> None:
        """What Quiesce stopped, Unquiesce lets go."""
        if not self._snapshots.running:
            raise varlink.Error("org.snapsafe.Manager.OperationInProgress", state=self._snapshots.state)


def _seed(text: str) -> bytes:
    try:
        seed = base64.b64decode(text, validate=True)
    except ValueError:
        raise invalid("entropy") from None
    if not ENTROPY_LEAST <= len(seed) <= ENTROPY_MOST:
        raise invalid("entropy")
    return seed


def _lock(path: str) -> int:
    """One manager for each socket. Nobody else may hold the lock: the file is its owner's alone."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Busy(path) from None
    return fd


def notify(text: str, *, wait: bool = True) -> None:
    """To the service manager, if one waits for it: sd_notify(3). Without `wait` it is lost if that does not read."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
        try:
            peer.connect(address)
            peer.send(text.encode("utf-8", "backslashreplace"), 0 if wait else socket.MSG_DONTWAIT)
        except OSError:
            pass  # who does not listen is not told
