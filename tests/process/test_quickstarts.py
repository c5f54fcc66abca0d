"""The quickstarts, word by word, each in a root of its own: its commands are run, and its files written.

A block whose first line is `# NAME` is a file. A command that ends in `# red...` has to fail. `<!-- played: NAMES -->`
before a block names the programs that a stand-in plays, for the machine has none; the page says so in its last lines.
"""

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.checkout, pytest.mark.any_python]

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("docs/quickstart-*.md"))
BLOCK = re.compile(r"(?:<!-- played: (?P<played>[\w, -]+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)```\n", re.DOTALL)
FILE = re.compile(r"# ([\w.-]+)\n")
SEEN = "test_quickstarts.py)). Played by a stand-in there: "

# $1: a folder for what is written outside the working directory, which is the second one.
OWN_ROOT = """
set -eu
for folder in /etc /usr/local/bin /usr/libexec; do
    [ -d $folder ] || continue
    mkdir -p "$1$folder"; cp -a "$folder/." "$1$folder" 2>/dev/null || true
    mount --bind "$1$folder" $folder
done
for folder in /run /opt /var/lib; do mount -t tmpfs -o mode=755 quickstart $folder; done
cd "$2"
exec bash page.sh
"""
STAND_INS = {
    "systemd-tmpfiles": """while read -r kind path mode rest; do
        [ "$kind" != d ] || install -d -m "$mode" "$path"; done <"$2" """,
    "udevadm": "[ -e /etc/udev/rules.d/60-snapsafe.rules ]",
    # Type=notify: returns when the service is ready.
    "systemctl": """[ "$*" = 'enable --now snapsafe-manager' ]
        $(sed -n 's/^ExecStart=//p' /etc/systemd/system/snapsafe-manager.service) >manager.log 2>&1 </dev/null &
        until [ -S /run/snapsafe/org.snapsafe.Manager ]; do kill -0 $!; done""",
    "aws": """[ -e layer.zip ]; echo "$*" >>aws.log
        case "$*" in *--layer-name*) echo arn:aws:lambda:layer:snapsafe:1 ;; esac""",
    "podman": """
        in_image() { env $(sed -n 's/^ENV //p' Containerfile | sed "s|/snapsafe|$PWD/bundle|") "$@"; }
        hook() {
            script=$(sed -n 's/^action-script //p' /etc/criu/default.conf)
            CRTOOLS_SCRIPT_ACTION=$1 CRTOOLS_INIT_PID=$(cat app.pid) "$script"
        }
        case "$1 $2" in
            'build -t') [ -e bundle/sitecustomize.py ] ;;
            'run -d') in_image python3 app.py >app.log 2>&1 </dev/null & echo $! >app.pid
                until [ -s app.log ]; do kill -0 $!; done ;;
            'exec app') shift 3; in_image python3 "$@" ;;
            'container checkpoint') hook pre-dump; hook post-dump; touch "$4" ;;
            'container restore') [ -e "$4" ]; hook post-restore
                lines=$(wc -l <app.log)
                until [ "$(wc -l <app.log)" -gt $((lines + 1)) ]; do kill -0 "$(cat app.pid)"; done ;;
            'logs copy1') cat app.log ;;
            *) exit 125 ;;
        esac""",
}


def written(text, played):
    """The page as a script; adds to `played`."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for block in BLOCK.finditer(text):
        name = FILE.match(block["text"])
        if name:
            lines += [f"cat >{name[1]} <<'END OF FILE'", block["text"].rstrip("\n"), "END OF FILE"]
        elif block["kind"] == "sh":
            played.update((block["played"] or "").split(", "))
            for line in block["text"].replace("\\\n", "").splitlines():
                command, _, red = line.partition("  # red")
                shown = f"echo {shlex.quote('$ ' + line)}"
                if red:
                    lines += [shown, f"if {command}; then echo 'this was not red'; exit 1; fi"]
                else:
                    lines += [shown, line] if not line.startswith((" ", "done")) else [line]
    played.discard("")
    return "\n".join(lines) + "\n"


def closure(*names):
    """The files and folders of these distributions, and of what they need, as pip sees them on a path."""
    found, left = {}, list(names)
    while left:
        name = left.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another Python or system
            continue
        if name in found:
            continue
        tops = {Path(str(file)).parts[0] for file in distribution.files or () if not str(file).startswith("..")}
        found[name] = [Path(str(distribution.locate_file(top))) for top in tops]
        needed = [one for one in distribution.requires or () if "extra ==" not in one]
        left += [re.match(r"[\w.-]+", one)[0] for one in needed]
    return {path for paths in found.values() for path in paths if path.name != "__pycache__"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """What pip finds there: this project's wheel, also under the name of that for Lambda's Python."""
    env = {**os.environ, "SNAPSAFE_BUILD": "strict"}
    command = [ROOT / ".ci/wheel", sys.executable]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=True)
    folder = tmp_path_factory.mktemp("wheels")
    made = Path(shutil.copy(done.stdout.strip(), folder))
    start = "-".join(made.name.split("-")[:2])
    shutil.copy(made, folder / f"{start}-cp313-cp313-manylinux_2_28_x86_64.whl")
    return folder


def in_a_root_of_its_own(tmp_path):
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("takes root, or user namespaces")
    return [*command, "sh", "-c", OWN_ROOT, "sh", str(tmp_path / "root"), str(tmp_path / "work")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem.removeprefix("quickstart-"))
def test_word_by_word(page, wheels, tmp_path):
    text, played = page.read_text(), set()
    programs, work, packages = tmp_path / "bin", tmp_path / "work", tmp_path / "packages"
    for folder in (programs, work, packages):
        folder.mkdir()
    (work / "page.sh").write_text(written(text, played))
    for name in played:
        (programs / name).write_text(f"#!/bin/bash\nset -euo pipefail\n{STAND_INS[name]}\n")
        (programs / name).chmod(0o755)
    (programs / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    for path in closure("pytest"):
        (packages / path.name).symlink_to(path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON", "PYTEST"))}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    path = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(packages)}
    done = subprocess.run(
        in_a_root_of_its_own(tmp_path),
        env={**kept, **pip, **path, "HOME": str(work)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0
    CHECKS[page.stem](done.stdout, work)


def check_lambda(said, work):
    assert '{"snapsafe": {"epoch": 1, "cause": "notified"}}' in said
    asked = (work / "aws.log").read_text()
    for word in (
        "publish-layer-version",
        "AWS_LAMBDA_EXEC_WRAPPER=/opt/snapsafe-wrapper",
        "RESTORE_REPORT",
        "snapsafe.epoch >= 1",
    ):
        assert word in asked
    # The layer protects the runtime that its wrapper starts.
    subprocess.run([sys.executable, "-m", "zipfile", "-e", work / "layer.zip", work / "opt"], check=True)
    python = getattr(sys, "_base_executable", sys.executable)
    ask = "import sys; sys.exit(not sys.modules['snapsafe_rt._core'].active())"
    subprocess.run(["bash", work / "opt/snapsafe-wrapper", python, "-c", ask], check=True, timeout=60)


def check_fleet(said, work):
    assert "snapsafe_manager_up 1\n" in said
    assert re.search(r"/opt/app/bin/python3 +[0-9.]+ active\n", said)
    assert "Watching vmclock:/run/snapsafe/vmclock0" in said
    assert "\nProtected" in said


def check_containers(said, work):
    after = said.partition("$ snapsafe status --all\n")[2]
    assert "1 of 1 protected." in after
    assert re.search(r"app\.py +vmclock:/run/snapsafe/vmclock0 +synchronous +1 ", after), "the restore was noticed"


CHECKS = {
    "quickstart-lambda": check_lambda,
    "quickstart-fleet": check_fleet,
    "quickstart-containers": check_containers,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem.removeprefix("quickstart-"))
def test_at_most_six_steps_and_each_stand_in_is_named(page):
    text, played = page.read_text(), set()
    written(text, played)
    steps = re.findall(r"^## (\d+)\.", text, flags=re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len(steps) <= 6
    named = " ".join(text.split()).partition(" ".join(SEEN.split()))[2].partition(".")[0].partition(", which")[0]
    assert set(re.findall(r"`([\w-]+)`", named)) == played
