"""`snapsafe install` and `uninstall`: in interpreters of their own, exactly undone, and nobody's edits are lost."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FOLDER, PACKAGE
from tests.helpers.own_python import VERSION, copy_package, listing, make_python, make_venv, site_packages
from tests.helpers.ways import own_mounts

ACTIVE = "import sys; core = sys.modules.get('snapsafe_rt._core'); print(core is not None and core.active())"


@pytest.fixture
def snapsafe(tmp_path):
    """snapsafe("install", "--python", exe) -> its stdout; status=N for what must fail, and then stderr."""

    def run(*arguments, status=0, python=sys.executable, path=PACKAGE.parent):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
        done = subprocess.run(
            [python, "-m", "snapsafe_rt", *map(str, arguments)],
            env={**clean, "PYTHONPATH": str(path), "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        if status:
            assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr if status else done.stdout

    return run


def start(python, *options, script=ACTIVE, **variables):
    """What a script prints in a plain start of an interpreter; nothing may come on stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    done = subprocess.run(
        [python, *options, "-c", script], env={**clean, **variables}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


@pytest.fixture
def own_python(tmp_path):
    return make_python(tmp_path / "own")


@pytest.fixture
def venv(tmp_path):
    """An environment in which the package is installed."""
    python = make_venv(Path(sys.executable), tmp_path / "venv")
    copy_package(PACKAGE, FOLDER, site_packages(python))
    start(python)
    return python


def test_an_environment(snapsafe, venv):
    folder = site_packages(venv)
    before = listing(folder)
    assert start(venv) == "False"
    said = snapsafe("install", python=venv, path="")
    assert f"wrote {folder / 'snapsafe_rt.pth'}" in said
    assert "Reached: every start of" in " ".join(said.split())
    assert re.search(r"^  python -S: ", said, re.MULTILINE)
    assert start(venv) == "True"
    assert start(venv, SNAPSAFE="0") == "False"
    assert start(venv, "-I", SNAPSAFE="0") == "True"  # as every variable, it does not count there
    assert start(venv, "-S") == "False"
    again = snapsafe("install", python=venv, path="")
    assert "wrote" not in again
    assert len((folder / "snapsafe_rt.pth").read_text().splitlines()) == 2
    snapsafe("uninstall", python=venv, path="")
    assert listing(folder).items() >= before.items()
    assert all("__pycache__" in name for name in listing(folder).keys() - before.keys())
    assert start(venv) == "False"
    assert "Nothing to undo" in snapsafe("uninstall", python=venv, path="")


@pytest.mark.parametrize("compiled", [True, False])
def test_it_leaves_the_folder_as_it_was(snapsafe, tmp_path, compiled):
    """To the byte and the time, compiled files too: with the package elsewhere, so that nothing else comes in."""
    python = make_venv(Path(sys.executable), tmp_path / "venv")
    folder = site_packages(python)
    (folder / "theirs.pth").write_text("import sys\n")
    (folder / "theirs.py").write_text("")
    start(python, *([] if compiled else ["-B"]), script="import theirs")
    before = listing(folder)
    assert "True" not in start(python)
    snapsafe("install", "--python", python, "--start")
    assert start(python) == "True"
    assert {"snapsafe_rt.pth", "snapsafe_rt.start", "_snapsafe_start.py"} <= {entry.name for entry in folder.iterdir()}
    snapsafe("uninstall", "--python", python)
    assert listing(folder) == before


def test_a_missing_package_is_silent_unless_strict(snapsafe, tmp_path, venv):
    snapsafe("install", python=venv, path="")
    shutil.rmtree(site_packages(venv) / "snapsafe_rt")
    assert start(venv) == "False"
    environment = {"PATH": os.environ["PATH"], "SNAPSAFE_STRICT": "1"}
    done = subprocess.run([venv, "-c", "print(1)"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.count("\n") == 1
    assert "was not found" in done.stderr
    (site_packages(venv) / "_snapsafe_start.py").unlink()
    assert start(venv) == "False"


def test_edits_are_never_lost(snapsafe, venv):
    folder = site_packages(venv)
    snapsafe("install", python=venv, path="")
    edited = folder / "snapsafe_rt.pth"
    edited.write_text(edited.read_text() + "# mine\n")
    text = edited.read_text()
    assert "changed since" in snapsafe("install", python=venv, path="", status=1)
    assert "it was changed since" in snapsafe("uninstall", python=venv, path="", status=1)
    assert edited.read_text() == text
    edited.write_text("import sys, os\n")
    assert "was not written by" in snapsafe("uninstall", python=venv, path="", status=1)
    assert edited.read_text() == "import sys, os\n"
    assert not (folder / "_snapsafe_start.py").exists()


def test_an_older_versions_files_are_replaced_and_removed(snapsafe, venv):
    from snapsafe_rt.cli.installation import signed

    folder = site_packages(venv)
    (folder / "_snapsafe_start.py").write_bytes(signed("raise SystemExit('an older one')\n"))
    snapsafe("install", python=venv, path="")
    assert start(venv) == "True"
    (folder / "snapsafe_rt.pth").write_bytes(signed("import sys\n"))
    snapsafe("uninstall", python=venv, path="")
    assert not list(folder.glob("*snapsafe*.p*"))


@pytest.mark.parametrize("how", ["mode", "mount"])
def test_a_folder_that_may_not_be_written(snapsafe, venv, how):
    """Nothing is written, and the line says what to do: somebody else's folder, and a read-only filesystem."""
    if os.getuid() != 0:
        pytest.skip("needs root, to give a folder away and to mount")
    folder = site_packages(venv)
    before = listing(folder)
    path = ""
    if how == "mode":
        os.chown(folder, 65534, 65534)
        command = f"setpriv --bounding-set=-dac_override {venv}"
    else:
        mount = f'mount --bind "{folder}" "{folder}" && mount -o remount,ro,bind "{folder}" && exec "$@"'
        command = f"{' '.join(own_mounts())} sh -c '{mount}' sh {venv}"
    wrapper = folder.parent / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nexec {command} -B "$@"\n')
    wrapper.chmod(0o755)
    line = snapsafe("install", python=wrapper, path=path, status=77)
    assert str(folder) in line
    assert "snapsafe run" in line
    assert {name for name in listing(folder) if "__pycache__" not in name} == {
        name for name in before if "__pycache__" not in name
    }


def test_an_interpreter_without_the_package(snapsafe, tmp_path, own_python):
    """Named with --python, a package of this machine that fits is used; in an image's prefix it must be inside."""
    folder = site_packages(own_python)
    line = snapsafe("install", "--prefix", tmp_path / "own", status=1)
    assert f"pip install --prefix {tmp_path / 'own'} snapsafe-rt" in line
    assert not list(folder.glob("*snapsafe*"))
    snapsafe("install", "--python", own_python)
    assert start(own_python) == "True"
    assert str(PACKAGE) in (folder / "_snapsafe_start.py").read_text()
    assert "no such program" in snapsafe("install", "--python", "nothing-here", status=2)
    assert "has no lib/python3" in snapsafe("install", "--prefix", tmp_path, status=2)


def test_a_prefix_for_an_image(snapsafe, tmp_path, own_python):
    """Nothing of it is executed, and it works at another path than where it was made."""
    prefix = tmp_path / "own"
    folder = site_packages(own_python)
    copy_package(PACKAGE, FOLDER, folder)
    broken = own_python.with_name("broken")
    own_python.rename(broken)
    own_python.write_text("#!/bin/sh\nexit 9\n")
    said = snapsafe("install", "--prefix", prefix, "--stdlib")
    assert f"CPython {VERSION[6:]}" in " ".join(said.split())
    snapsafe("install", "--prefix", prefix)
    broken.rename(own_python)
    moved = tmp_path / "moved"
    prefix.rename(moved)
    python = moved / "bin" / VERSION
    assert start(python) == "True"
    hook = (moved / "lib" / VERSION / "_snapsafe_start.py").read_text()
    assert str(tmp_path) not in hook
    assert start(make_venv(python, tmp_path / "of-it")) == "True"
    snapsafe("uninstall", "--prefix", moved)
    assert start(python) == "True"
    snapsafe("uninstall", "--prefix", moved, "--stdlib")
    assert start(python) == "False"


def test_an_environments_folder_by_prefix(snapsafe, venv):
    said = snapsafe("install", "--prefix", venv.parent.parent)
    assert VERSION[6:] in said
    assert start(venv) == "True"
    assert "is a virtual environment" in snapsafe("install", "--prefix", venv.parent.parent, "--stdlib", status=1)
    snapsafe("uninstall", "--prefix", venv.parent.parent)
    assert start(venv) == "False"


def test_another_versions_core_does_not_do(snapsafe, tmp_path, venv):
    package = site_packages(venv) / "snapsafe_rt"
    for core in package.glob("_core*.so"):
        core.rename(package / "_core.cpython-39-x86_64-linux-gnu.so")
    assert "no snapsafe_rt built for" in snapsafe("install", "--prefix", venv.parent.parent, status=1)


def test_what_is_not_active_is_not_called_reached(snapsafe, venv):
    [core] = (site_packages(venv) / "snapsafe_rt").glob("_core*.so")
    core.write_bytes(b"\x7fELF, and no more")
    line = snapsafe("install", python=venv, path="", status=1)
    assert "is not active when it starts: no native core" in line


# ---- --stdlib ----

THEIRS = "import sys\nsys.theirs = __name__\n"


@pytest.fixture(params=["none", "file", "link"])
def distribution(request, own_python, tmp_path):
    """The interpreter as a distribution ships it: without a sitecustomize, with one, with a link to one (Debian)."""
    site = tmp_path / "own" / "lib" / VERSION / "sitecustomize.py"
    if request.param == "file":
        site.write_text(THEIRS)
    elif request.param == "link":
        (tmp_path / "etc.py").write_text(THEIRS)
        site.symlink_to(tmp_path / "etc.py")
    start(own_python)
    return own_python, site.parent, request.param


def test_the_standard_library(snapsafe, tmp_path, distribution):
    python, library, kind = distribution
    venv = make_venv(python, tmp_path / "venv")
    before = listing(library)
    ran = f"import sys; print(getattr(sys, 'theirs', None), {ACTIVE.partition(';')[2]!r} and "
    ran += "getattr(sys.modules.get('snapsafe_rt._core'), 'active', bool)())"
    theirs = None if kind == "none" else "sitecustomize"
    assert start(python, script=ran) == f"{theirs} False"
    said = snapsafe("install", "--python", python, "--stdlib")
    assert "virtual environments made of it" in " ".join(said.split())
    assert "run this command again" in " ".join(said.split())
    for each in (python, venv):
        assert start(each, script=ran) == f"{theirs} True"
        assert start(each, "-I", script=ran) == f"{theirs} True"
    assert start(python, "-S", script=ran) == "None False"
    assert "wrote" not in snapsafe("install", "--python", python, "--stdlib")
    assert start(python, script=ran, SNAPSAFE="0") == f"{theirs} False"
    snapsafe("uninstall", "--python", python, "--stdlib")
    assert listing(library) == before
    assert start(python, script=ran) == f"{theirs} False"


@pytest.mark.parametrize("distribution", ["file", "link"], indirect=True)
def test_an_upgrade_puts_its_own_back(snapsafe, distribution):
    python, library, kind = distribution
    site = library / "sitecustomize.py"
    before = listing(library)
    snapsafe("install", "--python", python, "--stdlib")
    site.unlink()
    if kind == "file":
        site.write_text(THEIRS)
    else:
        site.symlink_to(os.readlink(library / "_snapsafe_kept.py"))
    assert start(python) == "False"
    snapsafe("install", "--python", python, "--stdlib")
    assert start(python) == "True"
    snapsafe("uninstall", "--python", python, "--stdlib")
    assert [name for name in listing(library) if "sitecustomize" in name] == [
        name for name in before if "sitecustomize" in name
    ]
    # And an uninstall right after the upgrade.
    snapsafe("install", "--python", python, "--stdlib")
    os.replace(library / "_snapsafe_kept.py", site)
    snapsafe("uninstall", "--python", python, "--stdlib")
    assert not list(library.glob("_snapsafe*"))


def test_a_sitecustomize_of_somebody_is_not_lost(snapsafe, distribution):
    python, library, kind = distribution
    site = library / "sitecustomize.py"
    snapsafe("install", "--python", python, "--stdlib")
    site.write_text("mine = 1\n")
    line = snapsafe("uninstall", "--python", python, "--stdlib", status=0 if kind == "none" else 1)
    assert kind == "none" or "_snapsafe_kept.py" in line
    assert site.read_text() == "mine = 1\n"
    assert kind == "none" or (library / "_snapsafe_kept.py").read_text() == THEIRS
    if kind != "none":
        assert "delete one of the two" in snapsafe("install", "--python", python, "--stdlib", status=1)


def test_the_kept_one_raises(snapsafe, own_python, tmp_path):
    """site reports it as it would have, and we stay active."""
    site = tmp_path / "own" / "lib" / VERSION / "sitecustomize.py"
    site.write_text("raise ValueError('theirs')\n")
    snapsafe("install", "--python", own_python, "--stdlib")
    done = subprocess.run([own_python, "-c", ACTIVE], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n"
    assert "Error in sitecustomize" in done.stderr
    assert "ValueError: theirs" in done.stderr


def test_two_of_ours_do_not_call_each_other_for_ever(snapsafe, own_python, source_file):
    snapsafe("install", "--python", own_python, "--stdlib")
    snapsafe("install", "--python", own_python)
    script = ACTIVE + "; import snapsafe_rt; print(len(snapsafe_rt.status().candidates), sum("
    script += "type(f).__module__ == 'snapsafe_rt._core' for f in sys.meta_path))"
    said = start(own_python, script=script, PYTHONPATH=f"{FOLDER}:{FOLDER}", **source_file.env)
    assert said == "True\n1 1"


@pytest.mark.parametrize("options", [[], ["--start"]], ids=["pth", "start"])
def test_a_start_activates_once(snapsafe, venv, options):
    """A .pth of a virtual environment is run twice up to 3.14; 3.15 runs the .start and not the .pth beside it."""
    snapsafe("install", *options, python=venv, path="")
    counts = site_packages(venv) / "_snapsafe_start.py"
    counts.write_text("import sys\ndef activate(): sys.count = getattr(sys, 'count', 0) + 1\n")
    times = int(start(venv, "-W", "error", script="import sys; print(sys.count)"))
    assert times == 1 if sys.version_info >= (3, 15) else times in (1, 2)
    counts.unlink()
    snapsafe("install", *options, python=venv, path="")
    script = ACTIVE + "; print([type(finder).__module__ for finder in sys.meta_path].count('snapsafe_rt._core'))"
    assert start(venv, "-W", "error", script=script) == "True\n1"


def test_a_users_own_packages(snapsafe, tmp_path, own_python):
    """Beside the package, for that user alone; -s and -I leave it out. A usercustomize there runs as ever."""
    ask = "import site; print(site.getusersitepackages())"
    folder = Path(start(own_python, script=ask, HOME=str(tmp_path)))
    folder.mkdir(parents=True)
    copy_package(PACKAGE, FOLDER, folder)
    (folder / "usercustomize.py").write_text("import sys; sys.theirs = True\n")
    said = snapsafe("install", python=own_python, path="")
    assert str(folder / "snapsafe_rt.pth") in said
    assert "not with -I or -s" in " ".join(said.split())
    script = ACTIVE + "; print(getattr(sys, 'theirs', False))"
    assert start(own_python, script=script, HOME=str(tmp_path)) == "True\nTrue"
    assert start(own_python, "-s", script=script, HOME=str(tmp_path)) == "False\nFalse"
    assert start(own_python, "-I", script=script, HOME=str(tmp_path)) == "False\nFalse"
    snapsafe("uninstall", python=own_python, path="")
    assert start(own_python, script=script, HOME=str(tmp_path)) == "False\nTrue"


@pytest.mark.parametrize("debian", [True, False])
def test_the_folder_that_site_looks_in(tmp_path, debian):
    """Debian's reads dist-packages only, all others site-packages only; both may lie below one prefix."""
    from snapsafe_rt.cli.installation import of_prefix

    library = tmp_path / "lib" / "python3.11"
    for name in ("site-packages", "dist-packages"):
        (library / name).mkdir(parents=True)
    (library / "os.py").write_text("")
    (library / "site.py").write_text("# lib/python3/dist-packages\n" if debian else "")
    (library / "_sysconfigdata__linux_.py").write_text(
        "build_time_vars = {'EXT_SUFFIX': '.cpython-311-s390x-linux-gnu.so'}"
    )
    [target] = of_prefix(str(tmp_path))
    assert target.sites == (str(library / ("dist-packages" if debian else "site-packages")),)
    assert (target.version, target.suffix, target.venv) == ((3, 11), ".cpython-311-s390x-linux-gnu.so", False)


def test_other_interpreters_are_named(snapsafe, venv, tmp_path):
    """Those on PATH, of pyenv and of uv; not scripts such as pyenv's shims, and nobody twice."""
    from snapsafe_rt.cli.installation import of_python, others

    program = shutil.which("true")
    for place in ("path", "pyenv/versions/3.99.1/bin", "uv/cpython-3.98/bin"):
        (tmp_path / place).mkdir(parents=True)
    shutil.copy(program, tmp_path / "path" / "python3.97")
    (tmp_path / "path" / "python3").symlink_to("python3.97")
    (tmp_path / "path" / "python3.96").write_text("#!/bin/sh\n")
    (tmp_path / "path" / "python3.96").chmod(0o755)
    (tmp_path / "path" / "python-argcomplete").symlink_to(program)
    shutil.copy(program, tmp_path / "pyenv/versions/3.99.1/bin/python3")
    shutil.copy(program, tmp_path / "uv/cpython-3.98/bin/python3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'path'}:{venv.parent}")
        patch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
        patch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
        found = others(of_python(str(venv)))
    assert [str(Path(path).relative_to(tmp_path)) for path in found] == [
        "path/python3",
        "pyenv/versions/3.99.1/bin/python3",
        "uv/cpython-3.98/bin/python3",
    ]
