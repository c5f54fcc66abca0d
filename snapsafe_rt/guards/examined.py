"""Which libraries were measured, and what came of it: data, nothing else.

Each was used in a process; the process was cloned with a kernel that repeats itself as after a restore, and every clone
drew. The name is that of its folder in site-packages, in lower case, with _ for - and none in front
(settings.library_name()); `also`: other folders and files of it.

Levels: *safe*: it keeps no random state, each draw asks the kernel or something that has a row of its own; *kept*: the
same in each run by design (a fixed seed); *guarded*, *refreshed*: a row of ours sees to it; *unprotected*: it repeats.

`signs`: what scan.py found in which of its files when it was measured; (beginning of the file's name, signs). What else
it finds, or in another file of that folder, nobody has measured.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

if TYPE_CHECKING:

    class Examined(NamedTuple):
        name: str
        version: str
        level: str
        what: str
        also: tuple[str, ...] = ()
        signs: tuple[tuple[str, tuple[str, ...]], ...] = ()

else:
    Examined = namedtuple("Examined", "name version level what also signs", defaults=((), ()))

_GEOS = (("libgeos-", ("std::random_device",)),)
_TORCH = ("c10", "torch_cpu", "torch_cuda", "torch_python")

LEVELS = ("safe", "kept", "guarded", "refreshed", "unprotected")

EXAMINED = (
    Examined("aiohttp", "3.14.5", "safe", "boundaries of multipart messages are of uuid4"),
    Examined("apsw", "3.54.1.0", "refreshed", "randomblob() and random()", signs=(("__init__.", ()),)),
    Examined("argon2", "25.1.0", "safe", "salts are of os.urandom", ("argon2_cffi_bindings",)),
    Examined("bcrypt", "5.0.0", "safe", "salts are the kernel's"),
    Examined(
        "bson", "4.20.1", "guarded", "the five random bytes of ObjectId; session ids of pymongo's pools", ("pymongo",)
    ),
    Examined("celery", "5.7.0", "safe", "task ids are of uuid4; oids and reply queues are of kombu, which has a row"),
    Examined(
        "cryptography",
        "50.0.2",
        "refreshed",
        "EC keys, AESGCM.generate_key; Fernet's keys are of os.urandom",
        signs=(("_rust.", ()),),
    ),
    Examined("crypto", "4.4.0", "safe", "pycryptodome: bytes, ECC keys and numbers are the kernel's"),
    Examined("cuid2", "2.1.0", "safe", "ids are of random.SystemRandom"),
    Examined(
        "curl_cffi",
        "0.17.0",
        "safe",
        "BoringSSL mixes the CPU's random numbers into each draw: ClientHello differs",
        signs=(("_wrapper.", ("BoringSSL or AWS-LC",)),),
    ),
    Examined("dask", "2026.8.0", "safe", "draws from numpy, which has a row"),
    Examined(
        "ddtrace",
        "4.16.0",
        "refreshed",
        "ids of spans and traces, guarded; the runtime id",
        signs=(("_native.", ("Rust's ThreadRng",)),),
    ),
    Examined("duckdb", "2.0.1", "safe", "random(), uuid(), uuidv7(), samples differ"),
    Examined("faker", "40.63.0", "guarded", "draws from random"),
    Examined(
        "fastuuid",
        "0.14.0",
        "safe",
        "uuid4 and uuid7 ask the kernel",
        signs=(("fastuuid.", ("Rust's ThreadRng",)),),
    ),
    Examined(
        "fiona",
        "1.10.1",
        "kept",
        "GEOS shuffles with std::random_device what it computes; the results are the same in each run",
        signs=_GEOS,
    ),
    Examined("grpcio", "1.85.3", "unprotected", "has a BoringSSL of its own", ("grpc", "cygrpc")),
    Examined("hypothesis", "6.170.17", "guarded", "draws from random"),
    Examined("kombu", "5.7.0", "refreshed", "the node id that it made once"),
    Examined(
        "lightgbm",
        "4.7.0",
        "kept",
        "trains with fixed seeds",
        signs=(("lib_lightgbm.", ("std::random_device",)),),
    ),
    Examined(
        "llvmlite",
        "0.50.0",
        "safe",
        "LLVM names its temporary files by it, and makes them anew where one exists",
        signs=(("libllvmlite.", ("std::random_device",)),),
    ),
    Examined("mimesis", "22.2.0", "guarded", "draws from random"),
    Examined("nacl", "1.6.2", "safe", "PyNaCl: libsodium asks the kernel"),
    Examined("nanoid", "2.0.0", "guarded", "draws from os.urandom and random"),
    Examined("nats", "2.16.0", "guarded", "NUID"),
    Examined("numba", "0.68.1", "unprotected", "random and numpy.random in compiled functions repeat"),
    Examined("numpy", "2.5.5", "guarded", "numpy.random, Generators, what numba draws from them by pointers"),
    Examined("opentelemetry", "1.45.2", "refreshed", "trace and span ids are of random; service.instance.id"),
    Examined("pandas", "3.1.1", "safe", "sample() draws from numpy, which has a row"),
    Examined(
        "polars",
        "2.1.0",
        "refreshed",
        "sample() and shuffle()",
        ("polars_runtime_32", "polars_runtime_64", "polars_runtime_compat"),
    ),
    Examined("psycopg_binary", "3.3.9", "guarded", "its libcrypto is hooked"),
    Examined("psycopg2_binary", "2.9.13", "guarded", "its libcrypto is hooked", ("psycopg2",)),
    Examined("pyarrow", "26.0.1", "unprotected", "compute.random() repeats"),
    Examined("rasterio", "1.4.4", "kept", "GEOS, as fiona", signs=_GEOS),
    Examined("redis", "8.1.0", "guarded", "jitter of retries is of random"),
    Examined("scipy", "1.18.1", "safe", "scipy.stats draws from numpy, which has a row; qmc differs"),
    Examined("sentencepiece", "0.2.3", "unprotected", "sampling repeats"),
    Examined("sentry_sdk", "2.75.0", "refreshed", "new trace ids are of uuid4; that of the scope"),
    Examined(
        "shapely",
        "2.2.0",
        "kept",
        "GEOS, as fiona: unions, triangulations, coverages and circles are the same in each run",
        signs=_GEOS,
    ),
    Examined("shortuuid", "1.0.13", "guarded", "draws from uuid4"),
    Examined("sklearn", "1.9.1", "safe", "draws from numpy, which has a row"),
    Examined("snowflake", "1.0.2", "unprotected", "snowflake-id: ids are of the time; 2 of 8 clones gave the same"),
    Examined(
        "tantivy",
        "0.27.0",
        "safe",
        "ids of segments differ",
        signs=(("tantivy.", ("Rust's ThreadRng", "Rust's rand_chacha")),),
    ),
    Examined("tokenizers", "0.23.3", "unprotected", "BPE's dropout repeats"),
    Examined(
        "torch",
        "2.15.0",
        "guarded",
        "the CPU's generators, workers of a DataLoader; CUDA's are refreshed. Seeds are the kernel's",
        signs=tuple((f"lib{one}.", ("std::random_device",)) for one in _TORCH),
    ),
    Examined("typeid", "0.3.11", "guarded", "draws from uuid_utils"),
    Examined(
        "ulid_transform",
        "2.2.9",
        "guarded",
        "ulid_now(), ulid_hex() and ulid_at_time()",
        signs=(("_ulid_impl.", ("std::random_device",)),),
    ),
    Examined("uuid6", "2025.0.1", "guarded", "draws from secrets"),
    Examined(
        "uuid_utils",
        "1.2.0",
        "guarded",
        "uuid4, uuid7, uuid8, uuid1 and uuid6",
        signs=(("_uuid_utils.", ("Rust's ThreadRng", "Rust's rand_chacha")),),
    ),
    Examined("websockets", "17.4", "guarded", "keys are of secrets"),
)

_BY_NAME = {name: one for one in EXAMINED for name in (one.name, *one.also)}


def measured(entry: Examined, file: str) -> "tuple[str, ...] | None":
    """The signs that the file of this name had when the library was measured; None for a file that had none."""
    return next((signs for beginning, signs in entry.signs if file.startswith(beginning)), None)


def find(name: str) -> "Examined | None":
    return _BY_NAME.get(name)
