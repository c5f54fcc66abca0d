"""The quickstarts and the tutorial, word by word, each in a root of its own: its commands are run, its files written.

How, and what the marks in them mean: tests/helpers/pages.py. Programs that the machine lacks are played by a stand-in;
the page says so in its last lines.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import pages

pytestmark = [pytest.mark.checkout, pytest.mark.any_python]

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(ROOT.glob("docs/quickstart-*.md"))
TUTORIAL = ROOT / "docs/tutorial.md"
SEEN = "test_quickstarts.py)). Played by a stand-in there: "

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


@pytest.mark.parametrize("page", [*PAGES, TUTORIAL], ids=lambda page: page.stem.removeprefix("quickstart-"))
def test_word_by_word(page, wheels, tmp_path):
    text, played = page.read_text(), set()
    packages, programs = tmp_path / "packages", tmp_path / "bin"
    packages.mkdir()
    programs.mkdir()
    (programs / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    for path in pages.closure("pytest"):
        (packages / path.name).symlink_to(path)
    script = pages.written(text, played)
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    stand_ins = {name: STAND_INS[name] for name in played}
    said = pages.run(script, tmp_path, stand_ins, PYTHONPATH=str(packages), **pip)
    assert pages.missing(pages.shown(text), said) == {}
    CHECKS[page.stem](said, tmp_path / "work")


def check_tutorial(said, _):
    offices = re.findall(r"I am office (\d+)", said)
    assert len(set(offices)) == len(offices) == 2


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
    "tutorial": check_tutorial,
    "quickstart-lambda": check_lambda,
    "quickstart-fleet": check_fleet,
    "quickstart-containers": check_containers,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem.removeprefix("quickstart-"))
def test_at_most_six_steps_and_each_stand_in_is_named(page):
    text, played = page.read_text(), set()
    pages.written(text, played)
    steps = re.findall(r"^## (\d+)\.", text, flags=re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len(steps) <= 6
    named = " ".join(text.split()).partition(" ".join(SEEN.split()))[2].partition(".")[0].partition(", which")[0]
    assert set(re.findall(r"`([\w-]+)`", named)) == played


def test_an_output_that_a_command_does_not_print_is_missed():
    text = "```sh\nsnapsafe trigger\n```\n\n```\nmoved safely\n```\n"
    assert pages.missing(pages.shown(text), "$ snapsafe trigger\nit was moved\n") == {"snapsafe trigger": {"safely"}}
