"""ulid_transform: a generator of 64 bits that each thread has, in a variable of its extension module.

It has no function that seeds it, but the name of that variable: what is written there is what it goes on from. Whether
that is so is tried when the module is imported.
"""

from snapsafe_rt.core import native
from snapsafe_rt.guards.calls import Calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_STATE = "_ZZN4ulid17EncodeEntropyFastERoE3gen"
_BEGUN = "_ZGVZN4ulid17EncodeEntropyFastERoE3gen"
_OF_ZERO = "e220a8397b1dcdaf65f4"  # what SplitMix64 begins with from a state of 0


class UlidTransform(Calls):
    """The generator of each thread is given fenced entropy before it draws."""

    name = "ulid_transform"
    covers = ("ulid_now", "ulid_hex", "ulid_at_time", "ulid_now_bytes", "ulid_at_time_bytes")
    triggers = ("ulid_transform._ulid_impl",)
    files = ("_ulid_impl.",)

    def install(self, module: "ModuleType") -> None:
        draw = module.ulid_hex

        def write(state: bytes) -> None:
            native.write_thread_variable(draw, _STATE, state)
            native.write_thread_variable(draw, _BEGUN, b"\1")

        self.remove()
        try:
            write(bytes(8))
        except OSError:
            raise LookupError("this version keeps its generator somewhere else") from None
        found = draw()[12:]
        write(native.entropy(8))
        if found != _OF_ZERO:
            raise LookupError("this version keeps its generator somewhere else")
        self.guard(module, list(self.covers), lambda: write(native.entropy(8)), each_thread=True)

    def note(self) -> str:
        return "each thread's generator is seeded anew before it draws"


GUARD = UlidTransform()
