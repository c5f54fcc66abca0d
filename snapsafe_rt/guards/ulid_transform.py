"""ulid_transform: a generator that each thread has, in a variable of its extension module.

It has no function that seeds it, but the name of that variable: what is written there is what it goes on from. Whether
that is so is tried when the module is imported.
"""

from snapsafe_rt.core import native
from snapsafe_rt.guards.calls import Calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Bytes = Callable[[int], bytes]


def _splitmix(some: "Bytes") -> bytes:
    return some(8)


def _mersenne(some: "Bytes") -> bytes:
    """std::mt19937 of libstdc++: 624 words of 32 bits, each in 64, and that all of them are used up."""
    words = some(624 * 4)
    return b"".join(words[at : at + 4] + bytes(4) for at in range(0, len(words), 4)) + (624).to_bytes(8, "little")


# The variable's name, a state for it, and what the first id from a state of zeros ends with. Of 2.1 and later; of 2.0.
_KINDS: "tuple[tuple[str, Callable[[Bytes], bytes], str], ...]" = (
    ("_ZZN4ulid17EncodeEntropyFastERoE3gen", _splitmix, "e220a8397b1dcdaf65f4"),
    ("_ZZN4ulid24EncodeEntropyMt19937FastERoE3gen", _mersenne, "0" * 20),
)


def _writer(draw: object, variable: str, state: "Callable[[Bytes], bytes]") -> "Callable[..., None]":
    begun = variable.replace("_ZZ", "_ZGVZ")  # whether the thread has made it

    def write(some: "Bytes" = native.entropy) -> None:
        native.write_thread_variable(draw, variable, state(some))
        native.write_thread_variable(draw, begun, (1).to_bytes(8, "little"))

    return write


class UlidTransform(Calls):
    """The generator of each thread is given fenced entropy before it draws."""

    name = "ulid_transform"
    covers = ("ulid_now", "ulid_hex", "ulid_at_time", "ulid_now_bytes", "ulid_at_time_bytes")
    triggers = ("ulid_transform._ulid_impl",)
    files = ("_ulid_impl.",)

    def install(self, module: "ModuleType") -> None:
        self.remove()
        for variable, state, expected in _KINDS:
            write = _writer(module.ulid_hex, variable, state)
            try:
                write(bytes)
            except OSError:
                continue
            found = module.ulid_hex()[12:]
            write()
            if found == expected:
                names = [name for name in self.covers if name in vars(module)]
                self.guard(module, names, write, each_thread=True)
                return
        raise LookupError("this version keeps its generator somewhere else")

    def note(self) -> str:
        return "each thread's generator is seeded anew before it draws"


GUARD = UlidTransform()
