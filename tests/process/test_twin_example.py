"""The worked example of tests/README.md: a protection, and the twin that shows what it protects from."""

import pytest

CLONES = 50

DRAWS = """
    import random
    from drawing import distinct
    draw = lambda: str(random.random()).encode()
    print(distinct(draw, prepare=draw))
"""


@pytest.mark.parametrize("activated", [True, False], ids=["", "twin"])
def test_random_in_clones(run_python, source_file, activated):
    env = source_file.env if activated else {}
    different = int(run_python(DRAWS, source_file.path, env=env, activated=activated))
    assert different == (CLONES if activated else 1)
