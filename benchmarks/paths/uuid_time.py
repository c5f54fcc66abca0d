"""uuid1: native, with a random node after a restore."""

from benchmarks.case import Case

ONE = "from uuid import uuid1 as make\nmake()\n"

CASES = [
    Case("uuid1() after a restore", "make()", f"{ONE}restore()", ratio=1.0),
    Case("uuid1()", "make()", ONE, counted=True),
]
