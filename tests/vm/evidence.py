"""Writes docs/evidence.md and docs/evidence.svg from a run: python -m tests.vm.evidence VM CRIU IMAGES FOLDER.

The first three are its figures: what tests/vm, tests/criu and tests/images wrote.
"""

import json
import pathlib
import sys
import textwrap

from benchmarks.picture import Picture

TEXT = """# Evidence: clones of virtual machines, copies by CRIU, images

`make evidence` measures all figures and writes this page. It needs root, x86-64, and once about 2 GB of Debian
packages. `SNAPSAFE_VM_MORE=10 make evidence` runs longer. `make vm-test`, `make criu-test` and `make image-test`
measure a part each.

{facts}

A guest runs Debian's CPython, and this project as `pip install` builds it. While its program works, QEMU stops the
guest and writes its state to a file (`stop`, `migrate file:`). Clones are started from that file
(`migrate-incoming`, `cont`), each with a VMGenID of its own. Programs keep in memory what they draw after the
restore, and send it later over a virtio serial port.

| column | counts |
|---|---|
| values | what was drawn and compared |
| with | values drawn more than once, by one clone or by several |
| with, of *first thing after* and *idle program* | clones that share a value with another clone |
| without | the same of the same program with `SNAPSAFE=0`, in fewer clones |

![What clones of one machine drew twice, without and with snapsafe](evidence.svg)
"""
SCENARIOS = {
    "hot loop": "Threads draw at full speed while the snapshot is taken. The first values of each clone are "
    "compared. On the setups with 1 vCPU, and for user 1000, the threads have real-time priority, so that the "
    "kernel notices the restore late. *Degraded*: there is no RDRAND, so there is no independent entropy; `snapsafe "
    "status` says so.",
    "idle program": "A process sleeps and has a callback. QEMU has no generation: for *VMClock as Firecracker's* "
    "flags and `vm_generation_counter` are written into the device's page through QEMU's gdb stub, before the vCPUs "
    "run.",
    "first thing after": "Each value is drawn once, right after the restore. In each snapshot another one is drawn "
    "first.",
    "snapshot in a draw": "The snapshot falls into the draw. *Just after a draw*: the draw was over, so its value "
    "is in every clone.",
    "restore of a restore": "Clones of a snapshot are compared with clones of a snapshot of one of those clones.",
    "snapshot in an event": "A callback runs when the snapshot is taken. Each clone ends it, and then runs its own "
    "event.",
    "several processes": "Processes that were forked before the snapshot, and a multiprocessing pool, are compared "
    "with each other.",
    "process without a source": "Without a counter nothing is detected, and status says so. `notify_restored()` helps.",
    "phases": "Programs want to be asked before a snapshot and told after it, by QEMU's guest agent (freeze and "
    "thaw) or by systemd-logind (suspend and wake). Counted are the programs of clones that were not asked before "
    "it, or were not told once after it, in order, with a new generation. *Without*: the hook is switched off.",
    "criu": "A tree of three processes with six drawing threads is dumped and restored many times "
    "([CRIU](criu.md)), on this host and on others whose file shows older or newer numbers. *No action script* and "
    "*counted by one* are activated programs that were restored wrongly: then uuid4, drawn ahead, repeats, too.",
    "image": "Images are built by buildah from examples/base-image and run by podman. A process in each is cloned "
    "50 times.",
    "file moved late": "How late *asynchronous* is: a script changes a file source when the kernel tells of the "
    "restore.",
    "systemd": "A whole Debian with systemd as init has [the manager](manager.md) as its service. Idle programs are "
    "services, too, one for each way to a source. Compared is what each draws first after the restore. *Without* is "
    "a service of stock Python beside them.",
    "frozen over the snapshot": "The same machine without VMClock: only the kernel's message of a VM fork tells of "
    "the restore. A hot loop runs in a cgroup. *Without*: it runs on, and the file is changed late. *With*: the "
    "manager has `--freeze`, and the snapshot is taken between Freeze and Thaw.",
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
