"""What is true of the activation of this interpreter. Every room reads it; activation and source.probe change it.

`lock` is held while the activation changes, or what follows from it: source, watcher, phase of a snapshot.
"""

from _thread import RLock  # threading is not imported at start-up

from snapsafe_rt import hooks
from snapsafe_rt.core import native
from snapsafe_rt.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.source.selection import Candidate

NOT_CALLED = "activate() was not called"


class State:
    def __init__(self) -> None:
        self.active = False
        self.why_not = NOT_CALLED
        self.settings = Settings()
        self.problems: list[str] = []
        self.candidates: list[Candidate] = []
        self.watched: Candidate | None = None
        self.probed = 0.0
        self.probed_epoch = 0
        self.left: tuple[int, int] | None = None  # the mapping's serial, and generation, at deactivation
        self.quiesced = False  # between detach() and reattach()
        self.detached: tuple[int, int] | None = None  # slot of the watched device, and what it showed
        self.lock = RLock()


state = State()


def _after_fork_in_child() -> None:
    state.lock = RLock()  # perhaps held by a thread that this process does not have
    hooks.forked()


if native is not None:
    native.on_fork(_after_fork_in_child)
