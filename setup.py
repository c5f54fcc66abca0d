"""Builds the one extension module. All else about the project stands in pyproject.toml."""

import compileall
import glob
import os
import platform
import py_compile
import runpy
import sys
import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

# SNAPSAFE_BUILD: "strict" makes compiler warnings errors, "debug" adds assertions and drops optimisation, "asan" adds
# the sanitizers, "tsan" is for a Python that has ThreadSanitizer in it (.ci/tsan); "none" builds nothing, for .ci/venv
# has the module already. For a user's build none of them is set.
build = os.environ.get("SNAPSAFE_BUILD", "")
flags = ["-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
flags += ["-Wno-missing-field-initializers"]
# Not the interpreter's own -O3: every process maps this, most of it runs once, and the guards are as quick.
flags += ["-O2", "-fno-semantic-interposition"]
link = []
if build:
    flags += ["-Werror"]
if build in ("debug", "asan"):
    flags += ["-O0", "-g3", "-UNDEBUG"]
if build == "asan":
    flags += ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    link += ["-fsanitize=address,undefined"]
if build == "tsan":
    # It knows nothing of fences, and says so; those of the core order what is atomic, or is a library's.
    flags += ["-O1", "-g", "-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-tsan"]
    link += ["-fsanitize=thread"]

# SNAPSAFE_CORE: what Cython has made of cython/_core.pyx already, for who has none that is new enough.
core = os.environ.get("SNAPSAFE_CORE", "")

# Elsewhere the package imports without the extension, and snapsafe_rt.status() says what is missing.
supported = platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")
extensions = []
# pip goes by requires-python and comes here only where it was told not to; the core would not compile.
if sys.version_info >= (3, 16):
    sys.exit("snapsafe-rt knows CPython 3.10 to 3.15, and guards nothing on a newer one: look for a newer snapsafe-rt")
# Not proved without a GIL on newer ones; there too status() says what is missing (NEWEST_FREE_THREADED in core.py).
if sysconfig.get_config_var("Py_GIL_DISABLED") and sys.version_info >= (3, 14):
    supported = False
if supported and platform.python_implementation() == "CPython" and build != "none":
    facts = runpy.run_path("cython/build_facts.py")["macros"]()
    extension = Extension(
        "snapsafe_rt._core",
        [core or "cython/_core.pyx", *sorted(glob.glob("cython/*.c"))],
        include_dirs=["cython"],
        depends=[*glob.glob("cython/*.[hp]*"), "snapsafe_rt/settings.py", "snapsafe_rt/guards/table.py"],
        define_macros=[
            # Types of each interpreter's own; static ones would be shared, and visited by the collector before they
            # are ready (a crash at import, on 3.11).
            ("CYTHON_USE_MODULE_STATE", "1"),
            ("CYTHON_USE_TYPE_SPECS", "1"),
            # To unpack 2 KB of names takes each start longer than to map them.
            ("CYTHON_COMPRESS_STRINGS", "0"),
            ("PyInit__core", "ss_init_core"),  # life.c calls it
            *((name, f'"{value}"') for name, value in facts.items()),
        ],
        extra_compile_args=flags,
        extra_link_args=link,
        libraries=["dl", "pthread"],
    )
    if core:
        extensions = [extension]
    else:
        from Cython.Build import cythonize

        extensions = cythonize(extension, include_path=["cython"], build_dir="build/cython")  # type: ignore[no-untyped-call]


class BuildWithBytecode(build_py):
    """Bytecode that is valid wherever a tool puts it: installers that compile write their own over it (PEP 552)."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            mode = py_compile.PycInvalidationMode.CHECKED_HASH
            compileall.compile_dir(self.build_lib, quiet=1, invalidation_mode=mode, stripdir=self.build_lib)


setup(ext_modules=extensions, cmdclass={"build_py": BuildWithBytecode})
