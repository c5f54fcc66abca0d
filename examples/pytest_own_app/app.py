"""The application under test: it gives out codes, and no code may be given out twice."""

import random


def invitation():
    return "".join(random.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=12))


def sample_rows(seed=42):
    """Test data: meant to be the same each time, so it has a chosen seed."""
    dice = random.Random(seed)
    return [dice.randrange(1000) for _ in range(5)]
