"""OpenSSL's libraries: which are hooked however they come, which are left alone, and what is claimed of each.

test_openssl.py proves that a hooked one repeats nothing."""

import shutil
import subprocess
import sysconfig

import pytest

from ..conftest import PROGRAMS

CLONES = 50
DRAWING = """
    from openssl_stage import *
"""
OWN_METHOD = """
    from own_method import *
"""
HEAD = f"""{DRAWING}
    import snapsafe_rt
    from snapsafe_rt import _core

    def state(path):
        return next((found for found in _core.libcryptos() if os.path.samefile(found.path, path)), None)
"""

WITH_SSL = f"""{HEAD}
    from openssl_library import *
"""


@pytest.fixture
def fake(compile_native, tmp_path):
    """Copies of a libcrypto that is nothing but RAND_METHOD."""
    built = compile_native("libcrypto_fake.c")
    return lambda name="libcrypto-fake.so": shutil.copy(built, tmp_path / name)


def compiled(path, text, *flags):
    path.with_suffix(".c").write_text(text)
    command = ["cc", "-shared", "-fPIC", "-I", sysconfig.get_paths()["include"], path.with_suffix(".c"), *flags]
    subprocess.run([*map(str, command), "-o", str(path)], check=True)
    return path


# ---- they come, and are hooked ----


def test_with_whatever_name_begins_with_libcrypto(run_python, source_file, fake, real_copy):
    """Wheels bring libraries of their own, under names of their own."""
    script = """
    import ssl
    for path in sys.argv[2:]:
        libcrypto.random_bytes(1, path)
        found = state(path)
        assert found.state == "guarded" and found.calls == found.reseeds == 1, (path, found and found.state)
    assert row().protection == "guarded" and "libcrypto-1234abcd" in row().note, row().note
    """
    paths = fake("libcrypto-fake.so"), real_copy("libcrypto-1234abcd.so.3")
    run_python(HEAD + script, source_file.path, *paths, env=source_file.env)


def test_below_an_extension_module(run_python, source_file, fake, tmp_path):
    library = fake("libcrypto-0e9f.so.1.1")
    compiled(
        tmp_path / f"carrier{sysconfig.get_config_var('EXT_SUFFIX')}",
        "#include <Python.h>\nint RAND_bytes(unsigned char *, int);\n"
        "static PyObject *draw(PyObject *m, PyObject *u)\n"
        "{ unsigned char b[4]; (void)m; (void)u; return PyLong_FromLong(RAND_bytes(b, 4)); }\n"
        'static PyMethodDef d[] = {{"draw", draw, METH_NOARGS, NULL}, {0}};\n'
        'static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "carrier", NULL, -1, d, 0, 0, 0, 0};\n'
        "PyMODINIT_FUNC PyInit_carrier(void) { PyObject *made = PyModule_Create(&m);\n"
        "#ifdef Py_GIL_DISABLED\n    PyUnstable_Module_SetGIL(made, Py_MOD_GIL_NOT_USED);\n#endif\n"
        "return made; }\n",
        library,
        f"-Wl,-rpath,{tmp_path}",
    )
    script = """
    sys.path.insert(0, os.path.dirname(sys.argv[2]))
    import carrier
    assert carrier.draw() == 1
    found = state(sys.argv[2])
    assert found.state == "guarded" and found.calls == found.reseeds == 1
    """
    run_python(HEAD + script, source_file.path, library, env=source_file.env)


def test_past_every_door_of_python(run_python, source_file, fake):
    """dlopen() called by C is seen when somebody asks for the status; after deactivation, nothing is."""
    script = """
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    assert dlopen(sys.argv[2].encode(), 2)
    assert state(sys.argv[2]).state == "guarded"
    snapsafe_rt.deactivate()
    assert dlopen(sys.argv[3].encode(), 2)
    assert _core.libcryptos() == []
    """
    paths = fake("libcrypto-1.so"), fake("libcrypto-2.so")
    run_python(HEAD + script, source_file.path, *paths, env=source_file.env)


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
def test_under_another_name_it_is_found_through_ssl(run_python, source_file, real_copy, activated):
    """As one that is linked into _ssl and shows its symbols: what the linker gave _ssl is what counts."""
    preload = {"LD_PRELOAD": str(real_copy("libelsewhere.so"))}
    script = f"""
    import ssl, snapsafe_rt
    from snapsafe_rt import _core
    print(distinct(SURFACES["ssl.RAND_bytes"], lambda: ssl.RAND_bytes(1)))
    if {activated}:
        assert row().protection == "guarded" and "libelsewhere.so" in row().note, row().note
        assert _core.ssl_feeds() is None
    """
    env = (source_file.env if activated else {}) | preload
    output = run_python(DRAWING + script, source_file.path, env=env, activated=activated)
    assert int(output) == (CLONES if activated else 1)


# ---- contexts and threads ----

CONTEXTS = """
    own = pointer("OSSL_LIB_CTX_new") if hasattr(crypto, "OSSL_LIB_CTX_new") else sys.exit()

    def in_own():
        buffer = ctypes.create_string_buffer(16)
        assert crypto.RAND_bytes_ex(own, buffer, ctypes.c_size_t(16), 0) == 1
        return buffer.raw

    def by_default():
        before = pointer("OSSL_LIB_CTX_set0_default", own)
        try:
            return libcrypto.random_bytes()
        finally:
            pointer("OSSL_LIB_CTX_set0_default", before)

    def warm_all():
        warm(), in_own(), by_default()
"""


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
@pytest.mark.parametrize("draw", ["in_own", "by_default"])
@pytest.mark.parametrize("first", ["", "libcrypto.random_bytes(),"], ids=["first", "second"])
def test_a_library_context_of_the_programs_own(run_python, source_file, draw, first, activated):
    """It has a primary DRBG of its own, which reseeding the global one does not reach."""
    script = f"""{CONTEXTS}
    print(distinct(lambda: [{first} {draw}()][-1], warm_all))
    """
    env = source_file.env if activated else {}
    output = run_python(WITH_SSL + script, source_file.path, env=env, activated=activated)
    assert int(output or CLONES) == (CLONES if activated or not output else 1)


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
def test_every_thread_follows_the_first_draw_after_a_restore(run_python, source_file, activated):
    """OpenSSL counts how often the public DRBG of each thread was reseeded (EVP_RAND(7), "reseed_counter")."""
    env = source_file.env if activated else {}
    run_python(PROGRAMS / "openssl_threads.py", source_file.path, activated, env=env, activated=activated)


# ---- they are left alone, or not claimed ----


@pytest.mark.parametrize("asked", [False, True], ids=["at the first draw", "by the status"])
def test_a_default_engine_that_the_first_draw_would_have_found(run_python, source_file, asked):
    """As one that openssl.cnf names, which is read after we came."""
    script = f"""
    if not hasattr(crypto, "ENGINE_set_default_RAND"):
        sys.exit()
    engine = pointer("ENGINE_new")
    assert crypto.ENGINE_set_id(engine, b"sevens") and crypto.ENGINE_set_name(engine, b"sevens")
    assert crypto.ENGINE_set_RAND(engine, own) and crypto.ENGINE_set_default_RAND(engine)
    if {asked}:
        assert row().protection == "unprotected", row().note
    assert libcrypto.random_bytes(4) == b"\\7" * 4
    assert row().protection == "unprotected" and "ENGINE" in row().note, row().note
    snapsafe_rt.deactivate()
    assert libcrypto.random_bytes(4) == b"\\7" * 4
    crypto.RAND_set_rand_method(pointer("RAND_OpenSSL"))  # the memory of ours ends before OpenSSL does
    """
    run_python(WITH_SSL + OWN_METHOD + script, source_file.path, env=source_file.env)


def test_a_fips_provider(run_python, source_file):
    script = """
    if not hasattr(crypto, "OSSL_PROVIDER_add_builtin"):
        sys.exit()
    empty = (ctypes.c_void_p * 4)()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)
    def init(handle, functions, out, context):
        out[0] = ctypes.addressof(empty)
        return 1

    assert crypto.OSSL_PROVIDER_add_builtin(None, b"fips", init) == 1
    assert row().protection == "guarded", row().note
    assert pointer("OSSL_PROVIDER_load", None, b"fips")
    assert row().protection == "unprotected" and "FIPS" in row().note, row().note
    """
    run_python(WITH_SSL + script, source_file.path, env=source_file.env)


def test_more_than_there_are_places(run_python, source_file, fake):
    script = """
    for path in sys.argv[2:]:
        ctypes.CDLL(path)
    states = [found.state for found in _core.libcryptos()]
    assert states == ["guarded"] * 8 + ["full"], states
    assert row().protection == "unprotected" and "no hook is left" in row().note, row().note
    """
    copies = [fake(f"libcrypto-{number}.so") for number in range(8)]
    run_python(WITH_SSL + script, source_file.path, *copies, env=source_file.env)


def test_without_the_functions(run_python, source_file, tmp_path):
    library = compiled(tmp_path / "libcrypto-other.so", "int RAND_bytes(unsigned char *o, int n) { return o && n; }\n")
    script = """
    ctypes.CDLL(sys.argv[2])
    assert state(sys.argv[2]).state == "symbols"
    assert row().protection == "unprotected" and "1.1.0" in row().note, row().note
    """
    run_python(WITH_SSL + script, source_file.path, library, env=source_file.env)


def test_an_inert_one_beside_that_of_ssl(run_python, source_file, compile_native):
    """AWS-LC in another package: feeding _ssl does not reach it."""
    script = """
    assert row().protection == "guarded"
    ctypes.CDLL(sys.argv[2])
    assert state(sys.argv[2]).state == "ineffective"
    assert row().protection == "unprotected" and "AWS-LC" in row().note, row().note
    """
    library = compile_native("libcrypto_fake.c", "-DINERT")
    run_python(WITH_SSL + script, source_file.path, library, env=source_file.env)


def test_a_reseed_that_fails_is_told_and_tried_again(run_python, source_file, fake):
    script = """
    path = sys.argv[2]
    library = libcrypto.library(path)
    libcrypto.random_bytes(1, path)
    fails, draw_fails = (ctypes.c_int.in_dll(library, name) for name in ("fake_add_fails", "fake_bytes_fails"))
    fails.value = 1
    source.bump()
    libcrypto.random_bytes(1, path)
    found = state(path)
    assert (found.reseeds, found.failures, found.failing) == (1, 1, True)
    assert row().protection == "unprotected" and "could not be reseeded" in row().note, row().note
    fails.value = 0
    libcrypto.random_bytes(1, path)
    found = state(path)
    assert (found.reseeds, found.failures, found.failing) == (2, 1, False)
    assert row().protection == "guarded", row().note
    draw_fails.value = 1
    source.bump()
    assert library.RAND_bytes(ctypes.create_string_buffer(4), 4) == 0, "errors are passed on"
    """
    run_python(WITH_SSL + script, source_file.path, fake(), env=source_file.env)


# ---- undo ----


def test_what_was_hooked_can_be_unloaded(run_python, source_file, fake):
    script = """
    import _ctypes
    handle = _ctypes.dlopen(sys.argv[2], os.RTLD_NOW)
    for _ in range(3):
        assert state(sys.argv[2]).state == "guarded"
        snapsafe_rt.deactivate()
        snapsafe_rt.activate()
    _ctypes.dlclose(handle)
    assert libcrypto.path_of("libcrypto-fake"), "not while it is hooked"
    snapsafe_rt.deactivate()
    assert not libcrypto.path_of("libcrypto-fake")
    """
    run_python(WITH_SSL + script, source_file.path, fake(), env=source_file.env)


def test_the_methods_of_ssl_are_the_same_as_before(run_python, source_file, compile_native):
    script = """
    import ctypes, sys, _ssl, snapsafe_rt
    SIZE = ctypes.sizeof(ctypes.c_void_p)

    def c_functions():
        '''PyMethodDef.ml_meth: of a builtin right behind the object's head, of a descriptor three pointers on.'''
        found = []
        for owner in (_ssl, _ssl._SSLSocket):
            for name, value in sorted(vars(owner).items()):
                places = {"builtin_function_or_method": 0, "method_descriptor": 3}
                place = places.get(type(value).__name__)
                if place is not None:
                    address = id(value) + object.__basicsize__ + place * SIZE
                    definition = ctypes.c_void_p.from_address(address).value
                    found.append(ctypes.c_void_p.from_address(definition + SIZE).value)
        return found

    stock = c_functions()
    for _ in range(2):
        snapsafe_rt.activate(["vmclock:" + sys.argv[1]])
        changed = sum(now != before for now, before in zip(c_functions(), stock, strict=True))
        names = "do_handshake", "read", "write", "shutdown", "verify_client_post_handshake", "sendfile"
        socket = [name for name in names if hasattr(_ssl._SSLSocket, name)]
        assert changed == len(socket) + 2 + hasattr(_ssl, "RAND_pseudo_bytes"), changed
        assert len(_ssl.RAND_bytes(7)) == 7
        snapsafe_rt.deactivate()
        assert c_functions() == stock
    """
    preload = {"LD_PRELOAD": str(compile_native("openssl_seams.c")), "SNAPSAFE_TEST_NO_METHOD": "1"}
    run_python(script, source_file.path, env=preload, activated=False)
