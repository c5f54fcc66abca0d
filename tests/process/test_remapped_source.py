"""CRIU maps files by path again: on another host the source's page is of another file, with another history.

Here the page is exchanged in a living process; tests/criu does it with CRIU.
"""

import pytest

from ..conftest import PROGRAMS


def test_hosts_do_not_use_up_what_a_process_may_map(run_python, source_file):
    """SS_SOURCE_MAX in cython/source.h is 16."""
    run_python(PROGRAMS / "remapped_sources.py", source_file.path, env={**source_file.env, "SNAPSAFE_WATCH": "0"})


@pytest.mark.parametrize(
    ("generation", "way", "cause"),
    [
        (7, "remapped", "generation"),
        (1, "remapped", "source"),  # the history of the other host is at the same number
        (1, "replaced", "source"),  # the twin: nobody remapped it, so the process watches a file that nobody moves
    ],
)
def test_a_page_of_another_file_is_one_restore(run_python, source_file, generation, way, cause):
    said = run_python(
        PROGRAMS / "remapped_source.py",
        source_file.path,
        generation,
        way,
        env={**source_file.env, "SNAPSAFE_WATCH": "0"},
    )
    assert said.splitlines() == [f"1 [1] {cause}"] * 3 + ["2 [1, 1]"]
