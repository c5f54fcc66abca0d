"""Who wants to be told, and of what. A lower room calls; an upper room adds itself when it is loaded.

So no room imports one above it, and what a program does not use is not loaded. This module imports nothing. A list is
changed by append() alone, one step, by the GIL or by the list's own lock.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Hook:
    """The functions to call, in the order in which they were added; what one raises passes to the caller."""

    def __init__(self) -> None:
        self.functions: list[Callable[[], object]] = []

    def add(self, function: "Callable[[], object]") -> None:
        self.functions.append(function)

    def __call__(self) -> None:
        for function in self.functions:
            function()


activation_wanted = Hook()
"""A callback was registered: activate the process, if nothing decided yet whether it is active."""

watcher_wanted = Hook()
"""Something needs the restore event: load the room that runs it."""

source_changed = Hook()
"""Another source is watched, or none, or the process is not active any more."""

forked = Hook()
"""This is a child that os.fork() has just made, and that will go on with the same program."""
