"""uuid_utils: UUIDs by a generator of Rust's that each thread has, and a node and clock sequence for the process."""

from snapsafe_rt.guards.calls import Reseeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_TIMED = ("(node=None, clock_seq=None)", "(node=None, timestamp=None, nanos=None)")  # cython/calls.pxi


class UuidUtils(Reseeded):
    """Its generator is seeded anew before it draws, in each thread; uuid1, uuid6 take a random node after a restore."""

    name = "uuid_utils"
    covers = ("uuid_utils.uuid4", "uuid7", "uuid8", "uuid1", "uuid6", "getnode", "uuid_utils.compat")
    triggers = ("uuid_utils._uuid_utils",)
    files = ("_uuid_utils.",)

    def install(self, module: "ModuleType") -> None:
        names = [name for name in vars(module) if _draws(name)]
        for name in ("uuid1", "uuid6"):
            if getattr(vars(module)[name], "__text_signature__", None) not in _TIMED:
                raise LookupError(f"{name}() of this version takes its node in another way")
        seed = vars(module).get("reseed") or vars(module).get("reseed_rng")
        if seed is None:
            raise LookupError("this version cannot be seeded anew")
        self.reseed_by(module, names, seed)

    def note(self) -> str:
        return "seeded anew in each thread before it draws; uuid1 and uuid6 have a random node after a restore"


def _draws(name: str) -> bool:
    """uuid4, _uuid4_int and their likes; not those that hash a name."""
    kind, _, number = name.removeprefix("_").removesuffix("_int").partition("uuid")
    return name == "getnode" or (not kind and number.isdigit() and number not in ("3", "5"))


GUARD = UuidUtils()
