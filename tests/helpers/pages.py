"""Runs the blocks of a document as whoever reads it would, in a root of its own.

A block whose first line is `# NAME` is a file. A command that ends in `# red...` has to fail. `<!-- played: NAMES -->`
before a block names the programs that a stand-in plays. A block without a language right behind one of `sh` is what its
last command prints: each word of it has to be there.
"""

import importlib.metadata
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

BLOCK = re.compile(
    r"^(?:<!-- played: (?P<played>[\w, -]+) -->\n)?```(?P<kind>[^\n]*)\n(?P<text>.*?)^```\n", re.DOTALL | re.MULTILINE
)
FILE = re.compile(r"# ([\w.-]+)\n")
WORD = re.compile(r"[A-Za-z][\w.:/-]{2,}")

# $1: a folder for what is written outside the working directory, which is the second one.
OWN_ROOT = """
set -eu
for folder in /etc /usr/local/bin /usr/libexec; do
    [ -d $folder ] || continue
    mkdir -p "$1$folder"; cp -a "$folder/." "$1$folder" 2>/dev/null || true
    mount --bind "$1$folder" $folder
done
for folder in /run /opt /var/lib /dev/shm; do mount -t tmpfs -o mode=755 quickstart $folder; done
cd "$2"
exec bash page.sh
"""


PREAMBLE = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]


def file(name, text):
    """Lines of a script that write the file."""
    return [f"cat >{name} <<'END OF FILE'", text.rstrip("\n"), "END OF FILE"]


def commands(text, red=False):
    """Lines of a script that show and run the commands, of which each with `# red`, or all, have to fail."""
    for line in text.replace("\\\n", "").splitlines():
        command, marked, _ = line.partition("  # red")
        if line.startswith((" ", "done")) or not line:
            yield line
            continue
        yield f"echo {shlex.quote('$ ' + line)}"
        yield f"if {command}; then echo 'this was not red'; exit 1; fi" if marked or red else line


def written(text, played):
    """The page as a script; adds to `played`."""
    lines = list(PREAMBLE)
    for block in BLOCK.finditer(text):
        name = FILE.match(block["text"])
        if name:
            lines += file(name[1], block["text"])
        elif block["kind"] == "sh":
            played.update((block["played"] or "").split(", "))
            lines += commands(block["text"])
    played.discard("")
    return "\n".join(lines) + "\n"


def words(output):
    return set(WORD.findall(output))


def shown(text):
    """Of each output that the page shows right behind commands: the last command, and its words."""
    before = None
    for block in BLOCK.finditer(text):
        if before and not block["kind"] and not text[before.end() : block.start()].strip():
            yield before["text"].rstrip("\n").rpartition("\n")[2], words(block["text"])
        before = block if block["kind"] == "sh" else None


def missing(outputs, said):
    """Of each of these commands the words that were not said after it."""
    found = {command: wanted - words(said.partition(f"$ {command}\n")[2]) for command, wanted in outputs}
    return {command: left for command, left in found.items() if left}


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


def in_a_root_of_its_own(tmp_path):
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("takes root, or user namespaces")
    return [*command, "sh", "-c", OWN_ROOT, "sh", str(tmp_path / "root"), str(tmp_path / "work")]


def run(script, tmp_path, stand_ins, path=(), **variables):
    """What the script said, in tmp_path/work; it has to end well. `stand_ins`: programs by name, in bash. `path`:
    folders of more programs."""
    programs, work = tmp_path / "bin", tmp_path / "work"
    for folder in (programs, work):
        folder.mkdir(exist_ok=True)
    (work / "page.sh").write_text(script)
    for name, body in stand_ins.items():
        (programs / name).write_text(f"#!/bin/bash\nset -euo pipefail\n{body}\n")
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON", "PYTEST"))}
    path = ":".join(map(str, [programs, *path, "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]))
    done = subprocess.run(
        in_a_root_of_its_own(tmp_path),
        env={**kept, "PATH": path, "HOME": str(work), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0
    return done.stdout
