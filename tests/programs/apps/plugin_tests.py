"""Tests of a program's own, in each way that the plugin has; run by tests/process/test_pytest_plugin.py."""

import asyncio
import random
import threading
import unittest

import pytest

from snapsafe_rt.testing.safe import clone_safe

KEPT = random.random()


@pytest.mark.clone_safe
def test_drawn():
    return random.random()


@pytest.mark.clone_safe(clones=3)
class TestClass:
    @pytest.mark.parametrize("count", [1, 2])
    def test_drawn_by_name(self, count, tmp_path):
        return {"codes": [random.random() for _ in range(count)], "in threads": in_threads()}


@pytest.mark.clone_safe
async def test_drawn_on_a_loop():
    await asyncio.to_thread(in_threads)
    return random.random()


def in_threads():
    drawn = []
    threads = [threading.Thread(target=lambda: drawn.append(random.random())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return drawn


def test_drawn_in_clones(snapsafe_clones):
    first = []
    made = snapsafe_clones(4, lambda: (first, random.random()), before=lambda: first.append(random.random()))
    assert all(len(one[0]) == 1 for one in made)
    assert first == []
    assert len({one[0][0] for one in made}) == 1  # drawn before the snapshot
    assert len({one[1] for one in made}) == 4


class Drawn(unittest.TestCase):
    @clone_safe(clones=3)
    def test_drawn(self):
        return random.random()


class DrawnOnALoop(unittest.IsolatedAsyncioTestCase):
    @clone_safe(clones=3)
    async def test_drawn(self):
        await asyncio.sleep(0)
        return random.random()


@pytest.mark.clone_safe
def test_planted():
    return {"kept": KEPT, "drawn": random.random()}
