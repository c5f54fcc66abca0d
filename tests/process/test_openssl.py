"""OpenSSL in clones: what a libcrypto draws is never drawn twice. Each proof has a twin that shows the duplicates."""

import json
import os
from pathlib import Path

import pytest

from ..conftest import PROGRAMS, SourceFile

CLONES = 50

HEAD = """
    from openssl_stage import *
"""

EACH_FIRST = """
    import ssl
    place, drew_before = sys.argv[2:]
    prepare = warm if drew_before == "True" else None
    print(json.dumps({name: distinct(draw, prepare, place=place) for name, draw in SURFACES.items()}))
"""


@pytest.fixture
def old_libcrypto():
    path = os.environ.get("SNAPSAFE_LIBCRYPTO_111")
    if not path or not Path(path).exists():
        pytest.skip("SNAPSAFE_LIBCRYPTO_111 names no OpenSSL 1.1.1 (`.ci/tree libcrypto-1.1.1` makes one)")
    return path


# ---- clones ----


@pytest.mark.parametrize("drew_before", [True, False], ids=["drew before", "never drew"])
@pytest.mark.parametrize("place", ["main", "thread", "child"])
def test_each_is_the_first_to_draw(run_python, source_file, machine, place, drew_before):
    """Whatever draws first after the restore, and wherever: from the main thread, a new one, a forked child."""
    env = source_file.env | machine
    counts = json.loads(run_python(HEAD + EACH_FIRST, source_file.path, place, drew_before, env=env))
    assert len(counts) == 8
    assert set(counts.values()) == {CLONES}, counts


@pytest.mark.parametrize("drew_before", [True, False], ids=["drew before", "never drew"])
@pytest.mark.parametrize("place", ["main", "thread", "child"])
def test_each_repeats_without_us(run_python, source_file, machine, place, drew_before):
    counts = json.loads(
        run_python(HEAD + EACH_FIRST, source_file.path, place, drew_before, env=machine, activated=False)
    )
    assert len(counts) == 8
    # A new generator (of a new thread, or at the first draw) mixes the time in, which scheduling moves.
    most = 1 if place == "main" and drew_before else CLONES - 1
    assert max(counts.values()) <= most, counts


LIVE_KERNEL = """
    import ssl
    print({name: distinct(draw, warm) for name, draw in SURFACES.items()} == dict.fromkeys(SURFACES, int(sys.argv[2])))
"""


@pytest.mark.parametrize(("activated", "count"), [(True, CLONES), (False, 1)])
def test_a_kernel_that_noticed_changes_nothing(run_python, source_file, activated, count):
    """The kernel's bytes differ here, and OpenSSL does not ask for them: it looks at the pid alone."""
    env = source_file.env if activated else {}
    output = run_python(HEAD + LIVE_KERNEL, source_file.path, count, env=env, activated=activated)
    assert output.strip() == "True"


@pytest.mark.parametrize(("activated", "count"), [(True, 110), (False, 1)])
def test_a_restore_of_a_restore(run_python, source_file, machine, activated, count):
    script = """
    import ssl
    print(json.dumps([restored_twice(SURFACES[name], warm) for name in ("ssl.RAND_bytes", "RAND_priv_bytes")]))
    """
    env = (source_file.env if activated else {}) | machine
    counts = json.loads(run_python(HEAD + script, source_file.path, env=env, activated=activated))
    # Without us the clones of a clone draw what comes after its own first value.
    assert counts == [count, count] if activated else max(counts) <= 2


# How a libcrypto comes into the process -> code before and after activation.
ARRIVALS = {
    "drew before activation": ("import ssl; warm()", ""),
    "loaded before activation": ("import ssl", ""),
    "import ssl": ("", "import ssl"),
    "import ssl, in a thread": ("", "PLACES['thread'](lambda: __import__('ssl'))"),
    "ctypes": ("", "ctypes.CDLL('libcrypto.so.3')"),
    "ctypes by path, before": ("ctypes.CDLL('libcrypto.so.3')", ""),
    "import hashlib": ("", "import _hashlib"),
}


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
@pytest.mark.parametrize("arrival", ARRIVALS)
def test_however_it_is_loaded(run_python, source_file, machine, arrival, activated):
    before, after = ARRIVALS[arrival]
    script = f"""
    import snapsafe_rt
    {before}
    if {activated}:
        snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
    {after}
    counts = [distinct(draw, warm) for draw in (libcrypto.random_bytes, libcrypto.private_bytes, libcrypto.ec_key)]
    assert counts == [{CLONES if activated else 1}] * 3, counts
    if {activated}:
        assert row().protection == "guarded", row().note
    """
    run_python(HEAD + script, source_file.path, activated=False, env=machine)


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
def test_openssl_1_1_1(run_python, source_file, machine, old_libcrypto, activated):
    """Loaded by ctypes beside the one that _ssl uses, each place and each surface that it has."""
    env = (source_file.env if activated else {}) | machine
    run_python(PROGRAMS / "openssl_1_1_1.py", source_file.path, old_libcrypto, activated, env=env, activated=activated)


# ---- the generation moves during a draw ----

DRAWS = int(os.environ.get("SNAPSAFE_TEST_DRAWS", "400000"))

SEAMS = """
    import mmap, ssl
    watched, moved = sys.argv[1:3]
    import snapsafe_rt
    seams = ctypes.CDLL(None)
    seams.seam_page.argtypes = [ctypes.c_void_p]
    with open(moved, "r+b") as file:
        page = mmap.mmap(file.fileno(), 4096)
    seams.seam_page(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    snapsafe_rt.activate(["vmclock:" + watched])
    warm()
"""


@pytest.fixture
def seams(compile_native):
    return {"LD_PRELOAD": str(compile_native("openssl_seams.c"))}


@pytest.fixture
def unwatched(shm_path):
    """Another page: moving it moves nothing that the process watches, as if its hook did not look."""
    return SourceFile(shm_path / "another")


def test_four_native_threads(run_python, source_file, unwatched, seams):
    """No thread of Python's and no GIL: nothing drawn under the old generation gets out."""
    script = """
    seams.seam_race.restype = ctypes.c_long
    seams.seam_race.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    function = ctypes.cast(getattr(libcrypto.library(), sys.argv[4]), ctypes.c_void_p)
    print(seams.seam_race(function, int(sys.argv[3]) // 4, 20_000))
    """

    def stale(moved, function):
        arguments = (source_file.path, moved.path, DRAWS, function)
        return int(run_python(HEAD + SEAMS + script, *arguments, activated=False, env=seams, timeout=900))

    for function in ("RAND_bytes", "RAND_priv_bytes"):
        assert stale(source_file, function) == 0
        assert stale(unwatched, function) > 0, "the twin: whoever does not look draws stale values, or this finds none"


@pytest.mark.parametrize("surface", ["ssl.RAND_bytes", "RAND_bytes", "RAND_priv_bytes"])
def test_what_was_drawn_across_a_restore_is_discarded(run_python, source_file, unwatched, seams, surface):
    script = """
    generates, reseeds = (ctypes.c_ulong.in_dll(seams, name) for name in ("seam_generates", "seam_reseeds"))
    generates.value = reseeds.value = 0
    seams.seam_arm()
    drawn = SURFACES[sys.argv[3]]()
    discarded = bytes((ctypes.c_ubyte * 64).in_dll(seams, "seam_discarded"))[:16]
    print(generates.value, reseeds.value, snapsafe_rt.epoch(), drawn == discarded)
    """

    def run(moved):
        arguments = (source_file.path, moved.path, surface)
        return run_python(HEAD + SEAMS + script, *arguments, activated=False, env=seams).split()

    assert run(source_file) == ["2", "1", "1", "False"]
    assert run(unwatched) == ["1", "0", "0", "True"], "the twin: what was drawn is handed out"
