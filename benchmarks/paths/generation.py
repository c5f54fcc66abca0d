"""per_generation: looked up against the counter on each call; the other side keeps a value for good."""

from benchmarks.case import Case

VALUE = "import snapsafe_rt\nvalue = snapsafe_rt.per_generation(object)\nvalue()"
KEPT = "from functools import cache\nvalue = cache(object)\nvalue()"

CASES = [Case("per_generation value, against functools.cache", "value()", VALUE, rival=KEPT, most=25, counted=True)]
