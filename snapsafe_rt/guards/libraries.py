"""Libraries with random state of their own that nothing here reaches: named as unprotected while they are loaded.

Their rows have no file of their own. One that becomes guarded or refreshed gets one, and moves in table.py.
"""

import sys

from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.guards.guard import RemoteProcess, Verdict


class Named(Guard):
    """Not reached: named while it is loaded, with what a program can do about it.

    `recipe`: statements for a callback of register_after_restore(). They take their bytes from snapsafe_rt.entropy():
    after a restore the kernel may still repeat itself.
    """

    level = "unprotected"

    def __init__(
        self,
        name: str,
        triggers: tuple[str, ...],
        covers: tuple[str, ...],
        files: tuple[str, ...],
        advice: str,
        recipe: str = "",
    ) -> None:
        self.name = name
        self.triggers = triggers
        self.covers = covers
        self.files = files
        self.recipe = recipe
        self.advice = f"{advice}; after a restore: {recipe}" if recipe else advice

    def is_loaded(self) -> bool:
        return any(trigger in sys.modules for trigger in self.triggers)

    def note(self) -> str:
        return self.advice

    def judge_remote(self, noted: "Verdict | None", needs_event: bool, process: "RemoteProcess") -> "Verdict | None":
        if noted is not None:
            return noted
        verdict = super().judge_remote(noted, needs_event, process)
        return None if verdict is None else (verdict[0], f"{verdict[1]}; {self.advice}")


GUARDS = (
    Named(
        "tensorflow",
        ("tensorflow.python",),
        ("tf.random", "initial weights"),
        ("libtensorflow_framework.", "_pywrap_tensorflow_internal."),
        "repeats itself (read in its source)",
        "tensorflow.random.set_seed(int.from_bytes(snapsafe_rt.entropy(7), 'little'))",
    ),
    Named(
        "grpcio",
        ("grpc._cython.cygrpc",),
        ("TLS of gRPC channels", "retry jitter"),
        ("cygrpc.",),
        "has a BoringSSL of its own that cannot be reached; close channels before the snapshot, open new ones after it",
    ),
    Named(
        "numba",
        ("numba",),
        ("random and numpy.random in compiled functions",),
        ("/numba/_dispatcher.",),
        "repeats itself, in each thread; with `seed = numba.njit(lambda n: numpy.random.seed(n))`, in each thread",
        "seed(int.from_bytes(snapsafe_rt.entropy(4), 'little'))",
    ),
    Named(
        "sentencepiece",
        ("sentencepiece",),
        ("SentencePieceProcessor.encode with sampling",),
        (),
        "repeats itself",
        "sentencepiece.set_random_generator_seed(int.from_bytes(snapsafe_rt.entropy(4), 'little'))",
    ),
)
