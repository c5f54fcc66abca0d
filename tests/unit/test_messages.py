"""docs/troubleshooting.md has an entry for each message of the package, and none for what nothing says any more."""

import re
from pathlib import Path

import pytest

from tests.helpers.messages import HOLE, messages

pytestmark = [pytest.mark.checkout, pytest.mark.any_python]

ROOT = Path(__file__).resolve().parents[2]
A_LEVEL = {"unexamined"}


def entries(text):
    """The messages of the page: in backquotes, in the first cell of a row or in the last section."""
    text = text.partition("## Messages")[2]
    cells = [row.split(" | ")[0] for row in text.splitlines() if row.startswith("| ")] + [
        text.partition("### Wrong usage")[2]
    ]
    return {entry for cell in cells for entry in re.findall(r"`([^`]+)`", cell)}


def says(entry, message):
    words = ".*".join(map(re.escape, entry.removesuffix(HOLE).split(HOLE)))
    return re.search(words + HOLE * entry.endswith(HOLE), message)


def unexplained(explained, said):
    return [message for message in said if not any(says(entry, message) for entry in explained)]


def test_each_message_is_explained_and_each_entry_is_said():
    explained, said = entries((ROOT / "docs/troubleshooting.md").read_text()), messages(ROOT / "snapsafe_rt")
    assert unexplained(explained, said) == []
    assert [entry for entry in explained - A_LEVEL if not any(says(entry, message) for message in said)] == []


def test_a_new_message_is_missed():
    explained = entries((ROOT / "docs/troubleshooting.md").read_text())
    assert unexplained(explained, {"the moon is full: wait": "cli/moon.py"}) == ["the moon is full: wait"]
