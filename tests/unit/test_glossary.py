"""docs/glossary.md has every word that status prints for a level, a state, a cause or a phase; each with an example."""

import pathlib
import re

from snapsafe_rt.cli.status import FENCES, TONES
from snapsafe_rt.guards.table import LEVELS
from snapsafe_rt.manager import phases
from snapsafe_rt.report.remote import CAUSES, HOW
from snapsafe_rt.snapshot import lifecycle
from snapsafe_rt.source.selection import RANKS

DOCS = pathlib.Path(__file__).parents[2] / "docs"

PHASES = {phases.RUNNING, phases.QUIESCING, phases.QUIESCED, phases.UNQUIESCING}
PROGRAM_PHASES = {lifecycle.RUNNING, lifecycle.BEFORE, lifecycle.QUIESCED, lifecycle.AFTER, lifecycle.LATE}
ENDS = {
    *(phases.UNQUIESCED, phases.RESTORED, phases.OVERDUE, phases.FAILED),
    *(phases.ABANDONED, phases.NOT_FROZEN, phases.NOT_TOLD),
}
OF_THE_TEXT = {"protected", "epoch", "fence", "candidate", "source", "synchronous", "asynchronous", "stuck", "deserted"}


def rows():
    """The cells of each line of the glossary's tables."""
    lines = (DOCS / "glossary.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [row for row in cells if row[0] != "word"]


def words():
    return {word.strip(" `") for row in rows() for word in row[0].split(",")}


def test_every_word_that_status_prints_is_explained():
    printed = {*LEVELS, *TONES, *FENCES, *HOW, *filter(None, CAUSES), *RANKS, *PHASES, *PROGRAM_PHASES, *ENDS}
    assert {*printed, *OF_THE_TEXT} - words() == set()


def test_every_word_has_a_sentence_an_example_and_a_place():
    for row in rows():
        assert len(row) == 4, row
        assert all(row), row
        assert row[1].endswith("."), f"no sentence: {row}"


def test_every_page_that_the_glossary_leads_to_exists():
    leads = re.findall(r"\]\(([^)#]+)", (DOCS / "glossary.md").read_text())
    assert [lead for lead in leads if not (DOCS / lead).exists()] == []
