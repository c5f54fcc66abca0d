"""Coroutines that a plugin of others runs, on a loop that its fixtures share."""

import asyncio
import random

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
async def drawn(anyio_backend):
    return random.random()


@pytest.mark.anyio
@pytest.mark.clone_safe(clones=3, warm_up=False)  # trio keeps a thread for later
async def test_drawn(anyio_backend):
    import anyio

    await anyio.sleep(0.001)
    return random.random()


@pytest.mark.anyio
@pytest.mark.clone_safe(clones=3)
async def test_planted(drawn):
    return drawn


@pytest.mark.asyncio
@pytest.mark.clone_safe(clones=3, warm_up=False)
async def test_drawn_after_a_thread():
    await asyncio.to_thread(random.random)
    return random.random()
