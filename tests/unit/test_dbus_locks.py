"""How many locks the D-Bus facade gives: those that are being asked for count."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest

pytest.importorskip("jeepney")

from snapsafe_rt.manager import dbus

pytestmark = pytest.mark.any_python


class Facade(dbus.Facade):
    """Without a bus; its manager answers when the test says so."""

    def __init__(self, uid, failing=False):
        self._locks, self._of_user = {}, Counter()
        self._uid, self._failing = uid, failing
        self.answered = asyncio.Event()

    async def _caller(self, sender):
        await asyncio.sleep(0)
        return self._uid, 1

    async def _take_lock(self, body, uid, pid):
        await self.answered.wait()
        if self._failing:
            raise dbus.Refused("failed", "")
        return (0,)


@pytest.mark.parametrize(("uid", "most"), [(1000, dbus.LOCKS_OF_ONE_USER), (0, dbus.LOCKS_MOST)])
@pytest.mark.parametrize("failing", [False, True])
def test_all_at_once(uid, most, failing):
    async def ask():
        facade = Facade(uid, failing)
        message = SimpleNamespace(header=SimpleNamespace(fields={}), body=("", "", "", ""))
        tasks = [asyncio.create_task(facade.Inhibit(message)) for _ in range(most + 100)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert not facade._locks  # the twin: by those that are held, all would be given
        facade.answered.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, dbus.Refused) and "LimitsExceeded" in one.name]
        return len(refused), facade._of_user[uid]

    assert asyncio.run(ask()) == (100, 0 if failing else most)
