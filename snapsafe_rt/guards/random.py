"""random: every instance of _random.Random (cython/random.pxi guards the C methods), and gauss, which is Python."""

from snapsafe_rt.core import native
from snapsafe_rt.guards.exchange import Exchanged
from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from snapsafe_rt.guards.guard import RemoteProcess, Verdict

GLOBAL = (
    "the program seeded the module's global generator, which is kept: Message-IDs, MIME boundaries, trace ids and all "
    "else that draws from it repeat in clones; SNAPSAFE_SEEDED=reseed renews it after a restore"
)
FOREIGN = (
    "{} generators have a state that was made elsewhere, as by a pickle, so nobody knows whether it was chosen: they "
    "are kept and repeat in clones; seed() them here, or set SNAPSAFE_SEEDED=reseed"
)


class Random(Guard):
    """Each instance is checked at each draw, and seeded anew after a restore; one with a chosen seed is kept."""

    name = "random"
    covers = (
        "random.random",
        "randint",
        "shuffle",
        "sample",
        "gauss",
        "own Random() instances",
        "tempfile names",
        "email ids",
    )
    triggers = ("_random", "random")
    files = ("_random.",)

    def __init__(self) -> None:
        self._types: list[type] = []
        self._functions: list[Exchanged] = []

    def install(self, module: "ModuleType") -> None:
        """`module` is _random, or a `random` on top of it; each may be imported again, as another object."""
        if module.__name__ == "_random":
            if module.Random not in self._types:  # the core has hooked it
                self._types.append(module.Random)
        elif all(exchanged.function is not module.Random.gauss for exchanged in self._functions):
            exchanged = Exchanged(module.Random.gauss)
            exchanged.to(native.Gauss(exchanged.original, module.Random.__base__))
            self._functions.append(exchanged)
            native.random_global(getattr(module, "_inst", None))

    def remove(self) -> None:
        for exchanged in self._functions:
            exchanged.undo()
        for cls in self._types:
            native.unhook_init(cls)
        self._functions.clear()
        self._types.clear()
        native.random_global(None)

    def protection(self) -> "Verdict":
        return judge_seeds(super().protection(), *native.random_seeds())

    def corrected(self, noted: "Verdict", process: "RemoteProcess") -> "Verdict":
        return judge_seeds(noted, *process.seeds()) if noted[0] in ("guarded", "kept") else noted

    def displaced(self) -> str:
        return (
            ""
            if native.guarded("_random.Random")
            else "this build's _random.Random has an unknown layout or calling convention"
        )

    def note(self) -> str:
        renewed, older, kept, chosen = native.random_counters()
        early = f" ({older} were older than activation: seed them after it)" if older else ""
        return (
            f"{chosen} seeds chosen by the program; {renewed} times an instance renewed{early}, {kept} times one kept"
        )


def judge_seeds(verdict: "Verdict", global_kept: bool, foreign: int) -> "Verdict":
    """What the level is worth by how the program seeded its generators."""
    if verdict[0] not in ("guarded", "kept"):
        return verdict
    if foreign:
        return "unprotected", FOREIGN.format(foreign)
    return ("kept", GLOBAL) if global_kept else ("guarded", verdict[1])


GUARD = Random()
