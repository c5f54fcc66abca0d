"""The documents name what exists: files, folders, titles."""

import pathlib
import re

import pytest

pytestmark = pytest.mark.checkout

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md"))
)


def anchors(page):
    """The titles of a page as GitHub makes them into fragments."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    path = ROOT / page
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        name, _, fragment = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


def named(page):
    """The names in backquotes that begin with a folder of this project."""
    told = re.findall(r"`([\w./\[\]*-]+)`", (ROOT / page).read_text())
    folders = {entry.name for entry in ROOT.iterdir() if entry.is_dir()}
    return {one.rstrip("/") for one in told if one.partition("/")[0] in folders and "/" in one}


@pytest.mark.parametrize("page", ["docs/design.md", "docs/threat-model.md", "CONTRIBUTING.md"])
def test_every_file_that_it_names_exists(page):
    assert sorted(one for one in named(page) if not any(ROOT.glob(one))) == []


def missing_tests(text):
    """The tests that a page in docs/ names by a link to their module, `[test_x](../tests/...py)`, and that it lacks."""
    named = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", text)
    assert named
    return [name for name, path in named if not re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.M)]


def test_every_test_that_the_threat_model_names_exists():
    text = (ROOT / "docs/threat-model.md").read_text()
    assert missing_tests(text) == []
    assert text.count("[test_") == len(re.findall(r"\[test_\w+\]\(\.\./tests/", text)), "each is a link to its module"


def test_a_test_that_is_gone_is_missed():
    named = ["test_each_source_file_has_a_room", "test_gone"]
    text = " ".join(f"[{name}](../tests/unit/test_documents.py)" for name in named)
    assert missing_tests(text) == ["test_gone"]


def test_each_source_file_has_a_room():
    """In the table of docs/design.md, by its own name or by its folder's."""
    table = (ROOT / "docs/design.md").read_text().partition("## Rooms")[2].partition("\n## ")[0]
    told = re.findall(r"`([\w./\[\]*-]+)`", table)
    rooms = {path for one in told if "/" in one for path in ROOT.glob(one.rstrip("/"))}
    sources = [path for folder in ("cython", "snapsafe_rt", "sitecustomize") for path in (ROOT / folder).rglob("*.*")]
    sources = [path for path in sources if path.suffix in {".py", ".c", ".h", ".pyx", ".pxi", ".pxd", ".pyi"}]
    homeless = [path for path in sources if not rooms & {path, *path.parents} and path.name != "__init__.py"]
    assert sorted(path.relative_to(ROOT).as_posix() for path in homeless) == []


def test_each_program_that_reconnects_has_a_line():
    text = (ROOT / "docs/reconnect.md").read_text()
    programs = [path.relative_to(ROOT) for path in (ROOT / "examples/reconnect").glob("*.py")]
    assert programs
    assert [path for path in programs if f"](../{path})" not in text] == []
