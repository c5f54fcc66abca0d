"""The `snapsafe` command: one table of subcommands; what goes wrong becomes one line and an exit code."""

import argparse
import importlib
import os
import sys
from types import ModuleType
from typing import NamedTuple, NoReturn

from snapsafe_rt.cli import usage
from snapsafe_rt.cli.usage import BROKEN_PIPE, INTERRUPTED, Parser
from snapsafe_rt.errors import FAILED, USAGE, Failure
from snapsafe_rt.settings import VERSION


class Command(NamedTuple):
    """`module` is imported only when its command is called. It has:

    add_arguments(parser)   its options
    main(options) -> int    its work; the exit code. Raises Failure for what a user can do something about.
    EXAMPLES                command lines
    EXITS                   what its exit codes mean, the common ones of usage.EXITS left out
    TAKES_PROGRAM = True    if the first word that is no option begins somebody else's command line (options.program)
    """

    name: str
    group: str
    module: str
    summary: str


USE, SEE, OPERATE = "use it", "see it", "operate it"

COMMANDS = (
    Command("run", USE, "snapsafe_rt.cli.run", "start a program protected"),
    Command("install", USE, "snapsafe_rt.cli.install", "make an interpreter activate at every start"),
    Command("uninstall", USE, "snapsafe_rt.cli.uninstall", "take away what install wrote"),
    Command("bundle", USE, "snapsafe_rt.cli.bundle", "make one folder for PYTHONPATH that fits several Pythons"),
    Command("doctor", SEE, "snapsafe_rt.cli.doctor", "what this machine is, what it lacks, and what mends it"),
    Command("status", SEE, "snapsafe_rt.cli.status", "what is watched and guarded here, and what is not"),
    Command("demo", SEE, "snapsafe_rt.cli.demo", "clone a running Python, and show what is drawn twice"),
    Command("audit", SEE, "snapsafe_rt.cli.audit", "what of a program will be the same in every clone, by line"),
    Command("metrics", SEE, "snapsafe_rt.cli.metrics", "what is true of all programs here, for Prometheus"),
    Command(
        "manager", OPERATE, "snapsafe_rt.cli.manager", "tell programs of a restore that they cannot see themselves"
    ),
    Command("quiesce", OPERATE, "snapsafe_rt.cli.quiesce", "before a snapshot: ask the programs to get ready for it"),
    Command("unquiesce", OPERATE, "snapsafe_rt.cli.unquiesce", "after a snapshot, or in a clone: let them go on"),
    Command("inhibit", OPERATE, "snapsafe_rt.cli.inhibit", "run a command that no snapshot may interrupt"),
    Command("dbus", OPERATE, "snapsafe_rt.cli.dbus", "the manager's locks on D-Bus, under logind's names"),
    Command("trigger", OPERATE, "snapsafe_rt.cli.trigger", "move the generation of a file source, as a restore does"),
    Command("wait-restored", OPERATE, "snapsafe_rt.cli.wait_restored", "sleep until this machine's source changes"),
)
EXAMPLES = {
    "snapsafe doctor": "what to do on this machine",
    "snapsafe demo": "the fault and the cure, shown in a minute",
    "snapsafe run python app.py": "a program, and every Python that it starts",
    "snapsafe status --all": "which programs here are protected",
    "snapsafe status --pid 4711": "all about one of them",
}
ABOUT = "Python programs that never repeat themselves in a clone of a virtual machine or container."


def main(arguments: list[str] | None = None) -> int:
    """Run a command line. Returns the exit code; raises SystemExit for usage errors, as argparse does."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a path in no known encoding must not end the command
    name = "snapsafe"
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        module, options = _parse(arguments)
        name = f"snapsafe {arguments[0]}"
        code: int = module.main(options)
        sys.stdout.flush()
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        return failure.code
    except OSError as error:
        # What is left in stdout's buffer cannot be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # who read our output has gone
            return BROKEN_PIPE
        what = f"{error.filename}" if error.filename is not None else "the output cannot be written"
        print(f"{name}: {what}: {error.strerror or error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _open_closed_streams() -> None:
    """Python has None for a stream that was closed (`>&-`). What `run` starts finds it closed all the same."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


class Whole(Parser):
    """The parser of `snapsafe` itself, whose help shows the commands in their groups."""

    def format_help(self) -> str:
        longest = max(len(one.name) for one in COMMANDS)
        groups = (
            usage.listed(group, [(one.name, one.summary) for one in COMMANDS if one.group == group], longest)
            for group in dict.fromkeys(one.group for one in COMMANDS)
        )
        options = {"-h, --help": "show this help and exit", "--version": "show the version and exit"}
        return usage.paragraphs(
            self.format_usage().strip(),
            ABOUT,
            *groups,
            usage.listed("options", options.items()),
            usage.listed("examples", EXAMPLES.items()),
            usage.listed("exit codes", usage.EXITS.items()),
            "`snapsafe COMMAND --help` tells the options of a command, and what its exit codes mean.\n",
        )


def whole_parser() -> Whole:
    """The parser with the options of all commands: what the command reference, man page and completions are made of."""
    parser = Whole(prog="snapsafe", description=ABOUT)
    parser.add_argument("--version", action="version", version=f"snapsafe-rt {VERSION}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        _describe(command, subparsers.add_parser(command.name, help=command.summary))
    return parser


def parsers(whole: Whole) -> list[tuple[Command, Parser]]:
    """Each command with its parser."""
    made = whole._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    return [(command, made[command.name]) for command in COMMANDS]  # type: ignore[index]


def _module(command: Command) -> ModuleType:
    return importlib.import_module(command.module)


def _describe(command: Command, parser: Parser) -> ModuleType:
    module = _module(command)
    parser.description = f"{command.summary[0].upper()}{command.summary[1:]}."
    module.add_arguments(parser)
    parser.explain(parser.epilog or "", module.EXAMPLES, module.EXITS)
    return module


def _parse(arguments: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    command = next((command for command in COMMANDS if arguments[:1] == [command.name]), None)
    if command is None:
        _end(arguments)
    parser = Parser(prog=f"snapsafe {command.name}")
    module = _describe(command, parser)
    own, program = _split(arguments[1:]) if getattr(module, "TAKES_PROGRAM", False) else (arguments[1:], [])
    options = parser.parse(own)
    options.program = program
    return module, options


def _end(arguments: list[str]) -> NoReturn:
    """For what names no command."""
    parser = Whole(prog="snapsafe", usage="snapsafe [-h] [--version] COMMAND ...")
    parser.add_argument("--version", action="version", version=f"snapsafe-rt {VERSION}")
    if not arguments:
        parser.print_help(sys.stderr)
        parser.exit(USAGE)
    if arguments[0].startswith("-"):
        parser.parse(arguments[:1])  # --help, --version, or an error
    parser.error(
        f"unknown command: {arguments[0]}; "
        + parser.way_out(arguments[0], [command.name for command in COMMANDS], "snapsafe ")
    )


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own options, and the program's command line, which is not ours to understand."""
    for number, argument in enumerate(arguments):
        if argument == "--":
            return arguments[:number], arguments[number + 1 :]
        if not argument.startswith("-"):
            return arguments[:number], arguments[number:]
    return arguments, []
