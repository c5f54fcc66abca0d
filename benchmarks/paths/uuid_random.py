"""uuid4 and uuid7: replaced. With a source that changes before the clone runs they draw ahead."""

from benchmarks.case import Case

FOUR, SEVEN = "from uuid import uuid4 as make", "from uuid import uuid7 as make"
COMPAT4, COMPAT7 = "from uuid_utils.compat import uuid4 as make", "from uuid_utils.compat import uuid7 as make"
FAST = "from fastuuid import uuid4 as make"
DOWN = "fence() is False"
OLD, NEW = (3, 13), (3, 14)

CASES = [
    Case("uuid4(), synchronous source", "make()", FOUR, source="synchronous", ratio=0.08, counted=True, until=OLD),
    Case("uuid4(), synchronous source", "make()", FOUR, source="synchronous", ratio=0.2, counted=True, since=NEW),
    Case("uuid4(), synchronous source, fence down", "make()", FOUR, source="device", stays=DOWN, ratio=0.08, until=OLD),
    Case("uuid4(), synchronous source, fence down", "make()", FOUR, source="device", stays=DOWN, ratio=0.2, since=NEW),
    Case("uuid4(), asynchronous source", "make()", FOUR, ratio=0.6, counted=True),
    Case("uuid4(), no source", "make()", FOUR, source="none", ratio=0.6),
    Case("uuid7(), synchronous source", "make()", SEVEN, source="synchronous", ratio=0.2, counted=True, since=NEW),
    Case(
        "uuid4(), against uuid_utils.compat",
        "make()",
        FOUR,
        source="synchronous",
        rival=COMPAT4,
        needs="uuid_utils",
        ratio=1.0,
    ),
    Case("uuid4(), against fastuuid", "make()", FOUR, source="synchronous", rival=FAST, needs="fastuuid", ratio=1.0),
    Case(
        "uuid7(), against uuid_utils.compat",
        "make()",
        SEVEN,
        source="synchronous",
        rival=COMPAT7,
        needs="uuid_utils",
        ratio=1.0,
        since=NEW,
    ),
]
