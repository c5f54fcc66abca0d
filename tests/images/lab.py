"""Builds examples/base-image and the image of packaging/containers with buildah, runs applications with podman,
clones them, and compares.

    lab.py IMAGES RESULTS.json       .ci/images makes IMAGES: debian.tar, musl.tar, pod.json, the wheel and musl's core

Runs as the first process of `.ci/tree run --alone`, as root, with the Python that has the package. Images and
containers are on a tmpfs and gone at the end. SNAPSAFE_IMAGE_CLONES: clones of each application (50).
"""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
import zipfile

import snapsafe_rt
from snapsafe_rt.source import vmclock_file

sys.path.append(str(pathlib.Path(__file__).parents[2]))  # last: the package is the installed one
from tests.vm.results import Results

IMAGES, RESULTS = (pathlib.Path(path).absolute() for path in sys.argv[1:3])
CLONES = int(os.environ.get("SNAPSAFE_IMAGE_CLONES", "50"))
EXAMPLE = pathlib.Path(__file__).parents[2] / "examples/base-image"
CONTAINERS = EXAMPLE.parents[1] / "packaging/containers"
LAB = pathlib.Path("/run/lab")
SNAPSAFE = pathlib.Path(sys.executable).with_name("snapsafe")
TIMEOUT = 300
STORAGE = ["--storage-driver=overlay", f"--root={LAB}/storage", f"--runroot={LAB}/run"]
# Clones of a process share the live kernel.
UNIQUE_ANYWAY = {"id"}
# A fork, which is what clones are where there is no ctypes, renews these or has another pid.
UNIQUE_IN_FORKS = UNIQUE_ANYWAY | {"number", "file"}


class Failed(Exception):
    pass


def say(text: str) -> None:
    print(f"images: {time.monotonic() - began:5.1f} s  {text}", flush=True)


def run(*command: object) -> str:
    text = list(map(str, command))
    try:
        done = subprocess.run(text, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(text)}: no end after {TIMEOUT} s\n{late.stdout}\n{late.stderr}") from None
    if done.returncode:
        raise Failed(f"{' '.join(text)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def build(tag: str, containerfile: pathlib.Path, context: pathlib.Path, **arguments: str) -> None:
    say(f"building {tag} ...")
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    # Where namespaces are restricted only this isolation works, and it works everywhere.
    run(
        "buildah",
        *STORAGE,
        "build",
        "--isolation=chroot",
        "--pull=never",
        *given,
        "-t",
        tag,
        "-f",
        containerfile,
        context,
    )


def installed_on_musl() -> None:
    """From outside: our Python on musl lacks what pip takes. What pip would unpack is put where pip puts it."""
    root = LAB / "musl-installed"
    shutil.unpack_archive(IMAGES / "musl.tar", root, filter="fully_trusted")
    with zipfile.ZipFile(LAB / "musl.whl") as wheel:
        wheel.extractall(root / "usr/local/lib/python3.11/site-packages")
    run(SNAPSAFE, "install", "--prefix", root / "usr/local", "--stdlib")
    containerfile = LAB / "Containerfile.musl"
    containerfile.write_text("FROM scratch\nCOPY . /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n")
    build("musl-installed", containerfile, root)


def root_image(tag: str, archive: str) -> None:
    text = LAB / "Containerfile"
    text.write_text(f"FROM scratch\nADD {archive} /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n")
    build(tag, text, IMAGES)


def clone(tag: str, python: str, *options: str) -> dict:
    """What clones.py prints in a container of this image."""
    mounts = [f"--volume={LAB}/clones:/clones:ro", "--volume=/run/snapsafe:/run/snapsafe"]
    # Clones that are pid 1 of their own take what a container may not do by itself.
    rights = ["--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--cgroups=disabled", "--network=none"]
    command = ["podman", *STORAGE, "run", "--rm", "--pull=never", *rights, *mounts, *options]
    return json.loads(run(*command, tag, python, "/clones/clones.py", "/app/app.py", CLONES))


def repeated(found: dict) -> dict[str, int]:
    return {name: CLONES - len({one[name] for one in found["drawn"]}) for name in found["drawn"][0]}


def make_bundle(target: pathlib.Path) -> None:
    """For the tree's Python on glibc and the one on musl; nothing can build a wheel there: it is put together here."""
    package = pathlib.Path(snapsafe_rt.__file__).parent
    wheel = LAB / "musl.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in package.rglob("*"):
            if path.is_file() and path.suffix not in (".so", ".pyc"):
                archive.write(path, path.relative_to(package.parent))
        for path in IMAGES.glob("_core*musl.so"):
            archive.write(path, f"snapsafe_rt/{path.name}")
    run(SNAPSAFE, "bundle", target)
    run(SNAPSAFE, "bundle", target, "--wheel", wheel)


def init_container(bundle: pathlib.Path) -> list[str]:
    """Runs that of packaging/containers; the options that its pod gives the application."""
    context = LAB / "bundle-image"
    (context / "bin").mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", context / "bin")
    (context / "bin/cp").symlink_to("busybox")
    (context / "Containerfile").write_text("FROM scratch\nCOPY bin /bin\n")
    build("busybox", context / "Containerfile", context)
    shutil.copytree(bundle, context / "bundle")
    build("snapsafe-bundle", CONTAINERS / "Containerfile", context, BASE="localhost/busybox")

    spec = json.loads((IMAGES / "pod.json").read_text())["spec"]
    (init,), (app,) = spec["initContainers"], spec["containers"]
    places = {volume["name"]: LAB / "volumes" / volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
    for place in places.values():
        place.mkdir(parents=True)
    assert init["securityContext"]["readOnlyRootFilesystem"]
    tag = init["image"].replace("registry.example.org", "localhost")
    options = ["--rm", "--pull=never", "--read-only", "--cgroups=disabled", "--network=none", *volumes(init, places)]
    run("podman", *STORAGE, "run", *options, tag, *init["command"])
    return [*volumes(app, places), *(f"--env={one['name']}={one['value']}" for one in app["env"])]


def volumes(container: dict, places: dict[str, pathlib.Path]) -> list[str]:
    return [
        f"--volume={places[mount['name']]}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}"
        for mount in container["volumeMounts"]
        if mount["name"] in places
    ]


def prepare() -> None:
    (LAB / "clones").mkdir(parents=True)
    os.makedirs("/run/snapsafe")
    vmclock_file.create("/run/snapsafe/vmclock0", synchronous=True)
    package = pathlib.Path(snapsafe_rt.__file__).parent
    shutil.copytree(package, LAB / "clones/snapsafe_rt", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(pathlib.Path(__file__).with_name("clones.py"), LAB / "clones")
    # What podman would ask for otherwise is more than a container of ours may have.
    limits = [
        f'"{name}={":".join(map(str, resource.getrlimit(which)))}"'
        for name, which in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
    ]
    configuration = LAB / "containers.conf"
    configuration.write_text(f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n")
    os.environ |= {"CONTAINERS_CONF": str(configuration), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}


def main() -> int:
    results = Results({})
    prepare()
    example = LAB / "base-image"
    shutil.copytree(EXAMPLE, example)
    for wheel in IMAGES.glob("snapsafe_rt-*.whl"):
        shutil.copy(wheel, example)
    make_bundle(example / "bundle")

    root_image("debian", "debian.tar")
    root_image("musl", "musl.tar")
    build("python-snapsafe", example / "Containerfile", example, BASE="localhost/debian", PIP_NO_INDEX="1")
    build("musl-snapsafe", example / "Containerfile.bundle", example, BASE="localhost/musl")
    installed_on_musl()
    for base in ("debian", "python-snapsafe", "musl", "musl-snapsafe", "musl-installed"):
        build(f"{base}-app", example / "app/Containerfile", example / "app", BASE=f"localhost/{base}")
        if "musl" not in base:
            build(f"{base}-venv", example / "app/Containerfile.venv", example / "app", BASE=f"localhost/{base}")

    initialised = init_container(example / "bundle")
    mounted = [f"--volume={example}/bundle:/opt/snapsafe:ro", "--env=PYTHONPATH=/opt/snapsafe"]
    venv = "/app/venv/bin/python"
    cases = [  # setup, image and its Python, with; the same without
        ("preinstalled", ("python-snapsafe-app", "python3"), [], ("debian-app", "python3")),
        ("preinstalled, app in a venv", ("python-snapsafe-venv", venv), [], ("debian-venv", venv)),
        ("preinstalled, musl", ("musl-installed-app", "python3"), [], ("musl-app", "python3")),
        ("bundle and variable in the image, musl", ("musl-snapsafe-app", "python3"), [], ("musl-app", "python3")),
        ("untouched image, variable only", ("debian-app", "python3"), mounted, ("debian-app", "python3")),
        ("untouched image, venv, variable only", ("debian-venv", venv), mounted, ("debian-venv", venv)),
        ("untouched image, init container", ("debian-app", "python3"), initialised, ("debian-app", "python3")),
        ("untouched image, musl, variable only", ("musl-app", "python3"), mounted, ("musl-app", "python3")),
    ]
    twins, pythons = {}, set()
    for setup, image, options, twin in cases:
        say(f"{setup}: {CLONES} clones ...")
        ours = clone(*image, *options)
        if twin not in twins:
            twins[twin] = clone(*twin)
        without = twins[twin]
        pythons.add(f"{ours['python']} on {'musl' if 'musl' in image[0] else 'glibc'}")
        if not ours["active"] or without["active"]:
            raise Failed(f"{setup}: active {ours['active']}, the twin {without['active']}")
        if "none" in (ours["way"], without["way"]):
            raise Failed(f"{setup}: the clones' pids differ, so they prove nothing")
        figures, plain = repeated(ours), repeated(without)
        unique = UNIQUE_IN_FORKS if without["way"] == "fork" else UNIQUE_ANYWAY
        silent = [name for name, number in plain.items() if name not in unique and not number]
        if silent:
            raise Failed(f"{setup}: without it nothing was repeated, so this test shows nothing: {silent}")
        if any(figures.values()):
            raise Failed(f"{setup}: drawn twice: {figures}")
        for name, number in figures.items():
            results.add("image", setup, name, clones=CLONES, values=CLONES, without=plain[name], ours=number)
    results.facts |= {
        "buildah": run("buildah", "--version").split()[2],
        "podman": run("podman", "--version").split()[2],
        "pythons": sorted(pythons),
    }
    results.write(RESULTS, CLONES * len(cases))
    print(*results.table(), results.facts, sep="\n")
    return 0


if __name__ == "__main__":
    began = time.monotonic()
    try:
        sys.exit(main())
    except Failed as error:
        print(f"images: FAILED: {error}", file=sys.stderr)
        sys.exit(1)
