"""Puts the matrix of hazards into docs/README.md, between its marks, as the tables of the package say it.

    python -m tests.helpers.hazards_document docs/README.md

tests/unit/test_hazards.py holds the document against this, and looks whether each test that it names exists.
"""

import sys
from pathlib import Path

import snapsafe_rt.activation  # noqa: F401 - names the guards that lie in other rooms
from snapsafe_rt.guards import examined, table
from snapsafe_rt.report.status import LIMITS

from .activation_document import between
from .guards_document import first_paragraph

BEGIN, END = "<!-- hazards -->\n", "<!-- /hazards -->\n"
IN_CLONES = "process/test_library_guards.py::test_no_two_clones_draw_the_same"
RECIPE = "process/test_library_recipes.py::test_a_recipe_renews_while_the_kernel_repeats"

# Hazard: the rows of the table of guards that it is about, each with the test that proves what its row says.
HAZARDS: dict[str, dict[str, str]] = {
    "the same random numbers, choices and samples": {
        "random": "process/test_random.py::test_each_draw_first",
        "numpy": "process/test_numpy.py::test_no_clone_draws_what_another_drew",
        "torch": "process/test_torch.py::test_no_clone_draws_what_another_drew",
        "numba": IN_CLONES,
        "polars": IN_CLONES,
        "tensorflow": RECIPE,
        "sentencepiece": RECIPE,
        "tokenizers": "process/test_libraries.py::test_what_is_named_repeats_itself",
        "pyarrow": "process/test_library_recipes.py::test_a_call_with_a_seed_does_not_repeat",
    },
    "the same secrets, tokens and salts": {
        "os": "process/test_entropy.py::test_kernel_that_repeats",
        "bcrypt": IN_CLONES,
    },
    "the same keys, nonces and TLS handshakes": {
        "openssl": "process/test_openssl.py::test_each_is_the_first_to_draw",
        "cryptography": "process/test_libraries.py::test_renewed_by_the_restore_event",
        "grpcio": "process/test_libraries.py::test_a_loaded_library_is_named",
    },
    "the same ids": {
        "uuid": "process/test_uuid.py::test_clones",
        "uuid_utils": IN_CLONES,
        "ulid": IN_CLONES,
        "ulid_transform": IN_CLONES,
        "bson": IN_CLONES,
        "pymongo": IN_CLONES,
        "nats": IN_CLONES,
        "kombu": IN_CLONES,
        "opentelemetry": IN_CLONES,
        "sentry_sdk": IN_CLONES,
        "ddtrace": IN_CLONES,
        "snowflake": "process/test_library_recipes.py::test_worker_numbers_that_are_handed_out",
    },
    "the same values out of a database's engine": {
        "sqlite3": "process/test_sqlite.py::test_each_is_the_first_to_draw",
        "apsw": IN_CLONES,
        "duckdb": RECIPE,
    },
    "nobody tells the program of the restore": {
        "snapstart": "process/test_snapstart.py::test_told_before_the_handler_is",
    },
}
PROGRAMS = "the program's"
# What no row is about: hazard, who is hit, what we do, level, test.
OTHERS = (
    (
        "an id, a token or a number that was drawn before the snapshot and kept",
        "node ids, worker numbers, session secrets",
        "[`snapsafe audit`](audit.md) names its line; `per_generation` makes it anew ([events.md](events.md))",
        PROGRAMS,
        "process/test_examples_clones.py::test_what_is_unique",
    ),
    (
        "credentials and settings of the original, or expired ones",
        "tokens of clouds, environment variables, leases",
        "recipes read them again, by the epoch and not by a clock ([reconnect.md](reconnect.md), [time.md](time.md))",
        PROGRAMS,
        "process/test_recipes_offered.py::test_credentials_of_the_environment_are_read_again",
    ),
    (
        "timers that are due at once, in every clone at the same moment",
        "asyncio's timers, periodic jobs",
        "an example begins them anew at a moment of the clone's own ([time.md](time.md))",
        PROGRAMS,
        "process/test_time.py::test_timers_of_asyncio",
    ),
    (
        "clocks that stood still or jumped",
        "durations, expiries, certificates",
        "no clock is set; nothing of ours goes by elapsed time ([time.md](time.md))",
        "told",
        "process/test_time.py::test_which_clock_shows_what",
    ),
    (
        "connections that the other side has given up, or that two clones share",
        "pools of databases, HTTP clients, brokers",
        "a recipe for each library, by callbacks that run after each restore ([reconnect.md](reconnect.md))",
        PROGRAMS,
        "process/test_reconnect.py::test_it_goes_on_at_once",
    ),
    (
        "a transaction or a request is under way in the snapshot, and each clone ends it",
        "services with a database",
        "programs are asked before the snapshot, and told after it ([orchestrators.md](orchestrators.md))",
        PROGRAMS,
        "process/test_examples_phases.py::test_quiesced_nothing_is_lost_or_repeated",
    ),
    (
        "a seed that the program chose is the same in every clone",
        "`Random(42)`, `numpy.random.seed(1)`",
        "left alone, bit for bit, and told; `SNAPSAFE_SEEDED=reseed` renews it ([settings.md](settings.md))",
        "kept",
        "process/test_seeds.py::test_kept_bit_for_bit",
    ),
    (
        "a generator that nobody knows",
        "extension modules with random state of their own",
        "its text is recognised in the loaded file; no such process is called protected",
        "unexamined",
        "process/test_unexamined.py::test_both_views_say_the_same",
    ),
    (
        "the counter is missing, broken, or written by nobody any more",
        "every program there",
        "`status` says which and why, and calls no such process protected; `doctor` says what to do",
        "told",
        "process/test_bad_sources.py::test_reason_is_told_and_program_runs",
    ),
)


def rows() -> list[tuple[str, str, str, str, str]]:
    found = []
    for hazard, named in HAZARDS.items():
        for name, test in named.items():
            guard = table.load(name)
            how = guard.note() if name in table.NAMED else first_paragraph(type(guard))
            found.append((hazard, f"{name}: {', '.join(guard.covers)}", how, guard.level, test))
    return [*found, *OTHERS]


def matrix() -> str:
    lines = ["| hazard | who is hit | what we do | level | test |", "|---|---|---|---|---|"]
    before = ""
    for hazard, who, what, level, test in rows():
        file, _, function = test.partition("::")
        link = f"[{function.removeprefix('test_').replace('_', ' ')}](../tests/{file})"
        cells = ("″" if hazard == before else hazard, who, what, level, link)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        before = hazard
    levels = [one.level for one in examined.EXAMINED]
    counts = ", ".join(f"{levels.count(level)} {level}" for level in examined.LEVELS)
    limits = "".join(f"- {limit}\n" for limit in LIMITS)
    return (
        "\n".join(lines)
        + f"\n\nOf libraries {len(levels)} were measured in clones ([libraries.md](libraries.md)), each called "
        f"what its worst surface is: {counts}.\n\nNever covered:\n\n{limits}"
    )


def filled(text: str) -> str:
    return between(text, BEGIN, f"\n{matrix()}\n", END)


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(filled(document.read_text()))
