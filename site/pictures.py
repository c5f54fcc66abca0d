"""FOLDER: draws the pictures of the documents there, each from what the package does or from its tables.

--record: runs `snapsafe demo` anew for the one that moves, and keeps what it said when in docs/demo.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # behind what is installed: the package in the tree may have no core

from benchmarks.picture import Picture  # noqa: E402
from snapsafe_rt import settings  # noqa: E402
from snapsafe_rt.cli import demo_surfaces  # noqa: E402
from snapsafe_rt.cli.status import FENCES  # noqa: E402
from snapsafe_rt.manager import phases  # noqa: E402
from snapsafe_rt.manager.connections import Connections  # noqa: E402
from snapsafe_rt.manager.interface import Service  # noqa: E402
from snapsafe_rt.manager.snapshots import Snapshots  # noqa: E402
from snapsafe_rt.report.status import NO_SOURCE  # noqa: E402
from snapsafe_rt.snapshot import machine  # noqa: E402
from snapsafe_rt.source import selection, vmclock_file  # noqa: E402

RECORDED = ROOT / "docs/demo.json"
CLONES = 3
GREY, GREEN, RED = "#666", "#27803b", "#b3261e"


def wrapped(drawn, x, y, text, width, size=12, fill="#222"):
    """Returns where the next line would be."""
    for line in textwrap.wrap(text, width):
        drawn.text(x, y, line, size, fill=fill)
        y += size + 4
    return y


def told(script, *arguments):
    """What a Python without privileges says. Its source, a file of its own, is its first argument."""
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = f"{folder}/source"
        vmclock_file.create(path, generation=1)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSAFE")}
        command = [*bare, sys.executable, "-c", textwrap.dedent(script), path, *arguments]
        done = subprocess.run(command, env=clean | {"SNAPSAFE_WATCH": "0"}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pictures: {done.stderr}")
    return json.loads(done.stdout)


# ---- the timeline ----

DRAWS = """
import json, random, sys
import snapsafe_rt
from snapsafe_rt.source.vmclock_file import FileSource
from snapsafe_rt.testing.clones import run_clones

path, count, protected = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "with"
if protected:
    snapsafe_rt.activate(f"vmclock:{path}")
before = []

def prepare():
    before.extend(random.random() for _ in range(2))

def body(number):
    return json.dumps([before[0], *(random.random() for _ in range(3))]).encode()

clones = [json.loads(clone) for clone in run_clones(count, body, prepare=prepare, source=FileSource(path))]
names = {}
letter = lambda value: names.setdefault(value, chr(ord("A") + len(names)))
print(json.dumps([[letter(value) for value in clone] for clone in clones]))
"""
COLOURS = ("#2f6fab", "#e0a030", "#27803b", "#9b59b6", "#16a3a3", "#c0562f", "#7a8a1f", "#b03a6f", "#4a5fc1", "#6b4f3a")


def timeline():
    below = f"random.random() in {CLONES} clones of a process, run for this picture; one letter is one value"
    drawn = Picture(620, 470, "One snapshot, restored three times", below)
    for part, (how, title) in enumerate((("without", "without snapsafe"), ("with", "with snapsafe"))):
        top = 82 + 195 * part
        drawn.text(16, top, title, 14)
        drawn.text(210, top, "kept from before", 12, fill=GREY)
        drawn.text(340, top, "drawn after the restore", 12, fill=GREY)
        clones = told(DRAWS, str(CLONES), how)
        middle = top + 30 + 45 * (CLONES - 1) / 2 + 13
        value(drawn, 20, middle - 13, clones[0][0])
        drawn.line(46, middle, 125, middle)
        drawn.text(86, middle - 6, "snapshot", 11, anchor="middle", fill=GREY)
        drawn.line(125, top + 43, 125, top + 43 + 45 * (CLONES - 1))
        for number, (kept, *after) in enumerate(clones):
            y = top + 30 + 45 * number
            drawn.arrow(125, 205, y + 13)
            drawn.text(160, y + 7, "restore", 11, anchor="middle", fill=GREY)
            value(drawn, 240, y, kept)
            for place, letter in enumerate(after):
                value(drawn, 345 + 40 * place, y, letter)
            others = {letter for other, values in enumerate(clones) if other != number for letter in values[1:]}
            repeated = len(others.intersection(after))
            words = f"{repeated} of {len(after)} repeated" if repeated else "none repeated"
            drawn.text(475, y + 18, words, 12, fill=RED if repeated else GREEN)
    drawn.text(
        16, 460, "What was drawn before and kept, the program has to renew: per_generation, callbacks.", 12, fill=GREY
    )
    return str(drawn)


def value(drawn, x, y, letter):
    drawn.rect(x, y, 26, 26, COLOURS[(ord(letter) - ord("A")) % len(COLOURS)])
    drawn.text(x + 13, y + 18, letter, 14, anchor="middle", fill="#fff")


# ---- the choice of a source ----


def source():
    reasons = [textwrap.wrap(reason.replace(" ({error})", ""), 52) for reason in selection._REASONS.values()]
    height = 100 + sum(16 * len(lines) + 4 for lines in reasons)
    drawn = Picture(900, height, "Which source is watched", "from the tables of snapsafe_rt/source/selection.py")
    drawn.text(16, 78, "each entry of SNAPSAFE_SOURCES", 13)
    for number, name in enumerate(settings.DEFAULT_SOURCES.split(",")):
        drawn.text(16, 100 + 18 * number, name, 12)
    drawn.arrow(225, 262, 96)
    drawn.text(270, 78, "is not usable, if it", 13)
    y = 100
    for lines in reasons:
        for line in lines:
            drawn.text(270, y, line, 12, fill=RED)
            y += 16
        y += 4
    drawn.arrow(600, 637, 96)
    drawn.text(645, 78, "the best usable one is watched", 13)
    for rank, title in enumerate(selection.RANKS):
        top = 92 + 62 * rank
        drawn.box(640, top, 245, 34, f"{rank + 1}. {title}", "#e6f2e8" if rank == selection.BEST else "#e8eef5")
        drawn.down(762, top + 34, top + 62, GREY)
        drawn.text(772, top + 52, "if there is none", 11, fill=GREY)
    top = 92 + 62 * len(selection.RANKS)
    drawn.box(640, top, 245, 60, "nothing is watched", "#f8e7e5")
    wrapped(drawn, 650, top + 38, NO_SOURCE.partition(": ")[2], 40, 11, RED)
    drawn.text(640, top + 84, "Of equals it is the first of the list.", 12, fill=GREY)
    return str(drawn)


# ---- the fence ----

RAISES = """
import json, sys
import snapsafe_rt
from snapsafe_rt.core import native
from snapsafe_rt.source import vmclock_file

path = sys.argv[1]
source = vmclock_file.FileSource(path)
found = []

def look(event):
    snapsafe_rt.epoch()
    info = native.inspect_entropy()
    found.append([event, info.fence, round(info.seconds_left, -1)])

snapsafe_rt.activate(f"vmclock:{path}")
look("start")
source.bump(reseeded=True)
look("reseeded")
source.bump()
look("restore")
snapsafe_rt.notify_restored(bytes(range(64)))
look("notify")
print(json.dumps([found, native.inspect_entropy().cpu]))
"""


def fence():
    seen, cpu = told(RAISES)
    states = {event: state for event, state, _ in seen}
    left = max(seconds for _, _, seconds in seen)
    if cpu and states != {"start": "cpu", "reseeded": "down", "restore": "cpu", "notify": "cpu"}:
        sys.exit(f"pictures: the fence goes other ways: {seen}")
    drawn = Picture(940, 330, "The fence around the kernel's random numbers", "its states, and what leads to them")
    places = {"cpu": (20, 80), "host": (330, 80), "degraded": (640, 80), "down": (330, 240)}
    when = {
        "cpu": "a start, a restore, notify_restored()",
        "host": "the same: no CPU stream, but host bytes",
        "degraded": "the same: neither of them",
        "down": "",
    }
    tones = {"down": "#e6f2e8", "degraded": "#f8e7e5"}
    if places.keys() != FENCES.keys():
        sys.exit(f"pictures: the fence has other states: {list(FENCES)}")
    for state, (x, y) in places.items():
        drawn.text(x + 140, 72, when[state], 12, anchor="middle")
        drawn.box(x, y, 280, 74, state, tones.get(state, "#fdf3dc"))
        wrapped(drawn, x + 12, y + 38, FENCES[state].removeprefix("up: ").removeprefix("down: "), 44, 11)
        if state != "down":
            drawn.line(x + 140, 154, x + 140, 195, GREY)
    drawn.line(160, 195, 780, 195, GREY)
    drawn.down(470, 195, 240, GREY)
    drawn.text(482, 222, f"the kernel was reseeded since, or {left:.0f} s are over", 12, fill=GREY)
    drawn.text(630, 282, "a start or a restore leads up again", 12, fill=GREY)
    return str(drawn)


# ---- the phases ----

ENDS = {  # as snapsafe_rt/manager/phases.py numbers them
    phases.UNQUIESCED: "somebody called Unquiesce",
    phases.RESTORED: "a restore was noticed: this is a clone",
    phases.OVERDUE: "nobody called Unquiesce in time",
    phases.FAILED: "a callback before it failed",
    phases.ABANDONED: "who asked went away",
    phases.NOT_FROZEN: "programs were not stopped",
    phases.NOT_TOLD: "programs were not told",
}


class Actions:
    """What a machine of states wants done; `path`: the states that it went through."""

    def __init__(self, frozen="", broken=False):
        self.frozen, self.broken, self.path, self.phases = frozen, broken, [], None

    def changed(self):
        if self.broken and self.phases.state == phases.QUIESCED:
            raise OSError(28, "No space left on device", "state")
        self.path.append(self.phases.state)

    def freeze(self):
        return self.frozen

    def __getattr__(self, name):
        return lambda *_: None


def walked():
    """{how it ended: the states on the way}, by the manager's own machine."""
    found = {}
    lock = phases.Lock("snapshot", "a program", "", phases.DELAY, 0, 0)

    def walk(*steps, **how):
        actions = Actions(**how)
        one = actions.phases = phases.Phases(actions)
        one.inhibit("program", lock)
        one.quiesce("orchestrator")
        for name, *arguments in steps:
            getattr(one, name)(*arguments)
        found[one.ended] = actions.path

    ready = ("ready", "program", [])
    walk(ready, ("unquiesce",))
    walk(ready, ("restored",))
    walk(ready, ("overdue",))
    walk(("ready", "program", ["it raised"]))
    walk(("gone", "orchestrator"))
    walk(ready, frozen="no cgroup")
    walk(ready, broken=True)
    return found


def phases_picture():
    ways = walked()
    assert ways.keys() == ENDS.keys(), ways
    states = [phases.RUNNING, phases.QUIESCING, phases.QUIESCED, phases.UNQUIESCING]
    drawn = Picture(
        940, 330, "Before and after a snapshot", "every way that the manager's own machine of states was seen to go"
    )
    place = {state: 20 + 240 * number for number, state in enumerate(states)}
    hints = ("programs hold delay locks", "before callbacks run", "the snapshot is taken", "the restore is published")
    for state, hint in zip(states, hints, strict=True):
        drawn.box(place[state], 70, 160, 48, state, "#e6f2e8" if state == phases.RUNNING else "#fdf3dc")
        drawn.text(place[state] + 80, 108, hint, 11, anchor="middle", fill=GREY)
    for before, label in zip(states, ("Quiesce", "all are ready", ""), strict=False):
        drawn.arrow(place[before] + 160, place[before] + 240, 94)
        drawn.text(place[before] + 200, 88, label, 10, anchor="middle", fill=GREY)
    for state in (phases.QUIESCING, phases.QUIESCED):
        ends = [how for how, way in ways.items() if way[way.index(phases.UNQUIESCING) - 1] == state]
        drawn.text(place[state], 150, f"{state} ends, if", 12)
        for number, how in enumerate(ends):
            drawn.text(place[state], 170 + 18 * number, f"{how}: {ENDS[how]}", 11, fill=GREY)
    drawn.line(place[phases.UNQUIESCING] + 80, 118, place[phases.UNQUIESCING] + 80, 262)
    drawn.line(place[phases.UNQUIESCING] + 80, 262, 100, 262)
    drawn.down(100, 262, 118)
    drawn.text(320, 256, "the programs go on", 11, fill=GREY)
    names = [machine.RUNNING, machine.BEFORE, machine.QUIESCED, machine.AFTER]
    drawn.text(20, 292, "a program meanwhile:", 12)
    for state, name in zip(states, names, strict=True):
        drawn.text(place[state] + 80, 316, name, 13, anchor="middle")
    return str(drawn)


# ---- who is trusted with what ----

LEVELS = (  # title, what it is trusted with, what crosses to the level below, the tone of the box
    (
        "the hypervisor and the host",
        ("They see and may change all memory. They are", "trusted to move the counter before a clone runs."),
        ("the counter, read-only; what the host says", "to the guest agent"),
        "#e8eef5",
    ),
    (
        "the kernel of the machine",
        ("It keeps users apart, and gives random bytes,", "which are mixed with the CPU's after a restore."),
        ("devices, the kernel's log", "and who is at the other end of a socket"),
        "#e8eef5",
    ),
    (
        "root: the manager, and what it writes",
        ("It writes the file ({file}) and the state ({state}).", "Whoever writes a source could hold it still."),
        ("a source, a manager: those of root and", "one's own; others are refused"),
        "#e6f2e8",
    ),
    (
        "a process, and its user",
        ("Its code may undo every guard. What it says", "of itself to others is its own word."),
        (),
        "#e6f2e8",
    ),
    (
        "any other user of the machine",
        ("They may read the counter and ask the manager.", "Nothing that they send or own is believed."),
        (),
        "#f8e7e5",
    ),
)
UPWARDS = (
    "the manager's socket ({socket}): ask, delay",
    "its socket for root ({trusted}): closed to them",
)


def modes():
    """Of what the manager makes, as it makes it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = f"{folder}/socket"
        connections = Connections(path, Service("", "", {}), Nothing(), lambda _: None)
        Snapshots(Nothing(), Nothing(), f"{path}.state", 1, 1)
        vmclock_file.create(f"{folder}/file")
        made = {"socket": path, "trusted": path + settings.TRUSTED, "state": f"{path}.state", "file": f"{folder}/file"}
        found = {name: f"{os.stat(there).st_mode & 0o777:04o}" for name, there in made.items()}
        connections.close()
    return found


class Nothing:
    """In the place of a loop and of detectors: nothing happens."""

    def __getattr__(self, name):
        return lambda *_: None


def boundaries():
    told = modes()
    width, left, aside = 328, 8, 24
    drawn = Picture(width, 598, "Who is trusted with what", "arrows: what crosses a boundary")
    y = 58
    for number, (title, words, crosses, tone) in enumerate(LEVELS):
        wide = width - 2 * left - (aside if number == len(LEVELS) - 2 else 0)
        drawn.box(left, y, wide, 66, title, tone)
        for place, line in enumerate(words):
            drawn.text(left + wide / 2, y + 40 + 17 * place, line.format(**told), 12, anchor="middle")
        y += 66
        if crosses:
            drawn.down(left + 10, y, y + 50)
        upwards = number == len(LEVELS) - 2
        for place, line in enumerate(UPWARDS if upwards else crosses):
            drawn.text(left + 22, y + 22 + 16 * place, line.format(**told), 12, fill=RED if upwards else GREY)
        y += 50
    drawn.down(width - left - aside / 2, y - 50 - 66, y - 3 * 50 - 2 * 66, RED)  # past the process, to the manager
    return str(drawn)


# ---- the demo, moving ----

LINE, SECONDS = 17, 6.0
STYLE = """<style>
text { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px; white-space: pre }
.in { opacity: 0; animation: in 1ms linear forwards }
.out { opacity: 0; animation: in 1ms linear, out 1ms linear forwards }
@keyframes in { to { opacity: 1 } }
@keyframes out { from { opacity: 1 } to { opacity: 0 } }
@media (prefers-reduced-motion: reduce) { .in { opacity: 1; animation: none } .out { display: none } }
</style>"""


def record():
    """Runs the command, and keeps each line with the second at which it came."""
    command = ["snapsafe", "demo", "--clones", "100"]
    began, lines = time.monotonic(), []
    script = Path(sys.executable).with_name("snapsafe")
    with subprocess.Popen(
        [script, *command[1:]],
        env=os.environ | {"COLUMNS": "80", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as running:
        text = b""
        while byte := running.stdout.read(1):
            if byte in b"\r\n":
                lines.append([round(time.monotonic() - began, 2), text.decode()])
                text = b""
            else:
                text += byte
    version = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    recorded = {"command": " ".join(command), "version": version, "python": sys.version.split()[0], "lines": lines}
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")


def demo():
    recorded = json.loads(RECORDED.read_text())
    lines = [(at, text) for at, text in recorded["lines"]]
    shown = [text for _, text in lines]
    named = [one.words for one in demo_surfaces.TABLE if one.words != "uuid7"]  # which CPython has from 3.14 on
    if missing := [name for name in named if not any(text.startswith(name) for text in shown)]:
        sys.exit(f"pictures: docs/demo.json was recorded before there was {missing}: site/pictures.py --record")
    going = [(at, text) for at, text in lines if text.startswith("cloning: ")]
    after = [(at, text) for at, text in lines if not text.startswith("cloning: ")]
    scale = SECONDS / lines[-1][0]
    drawn = Picture(
        700,
        84 + LINE * (len(after) + 1),
        "snapsafe demo",
        f"a recorded run: {recorded['version']}, CPython {recorded['python']}",
    )
    drawn.lines[1:1] = [STYLE]
    drawn.lines.append(
        f'<rect x="8" y="54" width="684" height="{22 + LINE * (len(after) + 1)}" rx="8" fill="#1e2430"/>'
    )

    def put(row, words, kind, begins, ends=None, fill="#dfe5ee"):
        when = f"{begins:.2f}s" if ends is None else f"{begins:.2f}s, {ends:.2f}s"
        drawn.text(
            20,
            76 + LINE * row,
            words,
            13,
            fill=fill,
            more=f' xml:space="preserve" class="{kind}" style="animation-delay:{when}"',
        )

    drawn.text(20, 76, f"$ {recorded['command']}", 13, fill="#9fd3a8")
    ends = [at * scale for at, _ in going[1:]] + [after[0][0] * scale]
    for (at, text), end in zip(going, ends, strict=True):
        put(1, text, "out", at * scale, end)
    for number, (at, text) in enumerate(after):
        colour = "#9fd3a8" if text.endswith("fixed") else "#dfe5ee"
        put(number + 1, text, "in", at * scale + 0.08 * number, fill=colour)
    return str(drawn)


PICTURES = {
    "timeline": timeline,
    "source": source,
    "fence": fence,
    "phases": phases_picture,
    "boundaries": boundaries,
    "demo": demo,
}

if __name__ == "__main__":
    if sys.argv[1] == "--record":
        record()
    else:
        for name, draw in PICTURES.items():
            Path(sys.argv[1], f"{name}.svg").write_text(draw())
