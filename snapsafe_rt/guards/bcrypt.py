"""bcrypt: its salts, for which its native code asks the kernel."""

import sys

from snapsafe_rt.core import native
from snapsafe_rt.guards.calls import Fed
from snapsafe_rt.guards.guard import names_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


class Bcrypt(Fed):
    """Its salts are of fenced entropy, not of what the kernel gives, which may repeat itself."""

    name = "bcrypt"
    covers = ("bcrypt.gensalt",)
    triggers = ("bcrypt._bcrypt",)
    files = ("/bcrypt/_bcrypt.",)

    def install(self, module: "ModuleType") -> None:
        self.remove()
        if "gensalt" in vars(module):
            self.feed(module, ["gensalt"])

    def displaced(self) -> str:
        # Before 4.1 it is a function in Python.
        code = native.code_of(names_of(sys.modules.get("bcrypt")).get("gensalt"))
        return "" if code is not None and "urandom" in code.co_names else super().displaced()

    def note(self) -> str:
        return "its salts are of our entropy, not of the kernel's own"


GUARD = Bcrypt()
