"""What a run has measured: as a table, as JSON, and as docs/evidence.md (see evidence.py)."""

import json
import pathlib
import time

from tests.vm.evidence import shown


class Results:
    """Rows of dictionaries: scenario, setup, what, clones and figures. `without` and `ours` count repeated values."""

    def __init__(self, facts):
        self.facts, self.rows, self.began = facts, [], time.monotonic()

    def add(self, scenario, setup, what, **figures):
        self.rows.append({"scenario": scenario, "setup": setup, "what": what, **figures})

    def write(self, path, clones):
        self.facts |= {"clones": clones, "seconds": round(time.monotonic() - self.began)}
        pathlib.Path(path).write_text(json.dumps({"facts": self.facts, "rows": self.rows}, indent=1) + "\n")

    def table(self):
        """Lines of text."""
        rows = [("scenario", "setup", "what", "values", "without", "with", "")]
        for row in self.rows:
            cells = [
                row["scenario"],
                row["setup"],
                row["what"],
                *(shown(row.get(k)) or "-" for k in ("values", "without", "ours")),
            ]
            rows.append((*cells, row.get("note", "")))
        widths = [max(len(row[column]) for row in rows) for column in range(7)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
