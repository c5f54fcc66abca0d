"""The `snapsafe` command: one table of subcommands; what goes wrong becomes one line and an exit code."""

import argparse
import importlib
import os
import sys
from collections.abc import Collection
from types import ModuleType
from typing import NamedTuple

from snapsafe_rt.errors import FAILED, USAGE, Failure
from snapsafe_rt.settings import VERSION

INTERRUPTED, BROKEN_PIPE = 130, 141  # the shells'


class Command(NamedTuple):
    """`module` is imported only when its command is called. It has:

    add_arguments(parser)   its options
    main(options) -> int    its work; the exit code. Raises Failure for what a user can do something about.
    TAKES_PROGRAM = True    if the first word that is no option begins somebody else's command line (options.program)
    """

    name: str
    module: str
    summary: str


COMMANDS = (
    Command("run", "snapsafe_rt.cli.run", "start a program protected: snapsafe run python app.py"),
    Command("status", "snapsafe_rt.cli.status", "what is watched and guarded here, and what is not"),
    Command("audit", "snapsafe_rt.cli.audit", "what a program did that will be the same in every clone, by place"),
    Command("metrics", "snapsafe_rt.cli.metrics", "what is true of all programs here, as Prometheus reads it"),
    Command("doctor", "snapsafe_rt.cli.doctor", "what this machine is, what it lacks, and the commands that mend it"),
    Command("demo", "snapsafe_rt.cli.demo", "clone a running Python, and show what the clones draw twice"),
    Command("wait-restored", "snapsafe_rt.cli.wait_restored", "sleep until this machine's source changes"),
    Command("install", "snapsafe_rt.cli.install", "make an interpreter activate at every start"),
    Command("uninstall", "snapsafe_rt.cli.uninstall", "take away what install wrote"),
    Command("bundle", "snapsafe_rt.cli.bundle", "make one folder for PYTHONPATH that fits several interpreters"),
    Command("manager", "snapsafe_rt.cli.manager", "tell programs of a restore that they cannot see themselves"),
    Command("quiesce", "snapsafe_rt.cli.quiesce", "before a snapshot: ask the programs here to get ready for it"),
    Command("unquiesce", "snapsafe_rt.cli.unquiesce", "after a snapshot, or in a clone: let them go on"),
    Command("inhibit", "snapsafe_rt.cli.inhibit", "run a command that no snapshot may interrupt"),
    Command("dbus", "snapsafe_rt.cli.dbus", "the manager's locks on D-Bus, under logind's names"),
    Command("trigger", "snapsafe_rt.cli.trigger", "move the generation of a file source, as a restore does"),
)


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


def whole_parser() -> argparse.ArgumentParser:
    """The parser with the options of all commands: what the command reference, man page and completions are made of."""
    return _parser(COMMANDS)


def _module(command: Command) -> ModuleType:
    return importlib.import_module(command.module)


def _parser(chosen: Collection[Command]) -> argparse.ArgumentParser:
    """The parser; only those commands have their options, and their modules are imported."""
    parser = argparse.ArgumentParser(
        prog="snapsafe",
        description="Python programs that never repeat themselves in a clone of a virtual machine or container.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 77 not permitted, 78 wrong configuration.",
    )
    parser.add_argument("--version", action="version", version=f"snapsafe-rt {VERSION}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        sentence = f"{command.summary[0].upper()}{command.summary[1:]}."
        sub = subparsers.add_parser(command.name, help=command.summary, description=sentence)
        if command in chosen:
            sub.formatter_class = argparse.RawDescriptionHelpFormatter
            _module(command).add_arguments(sub)
    return parser


def _parse(arguments: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    chosen = next((command for command in COMMANDS if arguments[:1] == [command.name]), None)
    parser = _parser([chosen] if chosen else [])
    if not arguments:
        parser.print_help(sys.stderr)
        parser.exit(USAGE)
    if chosen is None:
        if not arguments[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(arguments[0], [command.name for command in COMMANDS], 1)
            way = f"did you mean `snapsafe {near[0]}`?" if near else "`snapsafe --help` lists the commands"
            parser.error(f"unknown command: {arguments[0]}; {way}")
        parser.parse_args(arguments)  # --help, --version, or an error
        parser.error(f"unknown command: {arguments[0]}")
    module = _module(chosen)
    own, program = _split(arguments[1:]) if getattr(module, "TAKES_PROGRAM", False) else (arguments[1:], [])
    options = parser.parse_args([chosen.name, *own])
    options.program = program
    return module, options


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own options, and the program's command line, which is not ours to understand."""
    for number, argument in enumerate(arguments):
        if argument == "--":
            return arguments[:number], arguments[number + 1 :]
        if not argument.startswith("-"):
            return arguments[:number], arguments[number:]
    return arguments, []
