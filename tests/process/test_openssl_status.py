"""OpenSSL: what status() says of it, what is left alone, what is put back, and an OpenSSL that takes no hook."""

import json

import pytest

CLONES = 50
HEAD = """
    from openssl_stage import *
"""

UNHOOKED = """
    import ssl
    names = ["ssl.RAND_bytes", "ClientHello random", "key share"]
    prepare = lambda: [SURFACES[name]() for name in names]
    print(json.dumps([distinct(SURFACES[name], prepare) for name in names]))
"""


@pytest.fixture
def no_method(compile_native):
    seams = compile_native("openssl_seams.c")
    return {"LD_PRELOAD": str(seams), "SNAPSAFE_TEST_NO_METHOD": "1"}


def test_an_openssl_that_ignores_hooks_is_fed(run_python, source_file, no_method):
    """AWS-LC's RAND_set_rand_method() says yes and does nothing. Symbols that are there are not a hook that runs."""
    check = """
    assert libcrypto.method() == libcrypto.library().RAND_OpenSSL()
    assert row().protection == "refreshed" and "past every hook" in row().note, row().note
    assert sys.modules["snapsafe_rt"].status().protected
    """
    env = source_file.env | no_method
    assert json.loads(run_python(HEAD + UNHOOKED + check, source_file.path, env=env)) == [CLONES] * 3


def test_an_openssl_that_ignores_hooks_repeats_without_us(run_python, source_file, no_method):
    output = run_python(HEAD + UNHOOKED, source_file.path, env=no_method, activated=False)
    assert json.loads(output) == [1, 1, 1]


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
@pytest.mark.parametrize("call", ["read", "write", "shutdown"])
def test_records_are_fed(run_python, source_file, no_method, call, activated):
    """Whatever of a TLS object draws, it is fed before: seen by what RAND_bytes gives after it."""
    script = f"""
    import contextlib, ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    call = {{"read": lambda: tls.read(1), "write": lambda: tls.write(b"x"), "shutdown": tls.unwrap}}[{call!r}]

    def draw():
        with contextlib.suppress(ssl.SSLError):
            call()
        return libcrypto.random_bytes()  # past the methods of _ssl

    print(distinct(draw, warm))
    """
    env = (source_file.env if activated else {}) | no_method
    output = run_python(HEAD + script, source_file.path, env=env, activated=activated)
    assert int(output) == (CLONES if activated else 1)


def test_methods_of_ssl_are_put_back(run_python, source_file, no_method):
    """Behaviour, for their C functions are not seen from here: after deactivate() nothing is fed."""
    script = """
    import ssl
    import snapsafe_rt
    from snapsafe_rt.core import native
    ssl.RAND_bytes(1)
    assert native.ssl_feeds() == 1
    snapsafe_rt.deactivate()
    source.bump()
    ssl.RAND_bytes(1)
    assert native.ssl_feeds() is None
    snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
    ssl.RAND_bytes(1)
    assert native.ssl_feeds() == 2, native.ssl_feeds()
    """
    run_python(HEAD + script, source_file.path, env=source_file.env | no_method)


# ---- a RAND_METHOD of the program's own ----

OWN_METHOD = """
    from own_method import *
"""


@pytest.mark.parametrize("first", ["program", "activation"])
def test_a_method_of_the_programs_own_is_left_alone(run_python, source_file, first):
    script = f"""
    import snapsafe_rt
    if {first!r} == "program":
        assert take() == 1
    snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
    if {first!r} != "program":
        assert take() == 1
    for restore in range(2):
        assert libcrypto.method() == address
        assert ssl.RAND_bytes(4) == libcrypto.private_bytes(4) == b"\\7" * 4
        assert row().protection == "unprotected" and "own RAND_METHOD" in row().note, row().note
        assert "openssl" in snapsafe_rt.status().unprotected and not snapsafe_rt.status().protected
        source.bump()
    snapsafe_rt.deactivate()
    assert libcrypto.method() == address
    give_back()
    """
    run_python(HEAD + OWN_METHOD + script, source_file.path, activated=False)


def test_guarded_again_when_the_program_puts_openssls_back(run_python, source_file):
    script = """
    hooked = libcrypto.method()
    take()
    assert row().protection == "unprotected"
    libcrypto.library().RAND_set_rand_method(ctypes.c_void_p(libcrypto.library().RAND_OpenSSL()))
    import importlib, _json
    ctypes.CDLL(sys.argv[2])  # something is loaded, so libraries are looked at
    assert row().protection == "guarded", row().note
    assert libcrypto.method() == hooked
    """
    other = "libsqlite3.so.0"
    run_python(HEAD + OWN_METHOD + script, source_file.path, other, env=source_file.env)


@pytest.mark.parametrize("strict", ["0", "1"])
def test_strict_refuses_what_it_cannot_guard(run_python, source_file, strict):
    script = """
    import snapsafe_rt
    take()
    snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
    give_back()
    print("ran on")
    """
    said = run_python(
        HEAD + OWN_METHOD + script,
        source_file.path,
        activated=False,
        env={"SNAPSAFE_STRICT": strict},
        status=78 if strict == "1" else 0,
        stream="stderr" if strict == "1" else "stdout",
    )
    assert ("openssl is unprotected" in said) if strict == "1" else said == "ran on\n"


# ---- undo, and what is told ----


def test_undo_is_exact(run_python, source_file):
    script = """
    import ssl
    import snapsafe_rt
    stock = libcrypto.method()
    assert stock == libcrypto.library().RAND_OpenSSL()
    hooked = set()
    for _ in range(3):
        snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
        hooked.add(libcrypto.method())
        libcrypto.random_bytes()
        assert row().protection == "guarded", row().note
        snapsafe_rt.deactivate()
        assert libcrypto.method() == stock
        libcrypto.random_bytes()
    assert len(hooked) == 1 and stock not in hooked
    """
    run_python(HEAD + script, source_file.path, activated=False)


@pytest.mark.parametrize("times", [1, 2])
def test_deactivated_it_is_stock_and_activated_again_guarded(run_python, source_file, times):
    script = f"""
    import ssl
    import snapsafe_rt
    for _ in range({times}):
        snapsafe_rt.deactivate()
        assert distinct(libcrypto.random_bytes, warm) == 1
        snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
        assert distinct(libcrypto.random_bytes, warm) == 50
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_status_tells_each_stage(run_python, source_file):
    script = """
    import snapsafe_rt
    assert libcrypto.path_of() is None
    assert row().protection == "not loaded", row().note
    assert snapsafe_rt.status().protected
    import ssl
    assert row().protection == "guarded" and os.path.basename(libcrypto.path_of()) in row().note, row().note
    version = ".".join(map(str, ssl.OPENSSL_VERSION_INFO[:2]))
    assert f"({version}." in row().note, row().note
    def reseeds():
        return int(row().note.partition("reseeded ")[2].split()[0])
    ssl.RAND_bytes(1)
    assert reseeds() == 1
    ssl.RAND_bytes(1)
    assert reseeds() == 1
    source.bump()
    libcrypto.private_bytes()
    assert reseeds() == 2
    """
    run_python(HEAD + script, source_file.path, env=source_file.env)


def test_errors_are_stocks(run_python, source_file):
    script = """
    import ssl
    from stage import error
    print(error(ssl.RAND_bytes, -1), error(ssl.RAND_bytes, 0), error(ssl.RAND_bytes, "x"), ssl.RAND_status())
    print(len(ssl.RAND_bytes(100_000)), libcrypto.library().RAND_bytes(ctypes.create_string_buffer(1), -1))
    print(libcrypto.library().ERR_peek_error() != 0)
    """
    activated = run_python(HEAD + script, source_file.path, env=source_file.env)
    assert activated == run_python(HEAD + script, source_file.path, activated=False)
