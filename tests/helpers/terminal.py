"""The command on a terminal of some width."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from tests.conftest import FOLDER, PACKAGE

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def environment(**more):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SNAPSAFE", "PYTHON"))}
    return {**clean, "PYTHONPATH": f"{FOLDER}:{PACKAGE.parent}", **more}


def on_terminal(columns, *arguments, env=None):
    """What a terminal of that width shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = environment(**{"TERM": "xterm", **(env or {})})
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        if name not in (env or {}):
            clean.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-m", "snapsafe_rt", *arguments], env=clean, stdin=theirs, stdout=theirs, stderr=theirs
    ) as child:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # EIO: the other side is closed
            pass
        child.wait(60)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")
