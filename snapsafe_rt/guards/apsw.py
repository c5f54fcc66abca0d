"""apsw: the SQLite in its wheels, whose functions nobody finds; but it gives out the address of a connection's VFS."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from snapsafe_rt.guards.guard import Site

_OWN = "unix"
_NEEDED = ("randomness", "vfs_names", "connections", "SQLITE_FCNTL_VFS_POINTER")


class Apsw(Guard):
    """The generator of its SQLite is reset by the restore event, and takes its seed from us."""

    name = "apsw"
    covers = ("randomblob()", "random()", "temporary file names", "journal nonces")
    triggers = ("apsw",)
    level = "refreshed"

    def __init__(self) -> None:
        self._words = ""

    def remove(self) -> None:
        self._words = ""

    def displaced(self) -> str:
        module = sys.modules["apsw"]
        if not all(hasattr(module, name) for name in _NEEDED):
            return "this version gives out no address of its VFS"
        if not self._words and not module.connections():
            return ""  # nobody may have used it yet, and who opens a connection can configure it no more
        return self._fence(module)

    def _fence(self, module: "ModuleType") -> str:
        """Why its seed does not come from us."""
        default = module.vfs_names()[0]
        if not default.startswith(_OWN):
            return f"its default VFS is {default}, of the program's own, which alone knows where its seed comes from"
        if not self._words:
            self._words = native.fence_vfs(lambda place: _tell(module, default, place))
        at, _, held = self._words.partition("=")
        if not at or int.from_bytes(native.own_memory(int(at, 16), 8), sys.byteorder) != int(held, 16):
            return "its VFS draws its seeds from something else"
        return ""

    def sites(self) -> "list[Site] | None":
        return [("its VFS", self._words)] if self._words else None

    def note(self) -> str:
        return "its generator is reset after a restore; what a statement that runs then draws may be of the old one"

    def refresh(self) -> None:
        module = sys.modules["apsw"]
        why = self._fence(module)
        if why:
            raise LookupError(why)
        module.randomness(0)


def _tell(module: "ModuleType", vfs: str, place: int) -> None:
    """Has a connection write there where its VFS lies: one of the program's, where that is not at work."""
    for connection in module.connections():
        try:
            if connection.open_vfs == vfs and connection.file_control("main", module.SQLITE_FCNTL_VFS_POINTER, place):
                return
        except module.Error:
            continue
    connection = module.Connection(":memory:", vfs=vfs)
    connection.file_control("main", module.SQLITE_FCNTL_VFS_POINTER, place)
    connection.close()


GUARD = Apsw()
