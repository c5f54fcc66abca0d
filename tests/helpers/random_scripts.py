"""What the scripts of test_random.py and test_seeds.py have in common."""

# Shared by the scripts: bump() moves the generation, as a restore does.
HEAD = """
    import copy, os, pickle, random, secrets, sys, threading
    import _random
    import snapsafe_rt
    from stage import bump
    path = sys.argv[1]

    def stock(rng, draw):
        '''What `rng` would draw next without a restore: a copy of its state in an instance whose state was chosen.'''
        twin = random.Random(0)
        twin.setstate(tuple(rng.getstate()))
        return draw(twin)
"""


def differs(make, draw):
    """A script that fails unless the restored instance draws other values than its template went on to."""
    return f"""
    {make}
    {draw}
    expected = stock(rng, lambda rng: {draw})
    bump()
    assert {draw} != expected, "drew what the template would have drawn"
    """
