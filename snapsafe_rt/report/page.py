"""What this process lets `snapsafe status --pid` see of it (cython/record.h): writes the text when it may change.

That is at activation and its end, at the import of a module of the tables, at status(), after a restore event. What
changes in between (epoch, generation, fence, the state of each libcrypto) is not in the text: whoever reads it takes
that from the words themselves.

Lines of fields that tabs part; a backslash escapes tab, newline and itself. The first field tells what the others are:
    snapsafe  version, Python, time of writing (s since 1970), active (0, 1), why not
    setting   name, value: what differs from the default
    source    slot (-1: not usable), rank, name, why not, who opened it if not the process itself (systemd, the manager)
    row       name, level, sentence, 1 if the restore event must run for it
    library   module of libraries.TABLE that is loaded
    problem   sentence
    event     epoch, cause, began, ended (s since 1970), callbacks run; then a field for each error
    lifecycle who announces snapshots, what the program is at, why it has no lock
    snapshot  number, began, ended (s since 1970; 0: not yet), what came of it, what could not be let go of; then a
              field for each error
    cut       there was more than fits
"""

import sys
import time

from snapsafe_rt import hooks, settings
from snapsafe_rt.core import native
from snapsafe_rt.guards import table
from snapsafe_rt.state import state

problem = ""
"""Why there is no record, or ""."""


def write() -> None:
    """Rewrite the record as of now. Never raises; costs some 50 us. With the GIL, any thread; a subinterpreter of an
    activated process writes nothing: the record is the process's."""
    global problem
    if native is None or native.owned_elsewhere():
        return
    try:
        native.record_store(_text(native.record_room()))
        problem = ""
    except Exception as error:
        problem = f"`snapsafe status --pid` sees nothing of this process: {error}"


def _text(room: int) -> bytes:
    lines: list[tuple[str, ...]] = [
        ("snapsafe", settings.VERSION, settings.PYTHON, repr(time.time()), str(int(state.active)), state.why_not)
    ]
    if state.active:
        lines += [("row", name, level, note, str(int(table.needs_event(name)))) for name, level, note in table.noted()]
        lines += [("library", module) for module in table.LIBRARIES if module in sys.modules]
    lines += [
        ("source", str(one.slot if one.rank is not None else -1), str(one.rank or 0), one.name, one.why_not, one.via)
        for one in state.candidates
    ]
    lines += [("setting", *pair) for pair in state.settings.changed()]
    lines += [("problem", sentence) for sentence in state.problems]
    for kind, fields in hooks.facts.items():
        found = fields()
        if found is not None:
            lines.append((kind, *found))
    text = "".join("\t".join(map(_escaped, line)) + "\n" for line in lines).encode("utf-8", "backslashreplace")
    if len(text) > room:
        text = text[: text.rfind(b"\n", 0, room - len(b"cut\n")) + 1] + b"cut\n"
    return text


def _escaped(field: str) -> str:
    if field.isprintable() and "\\" not in field:
        return field
    return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
