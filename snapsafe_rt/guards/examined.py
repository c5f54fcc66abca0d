"""Which libraries were measured, and what came of it: data, nothing else.

Each was used in a process; the process was cloned with a kernel that repeats itself as after a restore, and every clone
drew (docs/libraries.md). The name is that of its folder in site-packages, in lower case, with _ for - and none in front
(settings.library_name()); `also`: other folders and files of it.

Levels, of its worst surface: *safe*: no value repeats without us either; *kept*: the same in each run by design (a
fixed seed); *kernel*: it keeps nothing, and asks the kernel past every guard; *guarded*, *refreshed*: a row of ours
sees to it, its own or that of what it draws from; *intel*: it mixes an Intel CPU's random numbers into each draw, and
repeats on any other CPU; *unprotected*: it repeats.

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

LEVELS = ("safe", "kept", "kernel", "guarded", "refreshed", "intel", "unprotected")

EXAMINED = (
    Examined("aiohttp", "3.14.5", "guarded", "multipart boundary: draws from uuid.uuid4"),
    Examined("aioquic", "1.7.2", "guarded", "connection id: draws from os.urandom"),
    Examined("anthropic", "2.14.0", "guarded", "retry jitter: draws from random"),
    Examined("apscheduler", "3.11.3", "guarded", "job id: draws from uuid.uuid4"),
    Examined("apsw", "3.54.1.0", "refreshed", "randomblob() and random()", signs=(("__init__.", ()),)),
    Examined("argon2", "25.1.0", "guarded", "salt: draws from os.urandom", ("argon2_cffi_bindings",)),
    Examined("authlib", "1.9.10", "guarded", "generate_token(): draws from random.SystemRandom"),
    Examined(
        "awscrt",
        "0.38.1",
        "safe",
        "AWS-LC mixes the CPU's random numbers into each draw",
        signs=(("_awscrt.", ("BoringSSL or AWS-LC",)),),
    ),
    Examined("azure_core", "1.41.0", "guarded", "client request id: draws from uuid.uuid1"),
    Examined("azure_storage_blob", "12.31.1", "guarded", "retry jitter: draws from random"),
    Examined("backoff", "2.2.1", "guarded", "full_jitter(): draws from random"),
    Examined("bcrypt", "5.0.0", "guarded", "salts are given fenced entropy in place of the kernel's"),
    Examined("bokeh", "3.9.2", "guarded", "ids of documents: draws from uuid.uuid4"),
    Examined("boto3", "1.44.8", "guarded", "name of a download in progress: draws from random"),
    Examined("botocore", "1.44.8", "guarded", "idempotency token: draws from uuid.uuid4"),
    Examined(
        "bson", "4.20.1", "guarded", "the five random bytes of ObjectId; session ids of pymongo's pools", ("pymongo",)
    ),
    Examined("cachetools", "8.0.2", "guarded", "RRCache evicts: draws from random"),
    Examined(
        "celery",
        "5.7.0",
        "refreshed",
        "task id: draws from uuid.uuid4; node id: of kombu, made anew by the restore event",
    ),
    Examined("coolname", "5.0.0", "guarded", "generate_slug(4): draws from random"),
    Examined("crypto", "4.4.0", "guarded", "get_random_bytes(), random.getrandbits(), ECC key: draws from os.urandom"),
    Examined(
        "cryptography",
        "50.0.2",
        "refreshed",
        "EC keys, AESGCM.generate_key; Fernet's keys are of os.urandom",
        signs=(("_rust.", ()),),
    ),
    Examined("cuid2", "2.1.0", "guarded", "generate(): draws from random.SystemRandom"),
    Examined(
        "curl_cffi",
        "0.17.0",
        "intel",
        "BoringSSL mixes the CPU's random numbers into each draw on Intel's alone: elsewhere ClientHello repeats",
        signs=(("_wrapper.", ("BoringSSL or AWS-LC",)),),
    ),
    Examined("cv2", "5.0.0.93", "kept", "randu(): has a generator of its own in each thread, with a fixed seed"),
    Examined(
        "dask",
        "2026.8.0",
        "guarded",
        "array.random.random(), array.random.default_rng().random(): draws from numpy.random, which is guarded",
    ),
    Examined(
        "ddtrace",
        "4.16.0",
        "refreshed",
        "ids of spans and traces, guarded; the runtime id",
        signs=(("_native.", ("Rust's ThreadRng", "BoringSSL or AWS-LC")),),
    ),
    Examined("deap", "1.4.4", "guarded", "selRandom(): draws from random"),
    Examined("diskcache", "5.6.3", "guarded", "file name: draws from os.urandom"),
    Examined("django", "5.2.19", "guarded", "get_random_string(20): draws from secrets"),
    Examined("dns", "2.9.2", "guarded", "query ids: draws from random.SystemRandom"),
    Examined("dramatiq", "2.2.1", "guarded", "message id: draws from uuid.uuid4"),
    Examined(
        "duckdb",
        "2.0.1",
        "kernel",
        "random(), uuid() and samples: its native code asks the kernel for each query; before 2 it repeats itself",
    ),
    Examined("ecdsa", "0.19.2", "guarded", "SigningKey.generate(): draws from os.urandom"),
    Examined("elastic_transport", "9.4.2", "guarded", "nodes chosen: draws from random"),
    Examined("elasticapm", "6.26.2", "guarded", "transaction id: draws from os.urandom"),
    Examined("engineio", "4.15.1", "guarded", "session id: draws from secrets"),
    Examined("eth_account", "0.14.0", "guarded", "Account.create(): draws from os.urandom"),
    Examined("factory", "3.3.3", "guarded", "FuzzyText(): draws from random"),
    Examined(
        "faiss",
        "1.15.1",
        "kept",
        "trains with fixed seeds",
        signs=(("libfaiss.", ("std::random_device",)), ("_swigfaiss", ("std::random_device",))),
    ),
    Examined("faker", "40.63.0", "guarded", "draws from random"),
    Examined(
        "fastuuid",
        "0.14.0",
        "unprotected",
        "uuid_v1mc() has a generator in each thread, which repeats; uuid4 and uuid7 ask the kernel",
        signs=(("fastuuid.", ("Rust's ThreadRng",)),),
    ),
    Examined(
        "fiona",
        "1.10.1",
        "kept",
        "GEOS shuffles with std::random_device what it computes; the results are the same in each run",
        signs=(("libgeos-", ("std::random_device",)),),
    ),
    Examined("gensim", "4.4.0", "kept", "Word2Vec(): the library has a fixed seed"),
    Examined("google_api_core", "2.44.0", "guarded", "retry jitter: draws from random"),
    Examined("google_cloud_bigquery", "3.47.0", "guarded", "job id: draws from uuid.uuid4"),
    Examined("google_cloud_storage", "3.17.1", "guarded", "invocation id: draws from uuid.uuid4"),
    Examined("grpcio", "1.85.3", "unprotected", "has a BoringSSL of its own", ("grpc", "cygrpc")),
    Examined("httpx", "0.28.1", "guarded", "multipart boundary: draws from os.urandom"),
    Examined("huey", "3.5.4", "guarded", "task id: draws from uuid.uuid4"),
    Examined("hypothesis", "6.170.17", "guarded", "draws from random"),
    Examined(
        "igraph",
        "1.0.0",
        "unprotected",
        "graphs drawn in a thread that did not import it: each has a generator of its own",
        signs=(("_igraph.", ("std::random_device",)),),
    ),
    Examined("jinja2", "3.1.6", "guarded", "random filter: draws from random"),
    Examined("jupyter_client", "8.10.0", "guarded", "session key: draws from os.urandom"),
    Examined("jwcrypto", "1.6.1", "guarded", "symmetric key: draws from os.urandom"),
    Examined("kombu", "5.7.0", "refreshed", "the node id that it made once"),
    Examined("ksuid", "1.14.0", "guarded", "core.random.rng, randprime(): draws from random"),
    Examined("langchain_core", "1.8.0", "guarded", "run id: draws from uuid.uuid4"),
    Examined("langsmith", "0.15.1", "guarded", "run id: draws from uuid and os.urandom"),
    Examined(
        "lightgbm", "4.7.0", "kept", "trains with fixed seeds", signs=(("lib_lightgbm.", ("std::random_device",)),)
    ),
    Examined(
        "llvmlite",
        "0.50.0",
        "safe",
        "LLVM names its temporary files by it, and makes them anew where one exists",
        signs=(("libllvmlite.", ("std::random_device",)),),
    ),
    Examined("matplotlib", "3.11.2", "guarded", "ids in SVG: draws from uuid.uuid4"),
    Examined("mimesis", "22.2.0", "guarded", "draws from random"),
    Examined("mlflow", "3.17.2", "guarded", "run name: draws from random and uuid.uuid4"),
    Examined("mpmath", "1.4.1", "guarded", "rand(): draws from random"),
    Examined("nacl", "1.6.2", "guarded", "utils.random(), PrivateKey.generate(): draws from os.urandom"),
    Examined("nanoid", "2.0.0", "guarded", "draws from os.urandom and random"),
    Examined("nats", "2.16.0", "guarded", "NUID"),
    Examined("nbformat", "5.11.1", "guarded", "cell id: draws from uuid.uuid4"),
    Examined("networkx", "3.6.1", "guarded", "fast_gnp_random_graph(): draws from random"),
    Examined("numba", "0.68.1", "refreshed", "random and numpy.random in compiled functions, in each thread"),
    Examined("numpy", "2.4.6", "guarded", "numpy.random, Generators, what numba draws from them by pointers"),
    Examined("oauthlib", "4.0.1", "guarded", "generate_token(), generate_nonce(): draws from random.SystemRandom"),
    Examined("openai", "3.57.0", "guarded", "retry jitter: draws from random"),
    Examined("openssl", "26.4.0", "refreshed", "PKey.generate_key(): draws from cryptography, which is refreshed"),
    Examined("opentelemetry", "1.45.2", "refreshed", "trace and span ids are of random; service.instance.id"),
    Examined("optuna", "5.0.0", "guarded", "RandomSampler: draws from numpy.random, which is guarded"),
    Examined("paho", "2.2.0", "guarded", "client id: draws from uuid.uuid4"),
    Examined("pandas", "3.1.1", "guarded", "DataFrame.sample(4): draws from numpy.random, which is guarded"),
    Examined("paramiko", "5.1.0", "refreshed", "ECDSAKey.generate(): draws from cryptography, which is refreshed"),
    Examined("passlib", "1.7.4", "guarded", "salt: draws from random.SystemRandom"),
    Examined("pil", "13.0.0", "kept", "Image.effect_noise(): of rand(3), never seeded"),
    Examined("plotly", "7.1.0", "guarded", "div id: draws from uuid.uuid4"),
    Examined(
        "polars",
        "2.1.0",
        "refreshed",
        "sample() and shuffle()",
        ("polars_runtime_32", "polars_runtime_64", "polars_runtime_compat"),
        signs=(("_polars_runtime", ("Rust's ThreadRng", "Rust's fastrand", "BoringSSL or AWS-LC")),),
    ),
    Examined("psycopg2_binary", "2.9.13", "guarded", "its libcrypto is hooked", ("psycopg2",)),
    Examined("psycopg_binary", "3.3.9", "guarded", "its libcrypto is hooked"),
    Examined("pyarrow", "26.0.1", "unprotected", "compute.random() repeats"),
    Examined("pyotp", "2.12.1", "guarded", "random_base32(): draws from secrets"),
    Examined("rasterio", "1.4.4", "kept", "GEOS, as fiona", signs=(("libgeos-", ("std::random_device",)),)),
    Examined("redis", "8.1.0", "guarded", "jitter of retries is of random"),
    Examined("requests", "2.34.2", "guarded", "multipart boundary: draws from os.urandom, by urllib3"),
    Examined("requests_toolbelt", "1.0.0", "guarded", "multipart boundary: draws from uuid.uuid4"),
    Examined("rq", "3.0.0", "guarded", "job id: draws from uuid.uuid4"),
    Examined("rsa", "4.9.1", "guarded", "newkeys(128): draws from os.urandom"),
    Examined("rstr", "3.2.2", "guarded", "xeger(): draws from random"),
    Examined("s3transfer", "0.19.3", "guarded", "random_file_extension(): draws from random"),
    Examined("scapy", "2.8.0", "guarded", "RandLong(): draws from random"),
    Examined(
        "scipy",
        "1.17.1",
        "guarded",
        "stats.norm.rvs(), stats.qmc.Sobol(2).random(): draws from numpy.random, which is guarded",
    ),
    Examined("sentencepiece", "0.2.3", "unprotected", "sampling repeats"),
    Examined("sentry_sdk", "2.75.0", "refreshed", "new trace ids are of uuid4; that of the scope"),
    Examined(
        "shapely",
        "2.2.0",
        "kept",
        "GEOS, as fiona: unions, triangulations, coverages and circles are the same in each run",
        signs=(("libgeos-", ("std::random_device",)),),
    ),
    Examined("shortuuid", "1.0.13", "guarded", "draws from uuid4"),
    Examined("sklearn", "1.9.1", "guarded", "train_test_split(): draws from numpy.random, which is guarded"),
    Examined("slack_sdk", "3.48.0", "guarded", "retry jitter: draws from random"),
    Examined("snowflake", "1.0.2", "unprotected", "snowflake-id: ids are of the time; 2 of 8 clones gave the same"),
    Examined("stripe", "16.1.0", "guarded", "retry jitter: draws from uuid.uuid4"),
    Examined("svix_ksuid", "0.7.0", "guarded", "Ksuid(): draws from os.urandom"),
    Examined(
        "tantivy",
        "0.27.0",
        "kernel",
        "ids of segments: its native code asks the kernel, in each thread that it starts",
        signs=(("tantivy.", ("Rust's ThreadRng", "Rust's rand_chacha")),),
    ),
    Examined("tenacity", "9.2.1", "guarded", "wait_random(): draws from random"),
    Examined(
        "tensorflow",
        "2.21.0",
        "unprotected",
        "random.uniform(), random.shuffle(), random.Generator: has generators of its own",
    ),
    Examined("tokenizers", "0.23.3", "unprotected", "BPE's dropout repeats"),
    Examined(
        "torch",
        "2.13.0+cpu",
        "guarded",
        "the CPU's generators, workers of a DataLoader; CUDA's are refreshed. Seeds are the kernel's",
        signs=tuple((f"lib{one}.", ("std::random_device",)) for one in _TORCH),
    ),
    Examined("tornado", "6.6.1", "guarded", "XSRF token: draws from os.urandom and uuid.uuid4"),
    Examined("trio", "0.35.0", "guarded", "order of tasks: draws from random"),
    Examined("twisted", "26.10.0", "guarded", "secureRandom(): draws from os.urandom"),
    Examined("typeid", "0.3.11", "guarded", "draws from uuid_utils"),
    Examined("ulid", "4.1.0", "guarded", "counts on from the last id within a millisecond; draws from os.urandom"),
    Examined(
        "ulid_transform",
        "2.2.9",
        "guarded",
        "ulid_now(), ulid_hex() and ulid_at_time()",
        signs=(("_ulid_impl.", ("std::random_device",)),),
    ),
    Examined("urllib3", "2.8.0", "guarded", "multipart boundary: draws from os.urandom"),
    Examined("uuid6", "2025.0.1", "guarded", "draws from secrets"),
    Examined(
        "uuid_utils",
        "1.2.0",
        "guarded",
        "uuid4, uuid7, uuid8, uuid1 and uuid6",
        signs=(("_uuid_utils.", ("Rust's ThreadRng", "Rust's rand_chacha")),),
    ),
    Examined("wandb", "0.31.0", "guarded", "run id: draws from secrets"),
    Examined("websocket", "1.9.2", "guarded", "mask of a frame, Sec-WebSocket-Key: draws from os.urandom"),
    Examined("websockets", "17.4", "guarded", "keys are of secrets"),
    Examined("werkzeug", "3.1.9", "guarded", "salt, generate_password_hash(): draws from secrets"),
    Examined("wsproto", "1.3.2", "guarded", "Sec-WebSocket-Key: draws from os.urandom"),
    Examined("wtforms", "3.3.2", "guarded", "CSRF token: draws from os.urandom"),
    Examined(
        "xgboost",
        "3.2.0",
        "kept",
        "trains with fixed seeds; its BoringSSL is as that of curl_cffi",
        signs=(("libxgboost.", ("BoringSSL or AWS-LC", "std::random_device")),),
    ),
    Examined("zmq", "27.3.0", "kernel", "curve_keypair(): its native code asks the kernel"),
)

_BY_NAME = {name: one for one in EXAMINED for name in (one.name, *one.also)}


def measured(entry: Examined, file: str) -> "tuple[str, ...] | None":
    """The signs that the file of this name had when the library was measured; None for a file that had none."""
    return next((signs for beginning, signs in entry.signs if file.startswith(beginning)), None)


def find(name: str) -> "Examined | None":
    return _BY_NAME.get(name)
