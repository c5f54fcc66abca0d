"""ulid (python-ulid): within a millisecond it counts on from the last id, so that ids grow; else it asks os.urandom."""

import sys

from snapsafe_rt.guards.guard import names_of
from snapsafe_rt.guards.methods import Methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# What remembers the last id, and by which method it makes the next. Of 4.1 and later; of earlier versions.
_KINDS = (("ULIDGenerator", "generate"), ("ValueProvider", "randomness"))


class Ulid(Methods):
    """Before an id is made, the last one is forgotten where it is of another epoch: it is not counted on from."""

    name = "ulid"
    covers = ("ulid.ULID(), ULIDGenerator",)
    triggers = ("ulid",)

    def is_loaded(self) -> bool:
        return super().is_loaded() and "ulid.api" not in sys.modules  # which ulid-py has, another package of that name

    def install(self, module: "ModuleType") -> None:
        for cls, method in _KINDS:
            if cls in vars(module):
                self.exchange(vars(module)[cls], method, _forget, each=True)

    def displaced(self) -> str:
        names = names_of(sys.modules["ulid"])
        found = next(((names[cls], method) for cls, method in _KINDS if cls in names), None)
        return self.moved(*found) if found else "this version keeps its last id somewhere else"

    def note(self) -> str:
        return "no id is counted on from one of before a restore; a policy of the program's own is the program's"


def _forget(owner: "Any", *_: object) -> None:
    keeper = getattr(owner, "policy", owner)
    if hasattr(keeper, "prev_timestamp"):
        keeper.prev_timestamp = -1


GUARD = Ulid()
