"""Libraries by what is in them: hooked where their symbols allow, else named, inside as outside; and the twins."""

import ctypes
import json
import os
import subprocess
import sys

import pytest

from snapsafe_rt.guards import scan
from snapsafe_rt.report import remote

CLONES = 20
OPENSSL = "OpenSSL 3.0.15 3 Sep 2024"
SIGN = "/cargo/registry/src/x/rand-0.9.1/src/rngs/thread.rs"


@pytest.fixture
def carrier(tmp_path):
    """carrier(text, name) -> a shared object with that text in it."""

    def build(text, name="libcarrier.so"):
        source = tmp_path / "carrier.c"
        source.write_text(f'static const char text[] = "{text}";\nint carrier(int i) {{ return text[i]; }}\n')
        target = tmp_path / name
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-s", str(source), "-o", str(target)], check=True)
        return target

    return build


LOAD = """
import ctypes
dlopen = ctypes.CDLL(None).dlopen
dlopen.restype = ctypes.c_void_p
assert dlopen({path!r}.encode(), 2)
"""
ASK = """
import snapsafe_rt
status = snapsafe_rt.status()
answer = [status.protected, status.unprotected, status.unexamined, status.reasons]
"""


def views(one):
    """What the program says of itself after it was looked at from outside, and what was seen there."""
    seen = remote.inspect(one.pid)
    outside = [seen.protected, seen.unprotected, seen.unexamined, seen.reasons]
    return one(ASK), outside


# ---- hooked, under whatever name and through whatever door ----

CLONED = """
    import ctypes, sys
    from drawing import distinct
    import snapsafe_rt
    libc = ctypes.CDLL(None)
    libc.dlopen.restype = libc.dlsym.restype = ctypes.c_void_p
    handle = libc.dlopen(sys.argv[2].encode(), 2)   # by C: past every door of Python
    assert handle
    draws = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int)(
        libc.dlsym(ctypes.c_void_p(handle), b"RAND_bytes"))

    def draw():
        buffer = ctypes.create_string_buffer(8)
        assert draws(buffer, 8) == 1
        return buffer.raw

    def checked():
        snapsafe_rt.check()
        return draw()

    print(distinct({body}, draw, 20))
"""


@pytest.mark.parametrize("name", ["libcrypto_private.so.3", "libmycrypto.so"])
@pytest.mark.parametrize(("body", "different"), [("checked", CLONES), ("draw", 1)], ids=["", "twin"])
def test_what_c_code_opened_is_hooked_by_check(run_python, source_file, real_copy, name, body, different):
    env = source_file.env | {"SNAPSAFE_WATCH": "0"}
    said = run_python(CLONED.format(body=body), source_file.path, real_copy(name), env=env)
    assert int(said) == different


def test_what_c_code_opened_is_hooked_by_the_event_of_the_watcher(run_python, source_file, real_copy):
    script = """
    import ctypes, sys, threading
    import snapsafe_rt
    from snapsafe_rt import _core
    from stage import bump
    told = threading.Event()
    snapsafe_rt.register_after_restore(told.set)
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    assert dlopen(sys.argv[2].encode(), 2)
    assert (sys.argv[2], "guarded") not in _core.libcrypto_states()
    bump()
    assert told.wait(60)
    assert (sys.argv[2], "guarded") in _core.libcrypto_states()
    """
    run_python(script, source_file.path, real_copy("libmycrypto.so"), env=source_file.env)


def test_one_of_another_name_is_guarded_in_both_views(living, source_file, real_copy):
    one = living(env=source_file.env)
    path = real_copy("libmycrypto.so")
    one(LOAD.format(path=str(path)))
    seen = remote.inspect(one.pid)
    assert not seen.protected  # nobody has looked yet
    assert "openssl" in seen.unprotected
    assert str(path) in " ".join(seen.reasons)
    inside, _ = views(one)
    assert inside == [True, [], [], []]
    assert views(one) == (inside, inside)


# ---- named, where no hook reaches ----


@pytest.mark.parametrize(
    ("text", "level"),
    [(OPENSSL, "unprotected"), ("crypto/rand/rand_lib.c", "unprotected"), (SIGN, "unexamined"), ("nothing", "")],
)
def test_both_views_say_the_same(living, source_file, carrier, text, level):
    one = living(env=source_file.env)
    one(LOAD.format(path=str(carrier(text, "libsample-0123abcd.so.1"))))
    inside, outside = views(one)
    assert inside == outside
    protected, unprotected, unexamined, reasons = inside
    assert protected == (not level)
    assert unprotected == (["libsample"] if level == "unprotected" else [])
    assert unexamined == (["libsample"] if level == "unexamined" else [])
    assert len(reasons) == bool(level)
    assert all("libsample-0123abcd.so.1" in reason for reason in reasons)


@pytest.mark.parametrize(("text", "accepted"), [(SIGN, True), (OPENSSL, False)])
def test_the_operator_vouches(living, source_file, carrier, text, accepted):
    one = living(env={**source_file.env, "SNAPSAFE_TRUST": "other, LibSample"})
    one(LOAD.format(path=str(carrier(text, "libsample.so"))))
    inside, outside = views(one)
    assert inside == outside
    assert inside[0] == accepted


@pytest.mark.parametrize("then", ["deleted", "replaced"])
def test_a_file_that_has_gone_since_it_was_loaded(living, source_file, carrier, then):
    """As after an upgrade. Its text is in the memory of the process."""
    one = living(env=source_file.env)
    path = carrier(SIGN, "libsample.so")
    one(LOAD.format(path=str(path)))
    path.unlink()
    if then == "replaced":
        carrier("nothing", "other.so").rename(path)
    inside, outside = views(one)
    assert inside == outside
    assert inside[2] == ["libsample"]


def test_the_memory_alone_is_enough(carrier):
    """Where neither the path nor /proc/PID/map_files leads anywhere."""
    path = carrier(SIGN, "libsample.so")
    library = ctypes.CDLL(str(path))
    one = next(one for one in scan.mapped() if one.path == str(path))
    assert scan._in_memory(one, "self") == scan.Found((), (), ("Rust's ThreadRng",))
    assert library.carrier(0)


def test_who_gave_up_the_right_to_read_its_files(run_python, source_file, carrier, tmp_path):
    """As a daemon that begins as root, in a folder of root's: no alarm for each file, and no library missed."""
    if os.geteuid():
        pytest.skip("takes root")
    script = """
    import ctypes, os, sys
    import snapsafe_rt
    snapsafe_rt.status()  # this package may lie in a folder of root's as well
    loaded = [ctypes.CDLL(path) for path in sys.argv[2:]]
    os.chmod(os.path.dirname(sys.argv[2]), 0o700)
    os.setresuid(65533, 65533, 65533)
    status = snapsafe_rt.status()
    assert status.unexamined == [sys.argv[1]], status
    assert not status.unprotected, status
    """
    folder = tmp_path / "folder"
    folder.mkdir()
    files = [carrier(text, name) for text, name in ((SIGN, "liba.so"), ("", "libb.so"))]
    paths = [file.rename(folder / file.name) for file in files]
    run_python(script, "liba", *paths, env=source_file.env)


STRICT = """
    import ctypes, sys
    import snapsafe_rt
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    assert dlopen(sys.argv[1].encode(), 2)
    snapsafe_rt.check()
    print("ran on")
"""


@pytest.mark.parametrize(("text", "status"), [(OPENSSL, 78), (SIGN, 0)])
def test_strict_refuses_an_openssl_out_of_reach_and_nothing_else(run_python, source_file, carrier, text, status):
    env = {**source_file.env, "SNAPSAFE_STRICT": "1"}
    stream = "stderr" if status else "stdout"
    said = run_python(STRICT, carrier(text), env=env, status=status, stream=stream)
    assert ("libcarrier is unprotected" in said) if status else said == "ran on\n"


def test_the_command_says_so(source_file, living, carrier, tmp_path):
    one = living(env=source_file.env)
    one(LOAD.format(path=str(carrier(SIGN, "libsample.so"))))
    env = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSAFE")}
    env["XDG_CACHE_HOME"] = str(tmp_path)
    command = [sys.executable, "-m", "snapsafe_rt", "status", "--pid", str(one.pid)]
    text = subprocess.run(command, env=env, capture_output=True, text=True)
    assert text.returncode == 1
    assert "nobody has examined libsample" in text.stdout
    told = json.loads(subprocess.run([*command, "--json"], env=env, capture_output=True, text=True).stdout)
    assert told["protected"] is False
    assert told["unexamined"] == ["libsample"]
    assert len(told["reasons"]) == 1
    assert {"unexamined"} == {row["protection"] for row in told["subsystems"] if row["name"] == "libsample"}
