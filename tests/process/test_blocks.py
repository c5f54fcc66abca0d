"""Each block of the documents is run, or stands here with the reason why not.

All blocks of a page make one script, in the order of the page, which runs in a root of its own (tests/helpers/pages.py)
with this project's command and Python on the PATH.
"""

import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.helpers import pages

pytestmark = [pytest.mark.checkout, pytest.mark.any_python]

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """How a block is run: as Python if it says so, as a file, or by bash."""

    before: str = ""
    after: str = ""
    instead: "Mapping[str, str]" = MappingProxyType({})
    """For what stands for something of the reader's own: what is run in its place."""
    file: str = ""
    """It is one, and has this name."""
    red: bool = False
    """Has it to fail?"""
    varies: "tuple[str, ...]" = ()
    """Words of its output that are other ones each time."""


TOLD = "told() { until [ -s $1 ]; do kill -0 $!; done; }"
MANAGER = """
snapsafe manager >manager.log 2>&1 &
until [ -S /run/snapsafe/org.snapsafe.Manager ]; do kill -0 $!; done
"""
AUDITED = "import os\nimport random\nimport uuid\n\nimport snapsafe_rt\n\n"
APP = """
import random

class Answer:
    @property
    def json(self): return {"code": "".join(random.choices("ABCDEFGHIJ", k=10))}

class app:
    @staticmethod
    def test_client(): return app
    @staticmethod
    def post(_): return Answer()

def invitation(): return Answer().json["code"]
"""
STUBS = "import sys, unittest.mock\nsys.modules |= dict.fromkeys(({}), unittest.mock.MagicMock())\n"

# By page and by how a block begins.
RUN = {
    "README.md": {
        "import snapsafe_rt": Run(),
        "$ snapsafe status --all": Run(
            before=f"""{TOLD}
            mkdir -p tensorflow/python
            touch tensorflow/__init__.py tensorflow/python/__init__.py
            snapsafe trigger --create
            echo 'print(1, flush=True); import time; time.sleep(600)' | tee app.py >legacy.py
            {{ echo 'import tensorflow.python'; cat app.py; }} >model.py
            snapsafe run python app.py >1 & told 1
            snapsafe run python model.py >2 & told 2
            python legacy.py >3 & told 3
            """,
            red=True,
        ),
    },
    "docs/audit.md": {
        "random.seed(20260101)": Run(file="app.py", before=AUDITED),
        "snapsafe audit python app.py": Run(
            before=f"""{TOLD}
            mount -t tmpfs block /srv; cp app.py /srv; cd /srv
            printf '#!/bin/sh\\nexec python app.py\\n' >app.sh; chmod 755 app.sh
            {{ cat app.py; echo 'print(1, flush=True); import time; time.sleep(600)'; }} >service.py
            """,
            instead={
                "tls app.sh": "tls ./app.sh && exit 1 || [ $? = 1 ]",
                "run python app.py": "run python service.py >told & told told",
                "4711": "$!",
            },
        ),
        "$ snapsafe audit --fail-on uuid,seed": Run(red=True),
    },
    "docs/command.md": {
        "generation=$(": Run(
            before="snapsafe trigger --create; (until [ -e over ]; do snapsafe trigger; done) >/dev/null &",
            after='touch over; wait; snapsafe wait-restored --since "$generation" --timeout 0',
        ),
        "snapsafe quiesce --timeout 3": Run(
            before=MANAGER,
            instead={"...    ": ":    ", "--restored  ": "--restored --late-ok  "},
        ),
    },
    "docs/events.md": {
        "import snapsafe_rt": Run(
            before="class engine:\n    def dispose(**_): ...\n", after="reconnect(); handle(None)"
        ),
        "snapsafe_rt.register_at_snapshot(": Run(
            before="""
import snapsafe_rt
class pool:
    def close(): ...
    def open(): ...
def become_another(): ...
"""
        ),
    },
    "docs/manager.md": {
        "snapsafe manager --print snapsafe-manager.service": Run(
            before="mkdir -p /etc/systemd/system /etc/tmpfiles.d /etc/udev/rules.d"
        ),
        "mkdir -p /etc/systemd/system/NAME": Run(),
        "varlinkctl call": Run(before="head -c 32 /dev/urandom >seed"),
        "snapsafe manager --print org.snapsafe.Manager1": Run(before="mkdir -p /etc/dbus-1/system.d"),
    },
    "docs/monitoring.md": {
        "* * * * * root": Run(
            before="mkdir -p /var/lib/prometheus/node-exporter",
            instead={"* * * * * root ": ""},
            after="grep snapsafe_manager_up /var/lib/prometheus/node-exporter/snapsafe.prom",
        ),
        "snapsafe manager --print snapsafe-alerts": Run(before="mkdir -p /etc/prometheus/rules.d"),
        "logging.getLogger": Run(before="import logging\n"),
        "journalctl": Run(),
        "import snapsafe_rt.telemetry": Run(before=STUBS.format("'opentelemetry', 'opentelemetry.metrics'")),
    },
    "docs/orchestrators.md": {
        "snapsafe quiesce --late-ok": Run(before=MANAGER),
        "from snapsafe_rt import webhooks": Run(before="def app(*_): ...\n"),
        "mkdir -p /etc/qemu": Run(after="sh -n /etc/qemu/fsfreeze-hook.d/snapsafe.sh"),
        "mkdir -p /run/snapsafe/app": Run(after="[ -e app.tar.gz ]"),
    },
    "docs/platforms.md": {
        "from snapsafe_rt import webhooks": Run(before="def app(*_): ...\n"),
        "@modal.enter": Run(
            before="import snapsafe_rt\nclass modal:\n    enter = lambda snap: lambda method: method\n",
            after="restored(None)\nassert snapsafe_rt.epoch() == 1",
        ),
    },
    "docs/reconnect.md": {
        "from snapsafe_rt import recipes": Run(
            before=STUBS.format("'botocore', 'botocore.credentials', 'botocore.exceptions'")
            + "import os, pathlib\nsession = unittest.mock.MagicMock()\n"
            + "sys.modules['botocore.credentials'].RefreshableCredentials = type\n"
            + "os.makedirs('/run/clone'); pathlib.Path('/run/clone/settings').write_text('REGION=here\\n')\n",
            after="assert os.environ['REGION'] == 'here'",
        ),
    },
    "docs/testing.md": {
        "# test_clones.py": Run(file="test_clones.py"),
        "# clone_me.py": Run(file="clone_me.py"),
        "$ pytest test_clones.py": Run(red=True, varies=("QWJNBVXKPL",)),
        "[pytest]": Run(file="pytest.ini.later"),
        "@snapsafe_rt.per_generation": Run(before="import snapsafe_rt\n", after="assert node_id() == node_id()"),
        "def test_the_pool": Run(
            file="test_pool.py",
            before="""
import pytest, snapsafe_rt
@pytest.fixture
def pool():
    class Pool: connection = staticmethod(snapsafe_rt.per_generation(object))
    return Pool
""",
        ),
        "from snapsafe_rt.testing.safe": Run(
            file="test_class.py",
            before="import unittest\nfrom myapp import app\n",
            after="    def setUp(self):\n        self.client = app.test_client()\n",
        ),
        "$ snapsafe demo": Run(
            instead={"clone_me.py": "clone_me.py --clones 200"},
            after="mv pytest.ini.later pytest.ini; python -m pytest -q test_clones.py test_pool.py test_class.py",
        ),
    },
    "docs/time.md": {
        "began, epoch =": Run(
            before="import time, snapsafe_rt\ndurations = []\ndef work(): ...\n", after="assert durations"
        ),
    },
    "examples/README.md": {
        "export SNAPSAFE_SOURCES": Run(
            before=f"{TOLD}\nln -s {ROOT}/examples examples",
            instead={"https_server.py": "https_server.py >told & told told"},
        ),
    },
}
EXCEPTED = {
    ".github/ISSUE_TEMPLATE/fault.md": {"": "to be filled in"},
    ".github/ISSUE_TEMPLATE/repeats.md": {"": "to be filled in"},
    "README.md": {
        "what was drawn": "the output of `make demo`; .ci/readme puts it there",
        "make demo": "the steps `test` and `demo` of .ci/run are these commands",
    },
    "docs/command.md": {
        "$ snapsafe doctor": "what it says in a machine of Firecracker; tests/unit/test_doctor.py has it say so",
    },
    "docs/criu.md": {
        "mkdir -p /etc/criu": "takes podman; quickstart-containers.md has the same lines, with a stand-in"
    },
    "docs/design.md": {
        "draw(state):": "pseudo code",
        "source changes": "a picture",
        "watcher: connects": "a picture",
    },
    "docs/manager.md": {
        "apt-get install": "takes the packages, which .ci/debian makes, and installs in a fresh root",
        "[Unit]": "a file of systemd; tests/vm/test_manager.py puts it into a machine",
    },
    "docs/monitoring.md": {"# /etc/systemd": "a file of systemd; its command is run by tests/process/test_metrics.py"},
    "docs/orchestrators.md": {
        "virsh domfsfreeze": "takes libvirt; the same calls by the agent's own port: tests/vm/test_phases.py",
        "snapsafe manager --print guest_agent.py": "takes vsock; over a Unix socket: tests/process/test_guest_agent.py",
        "ask()": "takes Firecracker; the page says that it was not run",
        "criu dump": "takes CRIU; tests/criu/lab.py calls it so",
    },
    "docs/performance.md": {"make bench": "takes minutes, on a machine that does nothing else"},
    "docs/platforms.md": {
        "snapsafe manager --print make-layer": "takes wheels; quickstart-lambda.md has the same lines"
    },
    "docs/testing.md": {"python3 -m venv": "takes wheels; each quickstart has the same lines"},
    "examples/phases/README.md": {
        "sqlite3 jobs.db": "takes a server or SQLite's shell; tests/process/test_examples_phases.py runs the service",
        "snapsafe quiesce": "takes that service, and is run with it there",
    },
    "packaging/containers/README.md": {
        "podman run": "takes podman with CDI; tests/process/test_packaging_containers.py"
    },
    "tests/README.md": {"make test": "the tests themselves"},
}
# Pages, or those of their blocks that are written in Python, which another test runs.
ELSEWHERE = {
    "CONTRIBUTING.md": "tests/process/test_worked_example.py",
    "tests/README.md": "tests/process/test_twin_example.py",
    "docs/tutorial.md": "tests/process/test_quickstarts.py",
    "docs/quickstart-containers.md": "tests/process/test_quickstarts.py",
    "docs/quickstart-fleet.md": "tests/process/test_quickstarts.py",
    "docs/quickstart-lambda.md": "tests/process/test_quickstarts.py",
}
STAND_INS = {
    **dict.fromkeys(("systemctl", "systemd-tmpfiles", "udevadm", "busctl"), ":"),
    "varlinkctl": """python -c 'import json, sys, base64
assert sys.argv[1:4] == ["call", "/run/snapsafe/org.snapsafe.Manager", "org.snapsafe.Manager.Bump"]
assert len(base64.b64decode(json.loads(sys.argv[4])["entropy"])) == 32' "$@" """,
    "journalctl": """python -c 'import sys; from snapsafe_rt import log
assert sys.argv[1:] == ["MESSAGE_ID=" + log.RESTORE]' "$@" """,
    "podman": """case $2 in
-d) [ -e /run/snapsafe/app/vmclock0 ] ;;
checkpoint) touch "$4" ;;
restore) [ -e "$4" ] ;;
esac""",
}


def documents():
    """The blocks of each document, by page."""
    folders = ("docs", "site", "examples", "packaging", "tests", ".github")
    for path in (*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))):
        blocks = [block for block in pages.BLOCK.finditer(path.read_text()) if block["kind"][:1] != "{"]
        if blocks:  # in braces: a directive of Sphinx
            yield path.relative_to(ROOT).as_posix(), blocks


def entries(page, block):
    """How the tables say that a block begins which begin like this one."""
    return [start for table in (RUN, EXCEPTED) for start in table.get(page, ()) if block["text"].startswith(start)]


def listed(documents):
    """Of each block that has to stand in one of the tables the page, its first line, and where it stands there."""
    for page, blocks in documents:
        for block in blocks:
            if page not in ELSEWHERE or (page in EXCEPTED and block["kind"] != "python"):
                yield page, block["text"].partition("\n")[0], entries(page, block)


def test_each_block_is_run_or_stands_here_once():
    found = list(listed(documents()))
    assert [(page, line) for page, line, entry in found if len(entry) != 1] == []
    used = {(page, entry[0]) for page, _, entry in found}
    assert {(page, entry) for table in (RUN, EXCEPTED) for page in table for entry in table[page]} == used


def test_a_new_block_is_missed():
    blocks = list(pages.BLOCK.finditer("```\nsnapsafe new\n```\n"))
    assert list(listed([("docs/events.md", blocks)])) == [("docs/events.md", "snapsafe new", [])]


def test_what_is_run_elsewhere_is_known_there():
    for page, test in ELSEWHERE.items():
        name = Path(page).stem.partition("-")[0]
        assert name in (ROOT / test).read_text(), page
    told = [reason for table in EXCEPTED.values() for reason in table.values()]
    named = {name for reason in told for name in re.findall(r"[\w./-]+/[\w./-]+", reason)}
    assert [name for name in named if not (ROOT / name).exists()] == []


def script_of(page):
    """The script, and of each command whose output the page shows its words."""
    files, lines, outputs = [], [], []
    for number, block in enumerate(pages.BLOCK.finditer((ROOT / page).read_text())):
        how = next((RUN[page][start] for start in entries(page, block) if start in RUN[page]), None)
        if how is None:
            continue
        text = block["text"]
        for old, new in how.instead.items():
            assert old in text, (page, old)
            text = text.replace(old, new)
        whole = f"{how.before}{text}\n{how.after}\n"
        if how.file:
            files += pages.file(how.file, whole)
        elif block["kind"] == "python":
            lines += [f"echo '$ {page}, block {number}'", *pages.file(f"block{number}.py", whole)]
            lines += [f"python -X dev -W error block{number}.py"]
        else:
            if text.startswith("$ "):
                text, _, output = text.removeprefix("$ ").partition("\n")
                outputs.append((text, pages.words(output) - set(how.varies)))
            lines += [textwrap.dedent(how.before), *pages.commands(text, red=how.red), how.after]
    return "\n".join([*pages.PREAMBLE, *files, *lines]) + "\n", outputs


@pytest.mark.parametrize("page", RUN)
def test_run(page, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/myapp.py").write_text(APP)
    script, outputs = script_of(page)
    said = pages.run(script, tmp_path, STAND_INS, [Path(sys.executable).parent], COLUMNS="160")
    assert pages.missing(outputs, said) == {}
