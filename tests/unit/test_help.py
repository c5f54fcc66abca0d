"""How the commands explain themselves: help, exit codes, and what is said of a name that is mistyped."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snapsafe_rt import errors
from snapsafe_rt.cli import main, usage

from ..helpers.terminal import environment

pytestmark = pytest.mark.any_python

ROOT = Path(__file__).parents[2]
NAMES = [command.name for command in main.COMMANDS]
PARSERS = {command.name: parser for command, parser in main.parsers(main.whole_parser())}


def snapsafe(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "snapsafe_rt", *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits(monkeypatch, name, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    parser = PARSERS[name] if name else main.whole_parser()
    assert max(map(len, parser.format_help().splitlines())) <= min(columns, 100)


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_as_it_is_printed(name):
    done = snapsafe(*([name] if name else []), "--help", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\nexamples:\n" in done.stdout
    assert "\nexit codes:\n" in done.stdout


def test_the_commands_stand_in_their_groups_a_line_each(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = main.whole_parser().format_help()
    told = {}
    for group in ("use it", "see it", "operate it"):
        block = re.search(rf"^{group}:\n((?:  .*\n)+)", shown, re.MULTILINE)[1]
        told[group] = [line.split()[0] for line in block.splitlines()]
        assert all(re.fullmatch(r"  [a-z-]+ +\S.*", line) for line in block.splitlines()), block
    assert {name for names in told.values() for name in names} == set(NAMES)
    assert told == {group: [one.name for one in main.COMMANDS if one.group == group] for group in told}


def codes(text):
    """The numbers of a cell of docs/command.md that are exit codes."""
    return {int(code) for code in re.findall(r"(?:^|; |, )(\d+)(?= |,|$)", text)}


@pytest.mark.checkout
def test_the_exit_codes_of_the_reference_are_those_of_the_help():
    page = (ROOT / "docs/command.md").read_text()
    table = re.search(r"mean the same for every command:\n\n\| code \| means \|\n.*\n((?:\|.*\n)+)", page)[1]
    rows = [re.fullmatch(r"\| (\d+) \| (.*) \|", line).groups() for line in table.splitlines()]
    assert {int(code): words for code, words in rows} == usage.EXITS
    told = {name: set() for name in NAMES}
    for name, cell in re.findall(
        r"^\| `([a-z-]+)[ `].* \| (.*) \|$", page.partition("These exit codes")[0], re.MULTILINE
    ):
        if name in told:
            told[name] |= codes(cell)
    told["status"].add(errors.OK)
    for name in set(NAMES) - {"quiesce", "unquiesce"}:  # whose table stands in docs/orchestrators.md
        shown = {code for code in PARSERS[name].exits if code not in (usage.PROGRAMS, errors.USAGE)}
        assert told[name] - {128} == shown, name


@pytest.mark.checkout
def test_those_of_quiesce_are_those_of_its_table():
    page = (ROOT / "docs/orchestrators.md").read_text()
    table = re.search(r"^\| exit code \|.*\n.*\n((?:\|.*\n)+)", page, re.MULTILINE)[1]
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    for name, column in (("quiesce", 1), ("unquiesce", 3)):
        told = {int(row[0]) for row in rows if row[column].strip()}
        assert told | {errors.USAGE} == set(PARSERS[name].exits), name


def test_every_exit_code_that_the_commands_know_is_listed():
    known = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    assert known <= set(usage.EXITS)
    for parser in PARSERS.values():
        assert set(parser.exits) - {usage.PROGRAMS} <= set(usage.EXITS)
        assert errors.USAGE in parser.exits


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["statsu"], "snapsafe: error: unknown command: statsu; did you mean `snapsafe status`?"),
        (["wait"], "snapsafe: error: unknown command: wait; did you mean `snapsafe wait-restored`?"),
        (["unqiesce"], "snapsafe: error: unknown command: unqiesce; did you mean `snapsafe unquiesce`?"),
        (["xyzzy"], "snapsafe: error: unknown command: xyzzy; see `snapsafe --help`"),
        (["--hlp"], "snapsafe: error: unknown option: --hlp; did you mean `--help`?"),
        (["status", "--jsn"], "snapsafe status: error: unknown option: --jsn; did you mean `--json`?"),
        (["status", "more"], "snapsafe status: error: one word too many: more; see `snapsafe status --help`"),
        (["trigger", "--pth=/x"], "snapsafe trigger: error: unknown option: --pth; did you mean `--path`?"),
        (["quiesce", "--timeot", "3"], "snapsafe quiesce: error: unknown option: --timeot; did you mean `--timeout`?"),
        (["run", "--quite", "true"], "snapsafe run: error: unknown option: --quite; did you mean `--quiet`?"),
        (["audit", "--jsn", "true"], "snapsafe audit: error: unknown option: --jsn; did you mean `--json`?"),
        (["run", "-x", "true"], "snapsafe run: error: unknown option: -x; see `snapsafe run --help`"),
        (
            ["manager", "--print", "snapsafe-crui"],
            "snapsafe manager: error: argument --print: there is no 'snapsafe-crui'; did you mean `snapsafe-criu`?",
        ),
        (
            ["audit", "--fail-on", "drwn", "true"],
            "snapsafe audit: error: argument --fail-on: there is no 'drwn'; did you mean `drawn`?",
        ),
    ],
    ids=" ".join,
)
def test_what_is_mistyped_is_told_with_the_nearest_name(arguments, says):
    """In one line: not with all that there is."""
    done = snapsafe(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says + "\n")


def test_a_value_that_is_near_to_none_is_told_with_all():
    parser = PARSERS["status"]
    by = next(one for one in parser._actions if one.dest == "by")
    with pytest.raises(argparse.ArgumentError, match="there is no 'x'; it is one of cgroup, user"):
        parser._check_value(by, "x")


@pytest.mark.checkout
def test_the_man_page_has_every_command_option_and_exit_code():
    page = (ROOT / "packaging/command/snapsafe.1").read_text().replace("\\-", "-")
    for name, parser in PARSERS.items():
        section = page.partition(f".SH SNAPSAFE {name.upper()}\n")[2].partition("\n.SH ")[0]
        for option in parser._option_string_actions:
            assert re.search(rf"^\.B .*{re.escape(option)}\b", section, re.MULTILINE), (name, option)
        for code in parser.exits:
            assert f"\n.B {code}\n" in section, (name, code)
        assert all(example in section for example in parser.examples), name


def test_a_command_loads_no_other_command_and_no_rich():
    """Without a terminal; nor does the command line itself need what it is not asked for."""
    code = (
        "import sys; from snapsafe_rt.cli.main import main; main(['status']); "
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] in ('rich', 'difflib', 'shlex') "
        "or name.startswith('snapsafe_rt.cli.')), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**environment(), "PYTHONPATH": os.pathsep.join([environment()["PYTHONPATH"], *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = set(done.stderr.split())
    assert loaded == {
        f"snapsafe_rt.cli.{name}"
        for name in ("machine", "main", "output", "processes", "scan_cache", "status", "usage")
    }
