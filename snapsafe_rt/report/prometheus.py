"""Prometheus' text format, and the file in which node_exporter's textfile collector looks for it."""

import contextlib
import errno
import math
import os
import stat
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from snapsafe_rt.report.procfs import printable

LABEL_MOST = 200  # characters: some are the word of the process that is looked at
NUMBER_MOST = 1 << 63


class Metric(NamedTuple):
    name: str
    kind: str
    words: str


Sample = tuple[str, Mapping[str, str], float]  # of which metric, its labels, its value


def render(metrics: Iterable[Metric], made: Iterable[Sample]) -> str:
    """One group for each metric. A value that is no finite number is left out."""
    known = {one.name: one for one in metrics}
    groups: dict[str, dict[str, str]] = {name: {} for name in known}
    for name, labels, value in made:
        shown = _number(value)
        if shown:
            told = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
            # Once for each set of labels: a second sample would make the whole text invalid.
            groups[name].setdefault(f"{name}{{{told}}}" if told else name, shown)
    lines = []
    for name, group in groups.items():
        if group:
            lines += [f"# HELP {name} {known[name].words}", f"# TYPE {name} {known[name].kind}"]
            lines += [f"{series} {shown}" for series, shown in group.items()]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value)) if abs(value) < NUMBER_MOST else ""
    return repr(value) if math.isfinite(value) else ""


def _label(text: str) -> str:
    cut = printable(text)[:LABEL_MOST].encode("utf-8", "backslashreplace").decode()
    return cut.replace("\\", r"\\").replace('"', r"\"")


def write(path: str, text: str) -> None:
    """Whole or not at all: who collects it may read at any moment. Raises OSError, of that path."""
    temporary = f"{path}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):  # to replace /dev/stdout would take it away from everybody
                raise OSError(errno.EINVAL, "is no regular file")
        with contextlib.suppress(FileNotFoundError):  # of one that was killed, and had our number
            os.unlink(temporary)
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from None
