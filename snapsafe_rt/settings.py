"""The environment variables, and nothing else reads them. A bad value is a problem for status(), not an error here."""

import os
import sys

VERSION = "0.2.0"
PYTHON = f"{sys.implementation.name} {sys.version.split()[0]}"

FILE = "/run/snapsafe/vmclock0"  # the file source that the manager writes
MANAGER = "/run/snapsafe/org.snapsafe.Manager"  # where it speaks Varlink
TRUSTED = ".trusted"  # and with this at the end, to root and its own user alone: others cannot crowd them out there
DEFAULT_SOURCES = f"vmclock:/dev/vmclock0,sysgenid:/dev/sysgenid,vmclock:{FILE}"

# Variable: its values, the default first.
_CHOICES = {
    "SNAPSAFE": ("1", "0"),
    "SNAPSAFE_SEEDED": ("keep", "reseed"),
    "SNAPSAFE_DISRUPTION": ("event", "reseed"),
    "SNAPSAFE_STRICT": ("0", "1"),
    "SNAPSAFE_WATCH": ("1", "0"),
    "SNAPSAFE_LIFECYCLE": ("snapsafe", "logind", "off"),
}

EXIT_CONFIGURATION = 78  # EX_CONFIG of sysexits.h; the contract's code for a refusal under SNAPSAFE_STRICT=1


class Settings:
    """What the environment asks for; `problems` has a sentence for each value that could not be used."""

    def __init__(self, given: "dict[str, str] | None" = None) -> None:
        """`given`: what the variables were at the start, for who asks later; None: as they are now."""
        self._given = given
        self.problems: list[str] = []
        self.enabled = self._choice("SNAPSAFE") == "1"
        self.strict = self._choice("SNAPSAFE_STRICT") == "1"
        self.reseed_kept = self._choice("SNAPSAFE_SEEDED") == "reseed"
        self.sources = self._text("SNAPSAFE_SOURCES") or DEFAULT_SOURCES
        self.disruption = self._choice("SNAPSAFE_DISRUPTION")
        self.watch = self._choice("SNAPSAFE_WATCH") == "1"
        self.lifecycle = self._choice("SNAPSAFE_LIFECYCLE")
        self.audit = self._audit()
        self.trust = names(self._text("SNAPSAFE_TRUST"))

    def changed(self) -> "list[tuple[str, str]]":
        """(name, value) of the variables that ask for something else than the default."""
        named = (*_CHOICES, "SNAPSAFE_SOURCES", "SNAPSAFE_TRUST", "SNAPSAFE_AUDIT")
        given = [(name, self._text(name)) for name in named]
        return [(name, value) for name, value in given if value and value != _CHOICES.get(name, ("",))[0]]

    def _audit(self) -> str:
        """ "": off; "1", or the absolute path with which the names of the files begin."""
        value = self._text("SNAPSAFE_AUDIT")
        if value in ("", "0", "1") or os.path.isabs(value):
            return "" if value == "0" else value
        self.problems.append(f"SNAPSAFE_AUDIT={value!r} is neither 0, nor 1, nor an absolute path; nothing is recorded")
        return ""

    def _text(self, name: str) -> str:
        if self._given is not None:
            return self._given.get(name, "")
        return os.environ.get(name, "") if environment_counts() else ""

    def _choice(self, name: str) -> str:
        choices = _CHOICES[name]
        value = self._text(name).strip() or choices[0]
        if value not in choices:
            self.problems.append(
                f"{name}={value!r} is not one of {', '.join(sorted(choices))}; {choices[0]} is used instead"
            )
            return choices[0]
        return value


def environment_counts() -> bool:
    """As every environment variable, ours do not count under python -I and -E. PyInstaller starts every program so."""
    return not sys.flags.ignore_environment or hasattr(sys, "frozen")


def library_name(text: str) -> str:
    """The name by which a library is known here, however it is written: that of its distribution or of its folder."""
    return text.strip().lower().replace("-", "_").lstrip("_")


def names(text: str) -> "frozenset[str]":
    """The libraries that SNAPSAFE_TRUST names."""
    return frozenset(filter(None, map(library_name, text.split(","))))


def die(reason: str) -> None:
    """End the process as SNAPSAFE_STRICT=1 asks: one line, status 78, past every handler.

    An exception would not do: site prints a SystemExit as a fatal error and swallows all others.
    """
    message = f"snapsafe: refusing to start (SNAPSAFE_STRICT=1): {reason}\n"
    try:
        os.write(2, message.encode("utf-8", "backslashreplace"))
    finally:
        os._exit(EXIT_CONFIGURATION)
