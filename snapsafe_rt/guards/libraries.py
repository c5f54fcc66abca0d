"""Libraries with random state of their own that nothing here reaches: named as unprotected while they are loaded.

Their rows have no file of their own. One that becomes guarded or refreshed gets one, and moves in table.py.
"""

import sys

from snapsafe_rt.guards.guard import Guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snapsafe_rt.guards.guard import RemoteProcess, Verdict


class Named(Guard):
    """Not reached: named while it is loaded, with what a program can do about it."""

    level = "unprotected"

    def __init__(
        self, name: str, triggers: tuple[str, ...], covers: tuple[str, ...], files: tuple[str, ...], advice: str
    ) -> None:
        self.name = name
        self.triggers = triggers
        self.covers = covers
        self.files = files
        self.advice = advice

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
        "numpy",
        ("numpy.random.mtrand",),
        ("numpy.random", "Generator and RandomState objects"),
        ("mtrand.", "_mt19937.", "bit_generator."),
        "repeats itself; register_after_restore(numpy.random.seed), and make new Generators there",
    ),
    Named(
        "torch",
        ("torch",),
        ("torch.rand", "initial weights", "dropout"),
        ("libtorch_cpu.", "libtorch_python."),
        "repeats itself; register_after_restore(torch.seed), which reaches CUDA's generators too",
    ),
    Named(
        "tensorflow",
        ("tensorflow.python",),
        ("tf.random", "initial weights"),
        ("libtensorflow_framework.", "_pywrap_tensorflow_internal."),
        "repeats itself (read in its source); after a restore call tf.random.set_seed with a fresh number",
    ),
    Named(
        "grpcio",
        ("grpc._cython.cygrpc",),
        ("TLS of gRPC channels", "retry jitter"),
        ("cygrpc.",),
        "has a BoringSSL of its own that cannot be reached; close channels before the snapshot, open new ones after it",
    ),
    Named(
        "uuid_utils",
        ("uuid_utils",),
        ("uuid_utils.uuid4", "uuid7"),
        ("_uuid_utils.",),
        "repeats itself; uuid_utils.reseed_rng() renews the calling thread only, so call it in each thread",
    ),
    Named(
        "ddtrace",
        ("ddtrace.internal.native", "ddtrace.internal._rand"),
        ("trace and span ids", "runtime id"),
        ("/ddtrace/internal/_rand.",),
        "repeats itself; ddtrace.internal.native.seed(), of 2 ddtrace.internal._rand.seed(), renews one thread only",
    ),
    Named(
        "kombu",
        ("kombu.common",),
        ("node ids of Celery workers",),
        (),
        "keeps the node id that it made once; register_after_restore what sets kombu.common._node_id to None",
    ),
    Named(
        "apsw",
        ("apsw",),
        ("randomblob()", "random()"),
        (),
        "has an SQLite of its own; after a restore call apsw.randomness(0), which makes it seed itself anew",
    ),
    Named(
        "polars",
        ("polars",),
        ("Series.sample", "DataFrame.sample", "shuffle"),
        (),
        "repeats itself; after a restore call polars.set_random_seed with a fresh number",
    ),
    Named(
        "nats",
        ("nats.nuid",),
        ("inbox names and ids (NUID)",),
        (),
        "goes on with the same prefix and number; make a new NUID, or a new client, after a restore",
    ),
    Named(
        "numba",
        ("numba",),
        ("random and numpy.random in compiled functions",),
        ("/numba/_dispatcher.",),
        "repeats itself; seed anew in a compiled function, in each thread",
    ),
    Named(
        "opentelemetry",
        ("opentelemetry.sdk.resources",),
        ("service.instance.id of a Resource",),
        (),
        "trace and span ids are guarded; a service.instance.id that was made before the restore stays as it was",
    ),
    Named(
        "sentry_sdk",
        ("sentry_sdk.scope",),
        ("trace id of the scope",),
        (),
        "new trace ids are guarded; the one that a scope was given before the restore stays as it was",
    ),
    Named(
        "sentencepiece",
        ("sentencepiece",),
        ("SentencePieceProcessor.encode with sampling",),
        (),
        "repeats itself; after a restore call sentencepiece.set_random_generator_seed with a fresh number",
    ),
)
