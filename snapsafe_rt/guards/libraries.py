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
    after a restore the kernel may still repeat itself. `instead`: an expression for each call, in place of the plain
    one.
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
        instead: str = "",
    ) -> None:
        self.name = name
        self.triggers = triggers
        self.covers = covers
        self.files = files
        self.recipe = recipe
        self.instead = instead
        self.advice = "; ".join(
            [advice, *([f"after a restore: {recipe}"] if recipe else []), *([instead] if instead else [])]
        )

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
        "repeats itself; this does not reach objects of tf.random.Generator, which their reset_from_seed() does",
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
        "sentencepiece",
        ("sentencepiece",),
        ("SentencePieceProcessor.encode with sampling",),
        (),
        "repeats itself in each thread that sampled before; only threads that begin to sample later can be seeded",
        "sentencepiece.set_random_generator_seed(int.from_bytes(snapsafe_rt.entropy(4), 'little'))",
    ),
    Named(
        "tokenizers",
        ("tokenizers",),
        ("dropout of BPE",),
        ("/tokenizers/tokenizers.",),
        "dropout of BPE repeats itself, in each thread that used it, and cannot be seeded; all else draws nothing",
    ),
    Named(
        "pyarrow",
        ("pyarrow._compute",),
        ("pyarrow.compute.random",),
        ("/pyarrow/_compute.",),
        "compute.random() repeats itself, and its generator cannot be seeded; so give each call a seed",
        instead="pyarrow.compute.random(n, initializer=int.from_bytes(snapsafe_rt.entropy(8), 'little'))",
    ),
    Named(
        "snowflake",
        ("snowflake.snowflake",),
        ("ids of snowflake-id",),
        (),
        "makes the same ids in every clone, for time and worker number are the same; of ten bits, the number cannot be "
        "drawn: somebody has to hand it out, as examples/worker_number.py shows",
    ),
    Named(
        "duckdb",
        ("_duckdb",),
        ("random(), uuid() and samples in SQL, before version 2",),
        (),
        "each connection repeats itself, before version 2; for each connection",
        "connection.execute('select setseed(?)', [int.from_bytes(snapsafe_rt.entropy(6), 'little') / 2**48])",
    ),
)
