"""uuid4 and uuid7: replaced. With a source that changes before the clone runs they draw ahead."""

from benchmarks.case import Case

FOUR, SEVEN = "from uuid import uuid4 as make", "from uuid import uuid7 as make"
COMPAT4, COMPAT7 = "from uuid_utils.compat import uuid4 as make", "from uuid_utils.compat import uuid7 as make"
FAST = "from fastuuid import uuid4 as make"
DOWN, UP = "fence() is False", "fence() is True"
OLD, NEW = (3, 13), (3, 14)

CASES = [
    *[
        Case(
            f"uuid4(), synchronous source, fence {fence}",
            "make()",
            FOUR,
            source=source,
            stays=stays,
            ratio=ratio,
            since=since,
            until=until,
            counted=True,
        )
        for fence, source, stays in (("down", "device", DOWN), ("up", "synchronous", UP))
        for ratio, since, until in ((0.08, (3, 10), OLD), (0.2, NEW, (3, 99)))
    ],
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
