"""Libraries with random state of their own that nothing here reaches: named as unprotected while they are loaded.

ONE table. What is loaded is looked up when a report is made; nothing is patched, and this is not read at start-up.
"""

import sys


class Library:
    """`files`: beginnings of the names of shared objects that hold the state, for whoever looks from outside."""

    __slots__ = ("covers", "files", "name", "note")

    def __init__(self, name: str, covers: tuple[str, ...], files: tuple[str, ...], note: str) -> None:
        self.name = name
        self.covers = covers
        self.files = files
        self.note = note


# Module (of table.LIBRARIES): what it is, and what a program can do about it.
TABLE = {
    "numpy.random.mtrand": Library(
        "numpy",
        ("numpy.random", "Generator and RandomState objects"),
        ("mtrand.", "_mt19937.", "bit_generator."),
        "repeats itself; register_after_restore(numpy.random.seed), and make new Generators there",
    ),
    "torch": Library(
        "torch",
        ("torch.rand", "initial weights", "dropout"),
        ("libtorch_cpu.", "libtorch_python."),
        "repeats itself; register_after_restore(torch.seed), which reaches CUDA's generators too",
    ),
    "tensorflow.python": Library(
        "tensorflow",
        ("tf.random", "initial weights"),
        ("libtensorflow_framework.", "_pywrap_tensorflow_internal."),
        "repeats itself (read in its source); after a restore call tf.random.set_seed with a fresh number",
    ),
    "grpc._cython.cygrpc": Library(
        "grpcio",
        ("TLS of gRPC channels", "retry jitter"),
        ("cygrpc.",),
        "has a BoringSSL of its own that cannot be reached; close channels before the snapshot, open new ones after it",
    ),
    "uuid_utils": Library(
        "uuid_utils",
        ("uuid_utils.uuid4", "uuid7"),
        ("_uuid_utils.",),
        "repeats itself; uuid_utils.reseed_rng() renews the calling thread only, so call it in each thread",
    ),
    "ddtrace.internal.native": Library(
        "ddtrace",
        ("trace and span ids", "runtime id"),
        (),
        "repeats itself; ddtrace.internal.native.seed() renews the calling thread only",
    ),
    "kombu.common": Library(
        "kombu",
        ("node ids of Celery workers",),
        (),
        "keeps the node id that it made once; register_after_restore what sets kombu.common._node_id to None",
    ),
    "apsw": Library(
        "apsw",
        ("randomblob()", "random()"),
        (),
        "has an SQLite of its own; after a restore call apsw.randomness(0), which makes it seed itself anew",
    ),
}


def covers(name: str) -> tuple[str, ...]:
    """What a person recognises the library `name` by."""
    return next((library.covers for library in TABLE.values() if library.name == name), ())


def report() -> list[tuple[str, tuple[str, ...], str]]:
    """(name, what it covers, sentence) of each library of the table that this interpreter has loaded."""
    return [(TABLE[module].name, TABLE[module].covers, TABLE[module].note) for module in TABLE if module in sys.modules]
