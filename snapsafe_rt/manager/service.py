"""The manager itself: a detector notices a restore, the kernel is reseeded, the file gets a new generation. And the
methods that it answers over Varlink, but those of snapshots."""

import base64
import contextlib
import fcntl
import os
import signal
import socket
import time
from typing import Any

from snapsafe_rt import log, settings
from snapsafe_rt.core import native
from snapsafe_rt.manager import journal, metrics
from snapsafe_rt.manager.connections import Connections
from snapsafe_rt.manager.detectors import SAME_RESTORE_SECONDS, Detectors
from snapsafe_rt.manager.freezer import Freezer, NotFrozen, left_frozen, thaw_left
from snapsafe_rt.manager.interface import Call, Error, Reply, Service, invalid
from snapsafe_rt.manager.loop import Loop, Timer
from snapsafe_rt.manager.publisher import Publisher, reseed
from snapsafe_rt.manager.snapshots import Snapshots, must_be_trusted
from snapsafe_rt.source.vmclock_file import ENTROPY_LEAST, ENTROPY_MOST
from snapsafe_rt.varlink import MANAGER

RESEEDING = "CAP_SYS_ADMIN, and a CPU with RDRAND or RNDR, or a host's bytes by Bump"
RETRY_SECONDS = 10.0  # while the file cannot be written. Else no timer runs while nothing happens
PUBLISH_TRIES = 16
FROZEN_SECONDS, FROZEN_SECONDS_MOST = 60, 3600


class Busy(Exception):
    """Another manager has the socket."""


class Manager:
    """`names`: sources to watch, as in SNAPSAFE_SOURCES; `gvisor`: gVisor's file, where it is; `cgroup`: the folder of
    the programs to stop over a snapshot; `delay_max`, `quiesced_max`: as for Snapshots; `metrics_path`: the file for
    node_exporter. Raises OSError where the socket or that file cannot be made, Busy, NotFrozen."""

    def __init__(
        self,
        socket_path: str,
        file_path: str,
        names: list[str],
        gvisor: str,
        cgroup: "str | None",
        delay_max: float,
        quiesced_max: float,
        metrics_path: "str | None" = None,
    ) -> None:
        self._lock = _lock(socket_path + ".lock")
        self._freezer = Freezer(cgroup, self._lock) if cgroup else None
        self.frozen = False
        self._freeze_ends: Timer | None = None
        self._published_at_freeze = 0
        self._thawed = -SAME_RESTORE_SECONDS  # when the programs were last thawed in a clone
        self._unfrozen_restores = 0
        self._loop = Loop()
        self._detectors = Detectors(names, gvisor)
        self._file = Publisher(file_path)
        self._file.synchronous = self._freezer is not None
        self.published = 0
        self._last: float | None = None
        self._done = native.epoch()
        self._retrying = False
        self._locking = False
        self._bumped = False  # an agent has told of a restore, so it will tell of others
        self._told = ""
        self._metrics = metrics.File(metrics_path) if metrics_path else None
        self._catch_up()
        self._snapshots = Snapshots(self, self._loop, socket_path + ".state", delay_max, quiesced_max)
        service = Service(
            "snapsafe manager",
            settings.VERSION,
            {
                f"{MANAGER}Describe": self._describe,
                f"{MANAGER}GetSource": self._get_source,
                f"{MANAGER}Bump": self._bump,
                f"{MANAGER}Freeze": self._freeze,
                f"{MANAGER}Thaw": self._thaw,
                **self._snapshots.methods(),
            },
        )
        self._connections = Connections(socket_path, service, self._loop, self._snapshots.gone)
        if self._metrics is not None:
            self._metrics.write(self._described())

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        self._loop.on_wake(self._look)
        self._detectors.watch(self._loop)
        if self._metrics is not None:
            self._loop.before_sleep(self._keep_metrics)
        notify("READY=1")
        self._look()  # for what happened before the detectors were watched
        self._loop.run()
        notify("STOPPING=1", wait=False)
        self._snapshots.close()
        self._connections.close()
        if self.frozen:
            self._resume(restored=True)
        self._file.unlock()
        if self._metrics is not None:  # nobody keeps it any more
            with contextlib.suppress(OSError):
                os.unlink(self._metrics.path)
        signal.set_wakeup_fd(-1)

    # ---- restores ----

    def _catch_up(self) -> None:
        """Publish a restore that happened while no manager ran. Unknown counts as one."""
        left = left_frozen(self._lock)
        if left:
            native.advance()
            self._publish()
            thaw_left(left, self._lock)
            return
        if not self._detectors.any and not os.path.exists(self._file.path):
            return  # nothing would ever be written to it, and programs would take it for a source
        if self._file.knows(self._detectors.seen()):
            self._lock_file()
            return
        native.advance()
        self._publish()

    def _lock_file(self) -> None:
        """Programs rely on the file while we hold its writer lock, so only while we would notice a restore."""
        if not self._detectors.any and not self._bumped:
            self._file.unlock()
        elif not self._file.lock() and not self._locking:
            self._locking = True
            self._loop.later(RETRY_SECONDS, self._lock_again)

    def _lock_again(self) -> None:
        self._locking = False
        self._lock_file()
        self._tell()

    def _look(self) -> None:
        if native.epoch() != self._done:
            self._restored(known=self._detectors.late())
        self._lock_file()
        self._tell()

    def _restored(self, fed: bool = False, known: bool = False) -> None:
        if known:
            self._publish(known=True)
            return
        same = time.monotonic() - self._thawed < SAME_RESTORE_SECONDS  # a detector late with what Thaw told
        self._thawed = -SAME_RESTORE_SECONDS  # one alone: the clock may stand still from one restore to the next
        if self._freezer is not None and not self.frozen and not same:
            self._unfrozen_restores += 1
            self._file.synchronous = False  # snapshots are taken of running programs as well
        self._publish(fed)
        if self._snapshots.running:
            self._resume(restored=False)
        self._snapshots.restored()

    def _publish(self, fed: bool = False, known: bool = False) -> None:
        """`fed`: the kernel has the host's bytes for this restore; `known`: the restore was published already.

        Again from the start if there is another restore meanwhile: what was written is of the machine before it.
        """
        for _ in range(PUBLISH_TRIES):
            epoch = native.epoch()
            native.renew_kernel()
            seen = self._detectors.seen()
            reseeded = fed or native.inspect_entropy().kernel_reseeded
            if native.epoch() != epoch:
                fed = known = False
                continue
            self._file.write(seen, reseeded=reseeded, known=known)
            if not known:
                self.published += 1
                self._last = time.time()
                self._log_restore(reseeded)
            self._done = epoch
            self._lock_file()
            fed = known = False
            if native.epoch() == epoch:
                break
        else:
            self._loop.wake()  # the source moves without pause: clients are served in between
        self._detectors.counted()
        if self._file.problem and not self._retrying:
            self._retrying = True
            self._loop.later(RETRY_SECONDS, self._retry)

    def _log_restore(self, reseeded: bool) -> None:
        source = self._detectors.source
        journal.note(
            f"restore {self.published} published" + ("" if reseeded else "; the kernel was not reseeded"),
            MESSAGE_ID=log.RESTORE,
            SNAPSAFE_RESTORES=self.published,
            SNAPSAFE_GENERATION=self._file.generation or 0,
            SNAPSAFE_SOURCE=source.name if source else "",
            SNAPSAFE_RESEEDED=int(reseeded),
        )

    def _keep_metrics(self) -> None:
        assert self._metrics is not None
        before = self._metrics.problem
        self._metrics.keep(self._described())
        if self._metrics.problem != before:
            self._tell()

    def _retry(self) -> None:
        self._retrying = False
        if self._file.problem:
            self._publish()
            self._tell()

    def _resume(self, restored: bool) -> None:
        """Thaw the programs if they are frozen, once what they must know is published. `restored`: as a clone's."""
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
            self._loop.later(1.0, lambda: self._resume(restored=False))

    # ---- snapshots.Restores ----

    @property
    def generation(self) -> "int | None":
        return self._file.generation

    def announced(self) -> None:
        self._detectors.announced()

    def look(self) -> None:
        self._detectors.look()
        if native.epoch() != self._done:
            self._publish()

    def told(self) -> None:
        self._bumped = True
        self._detectors.look()
        if native.epoch() == self._done:
            native.advance()
            self._detectors.told()
        self._publish()

    def unknown(self) -> None:
        if self.frozen or (self._bumped and not self._detectors.any):
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
        self._resume(restored=False)

    def say(self, text: str) -> None:
        journal.say(text)

    # ----

    def problems(self) -> list[str]:
        found = self._detectors.problems()
        if self._unfrozen_restores:
            found.append(
                f"{self._unfrozen_restores} times restored from a snapshot that was taken without Freeze: "
                "no file is called synchronous any more until this manager starts anew"
            )
        if self._file.problem:
            found.append(f"restores are not published: {self._file.problem}")
        elif self._file.locked_out:
            found.append(f"programs take this manager for absent: {self._file.locked_out}")
        if self._metrics is not None and self._metrics.problem:
            found.append(f"the numbers are not written: {self._metrics.problem}")
        untold = self._snapshots.problem()
        if untold:
            found.append(f"no snapshot can be announced: {untold}")
        if self.published and not self._file.reseeded:
            found.append(f"the kernel's generator was not reseeded: that takes {RESEEDING}")
        return found

    def _tell(self) -> None:
        text = f"watching {self._detectors.watched} ({self._detectors.how}), {self.published} restores published"
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
        return Reply(self._described())

    def _described(self) -> "dict[str, Any]":
        source = self._detectors.source
        return {
            "version": settings.VERSION,
            "pid": os.getpid(),
            "source": None if source is None else source.name,
            "how": self._detectors.how,
            "vmgenid": self._detectors.vmgenid,
            "file": self._file.path,
            "generation": self._file.generation,
            "published": self.published,
            "reseeded": self._file.reseeded,
            "lastRestore": self._last,
            "clients": len(self._connections),
            "problems": self.problems(),
            **self._snapshots.describe(),
        }

    def _get_source(self, call: Call) -> Reply:
        [wanted] = call.take(source=str)
        source = self._detectors.source
        if source is None or not native.describe_source(source.slot).device:
            raise Error(f"{MANAGER}NoSource", reason="no device is watched here")
        if wanted not in (None, source.name):
            raise Error(f"{MANAGER}NoSource", reason=f"{source.name} is watched here")
        try:
            fd = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise Error(f"{MANAGER}NoSource", reason=f"{source.path} cannot be opened ({error.strerror})") from None
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
            raise Error(f"{MANAGER}NotPublished", reason=self._file.problem)
        return Reply({"generation": self._file.generation, "reseeded": self._file.reseeded})

    def _freeze(self, call: Call) -> Reply:
        [seconds] = call.take(seconds=int)
        must_be_trusted(call)
        seconds = FROZEN_SECONDS if seconds is None else seconds
        if not 0 < seconds <= FROZEN_SECONDS_MOST:
            raise invalid("seconds")
        if self._freezer is None:
            raise Error(f"{MANAGER}NotFrozen", reason="the manager was started without --freeze")
        self._must_run()
        if self.frozen:
            raise Error(f"{MANAGER}NotFrozen", reason="somebody else froze them, and has not thawed")
        reason = self.freeze()
        if reason:
            raise Error(f"{MANAGER}NotFrozen", reason=reason)

        def late() -> None:
            self.say(f"nobody thawed within {seconds} s: the programs go on as restored")
            self._resume(restored=True)

        self._freeze_ends = self._loop.later(seconds, late)
        return Reply({})

    def _thaw(self, call: Call) -> Reply:
        [restored] = call.take(restored=bool)
        if restored is None:
            raise invalid("restored")
        must_be_trusted(call)
        self._must_run()
        self._resume(restored)
        self._tell()
        return Reply({})

    def _must_run(self) -> None:
        """Raises Error in the middle of a snapshot that was announced: Unquiesce thaws what Quiesce froze."""
        if not self._snapshots.running:
            raise Error(f"{MANAGER}OperationInProgress", state=self._snapshots.state)


def _seed(text: str) -> bytes:
    try:
        seed = base64.b64decode(text, validate=True)
    except ValueError:
        raise invalid("entropy") from None
    if not ENTROPY_LEAST <= len(seed) <= ENTROPY_MOST:
        raise invalid("entropy")
    return seed


def _lock(path: str) -> int:
    """The lock of the one manager of this socket; the file has mode 600, so nobody else can take it. Raises Busy."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Busy(path) from None
    return fd


def notify(text: str, *, wait: bool = True) -> None:
    """Tell the service manager, as sd_notify(3). Without `wait` the text is dropped if that one does not read."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
        try:
            peer.connect(address)
            peer.send(text.encode("utf-8", "backslashreplace"), 0 if wait else socket.MSG_DONTWAIT)
        except OSError:
            pass  # nobody listens
