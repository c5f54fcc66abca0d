"""What the core is told when setup.py builds it, for a start before Python of ours is loaded; others own it."""

import sys
from pathlib import Path


def macros() -> "dict[str, str]":
    # The package itself; without a core, for one that lies there is of older sources.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.modules["snapsafe_rt._core"] = None  # type: ignore[assignment]
    from snapsafe_rt import settings
    from snapsafe_rt.guards import table

    return {
        "SS_VERSION": settings.VERSION,
        "SS_DEFAULT_SOURCES": settings.DEFAULT_SOURCES,
        "SS_MANAGER": settings.MANAGER,
        "SS_WATCHED_MODULES": ",".join(sorted(table.TRIGGERS)),
    }
