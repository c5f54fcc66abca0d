"""FOLDER: makes of a copy of the repository what Sphinx reads: its documents in place, and beside them a page for each
command, and for each source file and folder that a document links.

The options of the commands are those of the parser itself.
"""

import argparse
import re
import sys
from pathlib import Path

from snapsafe_rt.cli.main import COMMANDS, parsers, whole_parser

LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
NAME = re.compile(r"(?<=\[)test_\w+(?=\]\()")  # of a test: it may break at an underscore, else it takes a table's width
FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
PICTURES = {".svg", ".png", ".gif"}
DATA = {".json"}  # downloads
LANGUAGES = {".py": "python", ".sh": "sh", ".yaml": "yaml", ".yml": "yaml", ".sql": "sql", ".toml": "toml", ".c": "c"}
LONGEST = 30_000  # characters of a file that is shown


def shown(path: Path) -> str:
    """The text of a source file as a block."""
    language = LANGUAGES.get(path.suffix, "text")
    return f"````{{literalinclude}} {path.name}\n:language: {language}\n````\n"


def head(name: Path) -> str:
    """What a page that is made of a file or folder begins with. Whoever searches looks for pages and examples."""
    hidden = "" if name.parts[0] == "examples" else "nosearch: true\n"
    return f"---\norphan: true\n{hidden}---\n# {name}\n\n"


def listing(folder: Path, root: Path) -> Path:
    """The page of a folder: its own README, or one with each file of it."""
    page = folder / "README.md"
    if not page.exists():
        files = [one for one in sorted(folder.iterdir()) if one.is_file() and one.stat().st_size < LONGEST]
        blocks = [f"## {one.name}\n\n{shown(one)}" for one in files]
        page.write_text(head(folder.relative_to(root)) + "\n".join(blocks))
    return page


def page_of(target: Path, root: Path) -> str:
    """What a link to that file or folder has to say after its path, so that it leads to a page."""
    if target.is_dir():
        return "/" + listing(target, root).name
    if target.suffix == ".md" or target.suffix in PICTURES | DATA:
        return ""
    page = target.with_name(target.name + ".md")
    if not page.exists():
        page.write_text(head(target.relative_to(root)) + shown(target))
    return ".md"


def link(document: Path, root: Path) -> None:
    """Leads each link of a document, outside of its code, to a page. Raises SystemExit for one that leads nowhere."""

    def led(found: re.Match[str]) -> str:
        before, path, after = found.groups()
        if re.match(r"[a-z]+:", path):
            return found[0]
        target = (document.parent / path).resolve()
        if not target.exists():
            raise SystemExit(f"{document.relative_to(root)}: {path} is not there")
        return f"{before}{path.rstrip('/')}{page_of(target, root)}{after}"

    parts = FENCE.split(document.read_text())
    document.write_text("".join(part if part.startswith("```") else broken(LINK.sub(led, part)) for part in parts))


def broken(text: str) -> str:
    return NAME.sub(lambda found: found[0].replace("_", "_<wbr>"), text)


def options(parser: argparse.ArgumentParser) -> str:
    """A table of what a command takes."""
    rows = []
    for one in parser._actions:
        if one.help == argparse.SUPPRESS or isinstance(one, argparse._HelpAction | argparse._SubParsersAction):
            continue
        value = one.metavar or ("{" + ",".join(map(str, one.choices)) + "}" if one.choices else one.dest.upper())
        takes = "" if one.nargs == 0 else f" {value}"
        names = ", ".join(f"`{name}{takes}`" for name in one.option_strings) or f"`{value}`"
        text = (one.help or "") % {**vars(one), "prog": parser.prog} if "%" in (one.help or "") else one.help or ""
        rows.append(f"| {names} | {quoted(text)} |".replace("\n", " "))
    return "\n".join(["| option | does |", "|---|---|", *rows, ""]) if rows else ""


def quoted(text: str) -> str:
    """Its options as code: two hyphens would become a dash."""
    return re.sub(r"(?<![`\w-])(--[a-z][a-z-]*)", r"`\1`", text)


def commands(target: Path) -> None:
    """A page for each command, and one that lists them."""
    target.mkdir(exist_ok=True)
    for command, parser in parsers(whole_parser()):
        usage = parser.format_usage().removeprefix("usage: ").strip()
        parts = [
            f"# snapsafe {command.name}",
            parser.description,
            f"```\n{usage}\n```",
            options(parser),
            quoted(parser.notes),
            "```\n" + "\n".join(parser.examples) + "\n```",
            "| exit code | means |\n|---|---|\n"
            + "\n".join(f"| {code} | {quoted(words)} |" for code, words in parser.exits.items()),
        ]
        (target / f"{command.name}.md").write_text("\n\n".join(part for part in parts if part) + "\n")
    names = "\n".join(command.name for command in COMMANDS)
    groups = dict.fromkeys(one.group for one in COMMANDS)
    tables = "\n\n".join(
        f"## {group.capitalize()}\n\n| command | does |\n|---|---|\n"
        + "\n".join(
            f"| [snapsafe {one.name}]({one.name}.md) | {one.summary} |" for one in COMMANDS if one.group == group
        )
        for group in groups
    )
    (target / "index.md").write_text(
        "# Each command and its options\n\nWhat the commands mean together, and their exit codes: "
        "[The command](../../docs/command.md).\n\n"
        f"{tables}\n\n```{{toctree}}\n:hidden:\n{names}\n```\n"
    )


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    commands(root / "site" / "commands")
    for document in sorted(root.rglob("*.md")):
        link(document, root)
