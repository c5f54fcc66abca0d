"""Writes docs/evidence.md and docs/evidence.svg from a run: python -m tests.vm.evidence VM CRIU IMAGES FOLDER.

The first three are its figures: what tests/vm, tests/criu and tests/images wrote.
"""

import json
import pathlib
import sys
import textwrap

from benchmarks.picture import Picture

TEXT = """# Evidence: clones of virtual machines, copies by CRIU, images

Made by `make evidence` from its own figures; that command makes any of them again (root, x86-64, about 2 GB of Debian
packages once). A longer run: `SNAPSAFE_VM_MORE=10 make evidence`. `make vm-test`, `make criu-test` and
`make image-test` make a part each.

{facts}

A guest runs Debian's CPython and this project as `pip install` builds it. While its program works, QEMU stops it and
writes its state to a file (`stop`, `migrate file:`); clones of that file are started (`migrate-incoming`, `cont`), each
with a VMGenID of its own. What programs drew after the restore, in memory at first, comes over a virtio serial port.
*Without* and *with* count what is repeated: different values that stand in more than one place, of one clone or of
several; in *first thing after* and *idle program*, clones that share a value with another one. *Without* is the same
program with `SNAPSAFE=0`, in fewer clones.

![What clones of one machine drew twice, without and with snapsafe](evidence.svg)
"""
SCENARIOS = {
    "hot loop": "Threads draw at full speed while the snapshot is taken; the first values of each clone are compared. "
    "On the setups with 1 vCPU, and for user 1000, the threads have real-time priority, so that the kernel notices the "
    "restore late. *Degraded*: no RDRAND and so no independent entropy; `snapsafe status` says so.",
    "idle program": "A sleeping process with a callback. VMClock as Firecracker gives it is made by writing flags and "
    "`vm_generation_counter` into the device's page through QEMU's gdb stub, before the vCPUs run.",
    "first thing after": "One of each, first thing after the restore; in each snapshot another one comes first.",
    "snapshot in a draw": "The snapshot falls into the draw. *Just after a draw*: it was over, and is in every clone.",
    "restore of a restore": "Clones of a snapshot, and of a snapshot of one of its clones, compared with each other.",
    "snapshot in an event": "A callback is under way; each clone ends it, and runs its own event.",
    "several processes": "Processes forked before the snapshot and a multiprocessing pool, compared with each other.",
    "process without a source": "Without a counter nothing is detected, and status says so; `notify_restored()` helps.",
    "phases": "Programs that want to be asked before a snapshot and told after it, by QEMU's guest agent (freeze and "
    "thaw) or by systemd-logind (suspend and wake). Counted are those of clones that were not asked before it, or not "
    "told once after it, in order, with a new generation. *Without*: the hook switched off.",
    "criu": "A tree of three processes with six drawing threads is dumped and restored many times ([CRIU](criu.md)), "
    "on this host and on others whose file shows older or newer numbers. *No action script* and *counted by one* are "
    "activated programs that were restored wrongly: then uuid4, drawn ahead, repeats too.",
    "image": "Images built by buildah from examples/base-image, run by podman, 50 clones each of a process in them.",
    "file moved late": "The size of *asynchronous*: a script moves a file source when the kernel tells of the restore.",
    "systemd": "A whole Debian with systemd as init and [the manager](manager.md) as its service. Idle programs are "
    "services too, one for each way to a source; what each draws first after the restore. *Without* is a service of "
    "stock Python beside them.",
    "frozen over the snapshot": "The same machine without VMClock: the kernel's message of a VM fork is all there is. "
    "A hot loop in a cgroup; *without*: it runs on and the file moves late; *with*: the manager has `--freeze`, "
    "and the snapshot is taken between Freeze and Thaw.",
}

TITLES = {"criu": "CRIU", "image": "Base images", "systemd": "systemd"}


def shown(value):
    return "" if value is None else "none" if value == 0 else f"{value:,}" if isinstance(value, int) else str(value)


def table(rows):
    lines = ["| setup | what | clones | values | without | with | |", "|---|---|--:|--:|--:|--:|---|"]
    for row in rows:
        cells = [row["setup"], row["what"], *(shown(row.get(k)) for k in ("clones", "values", "without", "ours"))]
        lines.append(f"| {' | '.join([*cells, row.get('note', '')])} |")
    return "\n".join(lines)


def picture(rows, facts):
    """Two bars for each surface of the first setup of the hot loop."""
    rows = [row for row in rows if row["scenario"] == "hot loop"]
    rows = [row for row in rows if row["setup"] == rows[0]["setup"]]
    most, left, width = max(row["without"] for row in rows), 190, 430
    title, below = f"Values drawn twice by VM clones: {rows[0]['setup']}", facts["qemu"].split(" (")[0]
    drawn = Picture(760, 90 + 52 * len(rows), title, below)
    for index, row in enumerate(rows):
        top = 66 + 52 * index
        drawn.text(16, top + 24, row["what"], 13)
        for offset, key, colour, words in (
            (0, "without", "#c0392b", "without"),
            (20, "ours", "#27803b", "with snapsafe"),
        ):
            length = max(2, round(width * row[key] / most))
            drawn.rect(left, top + offset, length, 16, colour)
            x, anchor, fill = left + length + 6, "start", "#222"
            if length > width - 120:
                x, anchor, fill = left + length - 6, "end", "#fff"
            drawn.text(x, top + offset + 12, f"{shown(row[key])} {words}", anchor=anchor, fill=fill)
    return str(drawn)


def main(*sources, folder):
    runs = [json.loads(pathlib.Path(source).read_text()) for source in sources]
    (facts, criu, images), rows = (run["facts"] for run in runs), [row for run in runs for row in run["rows"]]
    missing = [name for name in SCENARIOS if name not in {row["scenario"] for row in rows}]
    if missing:
        sys.exit(f"evidence: the runs in {', '.join(sources)} lack: {', '.join(missing)}")
    lines = [
        f"- {facts['qemu']}, `-accel {facts['accel']}`, guests' kernel {facts['kernel']}",
        f"- guests' Pythons: {', '.join(facts['pythons'])}; {facts['systemd']}",
        f"- {facts['clones']} clones in {facts['seconds']} s",
        f"- CRIU {criu['criu']}, Python {criu['python']}, kernel {criu['kernel']}: {criu['clones']} copies",
        f"- images: buildah {images['buildah']}, podman {images['podman']}, Pythons {', '.join(images['pythons'])}",
    ]
    parts = [TEXT.format(facts="\n".join(lines))]
    for name, words in SCENARIOS.items():
        title, words = TITLES.get(name, name.capitalize()), textwrap.fill(words, 120)
        parts.append(f"## {title}\n\n{words}\n\n{table([r for r in rows if r['scenario'] == name])}\n")
    pathlib.Path(folder, "evidence.md").write_text("\n".join(parts))
    pathlib.Path(folder, "evidence.svg").write_text(picture(rows, facts))


if __name__ == "__main__":
    main(*sys.argv[1:-1], folder=sys.argv[-1])
