"""The phases of a snapshot, and who has to be asked before it: running, quiescing, quiesced, unquiescing, running.

logind's semantics (systemd docs/INHIBITOR_LOCKS.md): a holder of a delay lock is told of the snapshot first and waited
for, up to a limit; a block lock refuses it. There is no clock and no socket in here: Actions does what is decided, and
the caller calls expire() or overdue() when a time is up. What is refused is an Error of the interface, which says what
each means. The program's side is snapsafe_rt.snapshot.machine.
"""

from typing import Any, NamedTuple, Protocol

from snapsafe_rt.manager.interface import Error
from snapsafe_rt.varlink import MANAGER

RUNNING, QUIESCING, QUIESCED, UNQUIESCING = "running", "quiescing", "quiesced", "unquiescing"
DELAY, BLOCK = "delay", "block"

# How a snapshot ended: by Unquiesce; a restore was noticed; nobody called Unquiesce in time; a callback before it
# failed; the caller of Quiesce went away; the programs could not be stopped; the state file could not be written.
UNQUIESCED, RESTORED, OVERDUE = "unquiesced", "restored", "overdue"
FAILED, ABANDONED, NOT_FROZEN, NOT_TOLD = "failed", "abandoned", "not frozen", "not told"

Client = Any  # a connection: hashable, and nothing else is asked of it


class Lock(NamedTuple):
    """`uid`, `pid`: of the process that holds it."""

    what: str
    who: str
    why: str
    mode: str
    uid: int
    pid: int


class Failed(NamedTuple):
    """What the callbacks of a holder raised before the snapshot."""

    lock: Lock
    errors: "list[str]"


class Actions(Protocol):
    """What has to be done at a change of state. None of these may call the machine."""

    def changed(self) -> None:
        """The state is another one. Raises OSError if programs cannot be told, and then nothing is quiesced."""

    def announce(self, client: Client) -> None:
        """Answer Prepare."""

    def settled(self, client: Client, late: "list[Lock]", failed: "list[Failed]", reason: str) -> None:
        """Answer Quiesce. The machine is quiesced if nothing `failed` and there is no `reason`, which says why the
        programs are not stopped or not told. `late`: who was waited for in vain."""

    def publish(self) -> None:
        """Publish a restore if there was one: it has to be in the file before the programs go on."""

    def freeze(self) -> str:
        """Stop the programs that are to be stopped. Returns why that could not be, "" if they stand still."""

    def thaw(self) -> None: ...


class Phases:
    def __init__(self, actions: Actions) -> None:
        self.state = RUNNING
        self.snapshot = 0
        """Number of the last one."""
        self.hold = False
        """Does only Unquiesce end it, even if a restore is noticed?"""
        self.dump = False
        """Is it CRIU that takes it?"""
        self.ended = ""
        """How the last one did."""
        self.locks: dict[Client, Lock] = {}
        self._actions = actions
        self._preparing: set[Client] = set()  # their Prepare is to be answered
        self._waited: dict[Client, None] = {}  # delay locks that must go first
        self._failed: list[Failed] = []
        self._orchestrator: Client = None

    # ---- who is asked ----

    def inhibit(self, client: Client, lock: Lock) -> None:
        """Raises Error: AlreadyInhibits, OperationInProgress."""
        if client in self.locks:
            raise Error(f"{MANAGER}AlreadyInhibits")
        if lock.mode == BLOCK or self.state != QUIESCING:
            self._must_be(RUNNING)
        self.locks[client] = lock
        if self.state == QUIESCING:  # a program that has just started is waited for as well
            self._waited[client] = None

    def prepare(self, client: Client) -> bool:
        """True if it is to be answered at once; else announce() answers it later. Raises Error: NotInhibiting."""
        self._holder(client)
        if self.state != RUNNING:  # who asks late is told at once
            return True
        self._preparing.add(client)
        return False

    def ready(self, client: Client, errors: "list[str]") -> None:
        """Let go of the lock. Raises Error: NotInhibiting."""
        lock = self._holder(client)
        if errors and client in self._waited:
            self._failed.append(Failed(lock, errors))
        self._release(client)

    def gone(self, client: Client) -> None:
        """The connection ended, whoever it was."""
        if client == self._orchestrator and self.state == QUIESCING:
            self._leave(ABANDONED)
        self._release(client)

    def _holder(self, client: Client) -> Lock:
        lock = self.locks.get(client)
        if lock is None or lock.mode != DELAY:
            raise Error(f"{MANAGER}NotInhibiting")
        return lock

    def _release(self, client: Client) -> None:
        self.locks.pop(client, None)
        self._preparing.discard(client)
        if client in self._waited:
            del self._waited[client]
            if not self._waited:
                self._settle()

    # ---- who asks ----

    def quiesce(self, orchestrator: Client, *, hold: bool = False, dump: bool = False) -> None:
        """settled() will be called, unless `orchestrator` goes. Raises Error: OperationInProgress, BlockedByInhibitor;
        OSError as changed()."""
        self._must_be(RUNNING)
        for lock in self.locks.values():
            if lock.mode == BLOCK:
                told = {"who": lock.who, "why": lock.why, "uid": lock.uid, "pid": lock.pid}
                raise Error(f"{MANAGER}BlockedByInhibitor", **told)
        self.state = QUIESCING
        self.dump = dump
        self.snapshot += 1
        try:
            self._actions.changed()
        except OSError:
            self.state = RUNNING
            self.snapshot -= 1
            raise
        self.hold, self.ended = hold, ""
        self._orchestrator = orchestrator
        self._failed = []
        self._waited = dict.fromkeys(self.locks)
        preparing, self._preparing = self._preparing, set()
        for client in preparing:
            self._actions.announce(client)
        if not self._waited:
            self._settle()

    def expire(self) -> None:
        """The limit for delay locks is over: go on without those that are left."""
        if self.state == QUIESCING:
            self._settle()

    def _settle(self) -> None:
        late = [self.locks[client] for client in self._waited]
        client, failed, reason = self._orchestrator, self._failed, ""
        self._waited = {}
        if failed:
            self._leave(FAILED)
        elif reason := self._actions.freeze():
            self._leave(NOT_FROZEN)
        else:
            try:
                self._to(QUIESCED)
                self._orchestrator = None
            except OSError as error:
                reason = f"{error.filename}: {error.strerror}"
                self._leave(NOT_TOLD)
        self._actions.settled(client, late, failed, reason)

    def unquiesce(self) -> None:
        """Raises Error: OperationInProgress."""
        self._must_be(QUIESCED)
        self._leave(UNQUIESCED)

    def overdue(self) -> None:
        """The limit for the whole snapshot is over."""
        if self.state == QUIESCED:
            self._leave(OVERDUE)

    def end(self) -> None:
        """The manager ends."""
        if self.state != RUNNING:
            self._leave(ABANDONED)

    def restored(self) -> None:
        """A restore was noticed, and published."""
        if self.state == QUIESCED and not self.hold:
            self._leave(RESTORED)

    def _must_be(self, state: str) -> None:
        if self.state != state:
            raise Error(f"{MANAGER}OperationInProgress", state=self.state)

    def _leave(self, how: str) -> None:
        self.ended = how
        self._waited, self._orchestrator = {}, None
        self._actions.publish()
        self._to(UNQUIESCING)
        self._actions.thaw()
        self._to(RUNNING)

    def _to(self, state: str) -> None:
        self.state = state
        self._actions.changed()
