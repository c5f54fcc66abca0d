"""What is found in a shared object, and in none of the ordinary ones; whose it is, and what follows."""

import os
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from snapsafe_rt import settings
from snapsafe_rt.guards import examined, scan, table, unexamined

SOURCE_ID = "2024-08-13 09:16:08 c9c2ab54ba1f5f46360f1b4f35d849cd3f080e6fc2b6c60e91b16c63f69a1e33"
OPENSSL = "OpenSSL 3.0.15 3 Sep 2024"
SIGNS = {
    "/cargo/registry/src/index.crates.io-1/rand-0.9.1/src/rngs/thread.rs": "Rust's ThreadRng",
    "/cargo/registry/src/x/fastrand-2.3.0/src/global_rng.rs": "Rust's fastrand",
    "/cargo/registry/src/x/rand_chacha-0.3.1/src/guts.rs": "Rust's rand_chacha",
    "OpenSSL 1.1.1 (compatible; BoringSSL)": "BoringSSL",
    "OpenSSL 1.1.1 (compatible; AWS-LC 1.36.0)": "AWS-LC 1.36.0",
    "/src/aws-lc/crypto/fipsmodule/rand/rand.c": "BoringSSL or AWS-LC",
    "Mbed TLS 3.6.2": "Mbed TLS",
    "random_device could not be read": "std::random_device",
}


@pytest.fixture
def built(tmp_path):
    """built(*texts, code="") -> a shared object, stripped, with these texts in it."""

    def build(*texts, code="", name="sample.so", flags=()):
        source = tmp_path / "sample.c"
        lines = [f'const char text{n}[] __attribute__((visibility("hidden"))) = "{t}";' for n, t in enumerate(texts)]
        uses = " + ".join(f"text{n}[i]" for n in range(len(texts))) or "i"
        source.write_text("\n".join([*lines, f"int sample_use(int i) {{ return {uses}; }}", code]))
        target = tmp_path / name
        command = ["cc", "-shared", "-fPIC", "-O1", "-s", source, "-o", target, *flags]
        subprocess.run(list(map(str, command)), check=True)
        return target

    return build


def found(path):
    return scan._opened(str(path), os.stat(path).st_ino)


def without_sections(path):
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)
    data[58:64] = bytes(6)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("strip", [False, True], ids=["", "without section headers"])
@pytest.mark.parametrize(("text", "sign"), SIGNS.items())
def test_signs_by_text(built, text, sign, strip):
    file = built(text)
    assert found(without_sections(file) if strip else file) == ((), (), (sign,))


def test_twin_without_the_text(built):
    assert (
        found(built("/rustc/9fc6b431/library/core/src/panicking.rs", "getrandom", "OpenSSL is needed")) == scan.NOTHING
    )


@pytest.mark.parametrize("strip", [False, True], ids=["", "without section headers"])
@pytest.mark.parametrize(
    ("texts", "copy"),
    [
        ((OPENSSL,), "OpenSSL 3.0.15"),
        ((OPENSSL, "crypto/rand/rand_lib.c"), "OpenSSL 3.0.15"),
        (("OpenSSL 1.1.1w  11 Sep 2023",), "OpenSSL 1.1.1w"),
        (("../crypto/rand/rand_lib.c",), "OpenSSL"),
        (("SQLite format 3", SOURCE_ID), "SQLite"),
    ],
)
def test_copies_that_are_linked_in(built, texts, copy, strip):
    file = built(*texts)
    assert found(without_sections(file) if strip else file) == ((), (copy,), ())


def test_what_was_only_compiled_with_its_headers(built):
    """It calls the library, which is elsewhere."""
    calls = "void EVP_sha256(void); void sqlite3_open(void); void f(void) { EVP_sha256(); sqlite3_open(); }"
    assert found(built(OPENSSL, SOURCE_ID, code=calls)) == scan.NOTHING
    assert found(built("SQLite format 3")) == scan.NOTHING  # who recognises a database by its first bytes
    assert found(built(SOURCE_ID)) == scan.NOTHING


@pytest.mark.parametrize("flags", [(), ("-Wl,--hash-style=sysv",), ("-Wl,-O2",)])
@pytest.mark.parametrize(("symbol", "row"), [(name.decode(), row) for name, row in scan.EXPORTS.items()])
def test_who_defines_a_symbol_and_who_calls_it(built, symbol, row, flags):
    """A longer name with the same end shares its text with it."""
    defined = f"void {symbol}(void) {{}} void my_{symbol}(void) {{}}"
    texts = (OPENSSL, "SQLite format 3", SOURCE_ID)
    seen = found(built(*texts, code=defined, flags=flags))
    assert seen.exports == (row,)
    assert seen.copies == (("SQLite",) if row == "openssl" else ("OpenSSL 3.0.15",))
    assert found(built(code=f"void {symbol}(void); void f(void) {{ {symbol}(); }}", flags=flags)) == scan.NOTHING
    assert found(built(code=f"void my_{symbol}(void) {{}}", flags=flags)) == scan.NOTHING


@pytest.mark.parametrize(("symbol", "sign"), [(name.decode(), sign) for name, sign in scan.DRAWING.items()])
def test_signs_by_symbol(built, symbol, sign):
    """Who defines it; the twin only calls it."""
    assert found(built(code=f"void {symbol}(void) {{}}")).signs == (sign,)
    assert found(built(code=f"void {symbol}(void); void f(void) {{ {symbol}(); }}")) == scan.NOTHING


def test_a_text_over_the_end_of_a_piece(built, monkeypatch):
    monkeypatch.setattr(scan, "_PIECE", 300)
    text = next(iter(SIGNS))
    for length in range(0, 300, 7):
        assert found(built("x" * length, text)).signs == (SIGNS[text],)
        scan.cache.clear()


def test_a_cpp_library_that_draws_from_the_system(tmp_path):
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    source = tmp_path / "sample.cpp"
    source.write_text('#include <random>\nextern "C" unsigned f() { return std::random_device()(); }\n')
    hidden = "-Wl,--exclude-libs,ALL"
    for flags in ((), ("-static-libstdc++",), ("-static-libstdc++", hidden)):
        target = tmp_path / f"sample{len(flags)}.so"
        done = subprocess.run(["c++", "-shared", "-fPIC", "-s", *flags, source, "-o", target], capture_output=True)
        if done.returncode == 0:
            assert found(target).signs == ("std::random_device",)


def test_ordinary_libraries_bear_no_sign():
    """What this interpreter has mapped, with libstdc++, which defines std::random_device for others."""
    script = (
        "import ctypes, ssl, sqlite3, decimal, zlib, lzma, asyncio, multiprocessing.shared_memory\n"
        "ctypes.CDLL('libstdc++.so.6')\n"
        "from snapsafe_rt.guards import scan\n"
        "import snapsafe_rt._core\n"
        "for one in scan.mapped(): print(one.path, *scan.examine(one), sep='\\t')\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        path, exports, copies, signs = line.split("\t")
        if scan.PROGRAM.search(path) or scan.LIBRARY.search(path) or unexamined._MODULE.search(path):
            continue
        assert (copies, signs) == ("()", "()"), line
        assert exports == "()" or "libcrypto" in path or "libsqlite3" in path, line


def test_a_file_that_is_not_what_it_says(built, tmp_path):
    """It may be anybody's: no exception, and no answer that it is harmless where it cannot be read."""
    good = built(next(iter(SIGNS))).read_bytes()
    chance = random.Random(1)
    for number in range(300):
        data = bytearray(good[: chance.randrange(1, len(good))] if number % 3 == 0 else good)
        for _ in range(chance.randrange(6)):
            data[chance.randrange(64)] = chance.randrange(256)
        at = tmp_path / f"broken{number}.so"
        at.write_bytes(bytes(data))
        outcome = found(at)
        assert outcome is None or isinstance(outcome, scan.Found)
    (tmp_path / "text").write_text("no ELF")
    assert found(tmp_path / "text") == scan.NOTHING
    assert found(tmp_path) is None
    assert scan._opened("/dev/null", os.stat("/dev/null").st_ino) is None


def test_a_file_is_read_once_until_it_changes(built, monkeypatch):
    file = built(next(iter(SIGNS)))
    one = scan.Mapped(str(file), os.stat(file).st_ino)
    first = scan.examine(one)
    with monkeypatch.context() as patched:
        patched.setattr(scan, "_of_file", None)
        assert scan.examine(one) is first
    with file.open("ab") as more:
        more.write(b"\0")
    assert scan.examine(one) == first
    assert scan.examine(one) is not first


# ---- whose it is, and what follows ----


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v/lib/python3.11/site-packages/polars/polars.abi3.so", "polars"),
        ("/v/lib/python3.11/site-packages/_polars_runtime_32/_polars_runtime.abi3.so", "polars_runtime_32"),
        ("/v/lib/python3.11/site-packages/confluent_kafka.libs/librdkafka-4a6b1f0e.so.1", "confluent_kafka"),
        ("/v/lib/python3.11/site-packages/Some-Thing.libs/libx.so", "some_thing"),
        ("/usr/lib/python3/dist-packages/_one.cpython-311-x86_64-linux-gnu.so", "one"),
        ("/v/lib/python3.11/site-packages/two.abi3.so", "two"),
        ("/usr/lib/x86_64-linux-gnu/libgnutls.so.30.37.1", "libgnutls"),
        ("/opt/app/three/deep/_x.cpython-311-x86_64-linux-gnu.so", "three"),
        ("/opt/app/libfour-0123abcd.so", "libfour"),
    ],
)
def test_a_library_is_called_by_its_folder(path, name):
    packages = {"/opt/app/three", "/opt/app/three/deep"}
    assert unexamined.name_of(path, packages.__contains__) == name


def judged(monkeypatch, path, seen, *, trusted=(), named=(), known=()):
    monkeypatch.setattr(scan, "examine", lambda one, pid: seen)
    one = scan.Mapped(path, 7)
    rows = unexamined.judge([one], {"openssl": list(known)}, frozenset(trusted), set(named))
    return {name: (level, note) for name, level, note in rows}


SITE = "/v/lib/python3.11/site-packages"
SIGN = scan.Found((), (), ("Rust's ThreadRng",))
COPY = scan.Found((), ("OpenSSL 3.0.15",), ())
BORING = scan.Found((), (), ("BoringSSL or AWS-LC",))


def test_three_answers(monkeypatch):
    assert judged(monkeypatch, f"{SITE}/new_one/x.so", scan.NOTHING) == {}
    [(level, note)] = judged(monkeypatch, f"{SITE}/new_one/x.so", SIGN).values()
    assert level == "unexamined"
    assert "SNAPSAFE_TRUST=new_one" in note
    assert judged(monkeypatch, f"{SITE}/new_one/x.so", SIGN, trusted=["new_one"]) == {}
    assert judged(monkeypatch, f"{SITE}/new_one/x.so", None)["new_one"][0] == "unexamined"
    assert judged(monkeypatch, f"{SITE}/tantivy/tantivy.so", SIGN) == {}  # measured: it repeats nothing
    assert judged(monkeypatch, f"{SITE}/pyarrow/libarrow.so", SIGN)["pyarrow"][0] == "unprotected"
    assert judged(monkeypatch, f"{SITE}/sentencepiece/x.so", SIGN, named=["sentencepiece"]) == {}  # has its row


MORE = scan.Found((), (), ("Rust's ThreadRng", "Mbed TLS"))
BOTH = scan.Found((), ("OpenSSL 3.0.15",), SIGN.signs)


@pytest.mark.parametrize(
    ("path", "seen", "level"),
    [
        ("redis/_uuid_utils.abi3.so", SIGN, "unexamined"),  # measured, and no file of it had a sign
        ("redis/x.so", COPY, "unprotected"),
        ("redis/x.so", None, "unexamined"),
        ("tantivy/x.so", SIGN, "unexamined"),
        ("tantivy/tantivy.so", MORE, "unexamined"),
        ("tantivy/tantivy.so", BOTH, "unprotected"),
        ("tantivy/tantivy.so", SIGN, None),
        ("shapely.libs/libgeos-d1e818bb.so.3.14.1", scan.Found((), (), ("std::random_device",)), None),
        ("cryptography/hazmat/bindings/_rust.abi3.so", COPY, None),  # its row tells
        ("cryptography/hazmat/bindings/other.so", COPY, "unprotected"),
    ],
)
def test_the_name_of_a_measured_library_silences_what_was_measured_and_no_more(monkeypatch, path, seen, level):
    said = judged(monkeypatch, f"{SITE}/{path}", seen)
    assert [one for one, _ in said.values()] == ([level] if level else [])


@pytest.mark.parametrize("name", ["new_one", "pyarrow"])
def test_nobody_vouches_for_what_is_known_to_repeat(monkeypatch, name):
    seen = COPY if name == "new_one" else SIGN
    assert judged(monkeypatch, f"{SITE}/{name}/x.so", seen, trusted=[name])[name][0] == "unprotected"


def test_the_interpreters_own_copies_are_told_by_their_rows(monkeypatch):
    for path in (
        "/opt/python3.12",
        "/usr/lib/libpython3.12.so.1.0",
        "/x/lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so",
    ):
        assert judged(monkeypatch, path, COPY) == {}
    assert judged(monkeypatch, f"{SITE}/pysqlite3/_sqlite3.cpython-312.so", scan.Found((), ("SQLite",), ()))


def test_a_libcrypto_that_the_core_does_not_know(monkeypatch):
    seen = scan.Found(("openssl",), (), ())
    assert judged(monkeypatch, "/x/libmine.so", seen)["openssl"][0] == "unprotected"
    assert judged(monkeypatch, "/x/libmine.so", seen, known=["/x/libmine.so"]) == {}


@pytest.mark.parametrize("cpu", ["GenuineIntel", "AuthenticAMD", "arm64"])
def test_a_library_that_is_safe_on_intel_alone(monkeypatch, tmp_path, cpu):
    """BoringSSL mixes RDRAND in on Intel's CPUs alone, so on others curl_cffi repeats: found on one of AMD's."""
    lines = ["Features : fp asimd rng"] if cpu == "arm64" else [f"vendor_id : {cpu}", "flags : fpu rdrand sse2"]
    (tmp_path / "cpuinfo").write_text("processor : 0\n" + "\n".join(lines))
    real = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, *more, **named: real(tmp_path / "cpuinfo" if path == "/proc/cpuinfo" else path, *more, **named),
    )
    found = judged(monkeypatch, f"{SITE}/curl_cffi/_wrapper.abi3.so", BORING)
    assert [row[0] for row in found.values()] == ([] if cpu == "GenuineIntel" else ["unprotected"])


def test_a_library_with_the_name_of_a_row(monkeypatch):
    assert judged(monkeypatch, f"{SITE}/random/x.so", SIGN) == {
        "random (library)": judged(monkeypatch, f"{SITE}/random/x.so", SIGN)["random (library)"]
    }


def test_the_table_of_examined_libraries():
    names = [name for one in examined.EXAMINED for name in (one.name, *one.also)]
    assert len(set(names)) == len(names)
    assert names == [settings.library_name(name) for name in names]
    assert {one.level for one in examined.EXAMINED} <= set(examined.LEVELS)
    for one in examined.EXAMINED:
        assert one.version
        assert one.what
        row = one.name in table.NAMED
        assert not row or one.level == "unprotected" or one.name in table.NAMED_BEFORE
        assert one.level != "refreshed" or one.name in table.TABLE or not one.signs  # by the row of what it draws from


def test_the_layout_of_what_is_read():
    """Elf64_Shdr, Elf64_Phdr, Elf64_Sym: elf(5)."""
    assert (scan._SECTION.size, scan._SEGMENT.size, scan._SYMBOL) == (64, 56, struct.calcsize("<IBBHQQ"))
    assert Path("/proc/self/maps").exists()
