"""The pytest plugin: fixtures for clones and restores, and a marker that runs a test in clones of the process.

pytest imports it in every run, so it imports nothing but pytest until a test asks for something of it.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from snapsafe_rt.source.vmclock_file import FileSource
    from snapsafe_rt.testing.safe import Answers

MARK = "clone_safe"
PROPERTY = "snapsafe_clones"  # of a test: how its clones were made
SHARED = {"capfd", "capfdbinary"}
ASYNC_MARKS = ("anyio", "asyncio", "trio", "twisted")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARK}(clones=8, warm_up=True, at_once=False, timeout=60): run the test in clones of this process; it "
        "returns what no two of them may return alike (snapsafe_rt, docs/testing.md)",
    )


# ---- fixtures ----


@pytest.fixture(scope="session")
def _snapsafe_file() -> "Iterator[FileSource]":
    from snapsafe_rt.testing import safe

    with safe.source() as file:
        yield file


@pytest.fixture
def snapsafe_source(_snapsafe_file: "FileSource") -> "Iterator[FileSource]":
    """A source for this test: this process is activated and watches it. `bump()` is a restore."""
    from snapsafe_rt.testing import safe

    with safe.activated(_snapsafe_file):
        yield _snapsafe_file


@pytest.fixture
def snapsafe_restore(snapsafe_source: "FileSource") -> Callable[[], int]:
    """snapsafe_restore(): this very process is restored, and the restore event has run. Returns the epoch."""
    from snapsafe_rt.restore import events

    def restore() -> int:
        snapsafe_source.bump()
        return events.check()

    return restore


@pytest.fixture
def snapsafe_clones(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """snapsafe_clones(n, function): what the function returns in each of n clones of this process. The values are
    pickled. `before`: called once, before the snapshot; `at_once`: do not run the restore event first."""
    from snapsafe_rt.testing import clones, safe

    def make(
        count: int,
        function: Callable[[], Any],
        *,
        before: Callable[[], object] | None = None,
        at_once: bool = False,
        timeout: float = clones.TIMEOUT,
    ) -> list[Any]:
        answers = _made(
            request.node,
            lambda: safe.call_in_clones(count, safe.restored(function, at_once), before=before, timeout=timeout),
        )
        return [one.value for one in answers]

    return make


# ---- the marker ----


class _Case:
    """A marked test. In the process that is cloned, and in each clone, pytest and its plugins run it as they always do,
    so that those for asyncio have their part. They do not tell what it returned, so that is kept on its way."""

    def __init__(self, item: pytest.Function, given: dict[str, Any]) -> None:
        import inspect

        self.item, self.given, self.function, self.runtest = item, given, item.obj, item.runtest
        self.called: Callable[..., Any] = item.obj
        self.kept: list[Any] = []
        is_async = inspect.iscoroutinefunction(item.obj)
        marked = any(item.get_closest_marker(name) for name in ASYNC_MARKS)
        elsewhere = type(item) is not pytest.Function or marked or "anyio_backend" in item.fixturenames
        self.own_loop = is_async and not elsewhere
        self.shared_loop = is_async and elsewhere
        self.wrapped = item.obj = self._keeping()
        item.runtest = self.run  # type: ignore[method-assign]

    def _keeping(self) -> Callable[..., Any]:
        import asyncio
        import functools

        if self.shared_loop:

            @functools.wraps(self.function)
            async def later(*args: Any, **kwargs: Any) -> None:
                self.kept = [await self.called(*args, **kwargs)]

            return later

        @functools.wraps(self.function)
        def now(*args: Any, **kwargs: Any) -> None:
            value = self.called(*args, **kwargs)
            self.kept = [asyncio.run(value) if self.own_loop else value]

        if self.own_loop:
            del now.__wrapped__  # pytest would see a coroutine function
        return now

    def _called_as(self, function: Callable[..., Any]) -> Any:
        from snapsafe_rt.testing import safe

        self.called, self.kept = safe.attempt(function), []
        self.runtest()
        if not self.kept:
            raise RuntimeError("another plugin did not call the test function itself")
        return self.kept[0]

    def run(self) -> None:
        from snapsafe_rt.testing import clones, safe

        after = safe.restored(self.function, self.given.get("at_once", False))
        warm_up = self.given.get("warm_up", True)
        answers = _made(
            self.item,
            lambda: safe.call_in_clones(
                self.given.get("clones", safe.CLONES),
                lambda: self._called_as(after),
                before=(lambda: self._called_as(self.function)) if warm_up else None,
                take=safe.apart,
                timeout=self.given.get("timeout", clones.TIMEOUT),
                # The clones share the descriptors of a loop that was there before, and the files that capfd reads: they
                # would take each other's wakeups and output.
                parallel=1 if self.shared_loop or SHARED & set(self.item.fixturenames) else clones.PARALLEL,
            ),
        )
        if text := safe.told(answers):
            pytest.fail(text, pytrace=False)


_case = pytest.StashKey[_Case]()


def _made(item: pytest.Item, make: "Callable[[], Answers]") -> "Answers":
    """Answers without what was raised: that goes on here."""
    from snapsafe_rt.testing import safe

    try:
        answers, why_not = make(), ""
    except safe.NotMade as error:
        answers, why_not = safe.Answers(), str(error)
    if why_not:  # outside of the block: else pytest shows it twice
        pytest.fail(why_not, pytrace=False)
    item.user_properties.append((PROPERTY, answers.isolation))
    raised = answers.raised
    if raised is None:
        return answers
    if raised.kind in ("Skipped", "SkipTest"):
        pytest.skip(raised.message)
    if raised.kind == "XFailed":
        pytest.xfail(raised.message)
    pytest.fail(raised.told, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    marker = item.get_closest_marker(MARK)
    if marker is None:
        return
    import unittest

    from snapsafe_rt.testing import safe

    cls = getattr(item, "cls", None)
    if not isinstance(item, pytest.Function) or (isinstance(cls, type) and issubclass(cls, unittest.TestCase)):
        pytest.fail(
            f"the marker {MARK} is for test functions; for methods of unittest.TestCase there is the decorator "
            f"snapsafe_rt.testing.safe.{MARK}",
            pytrace=False,
        )
    if case := item.stash.get(_case, None):
        if item.obj is case.wrapped:
            return
        # Run once more, by a plugin that repeats what fails: pytest made its function anew.
        item.runtest = case.runtest  # type: ignore[method-assign]
    try:
        given, wrong = safe.arguments(*marker.args, **marker.kwargs), ""
    except (TypeError, ValueError) as error:
        given, wrong = {}, str(error)
    if wrong:
        pytest.fail(f"{MARK}: {wrong}", pytrace=False)
    item.stash[_case] = _Case(item, given)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    plain = {
        report.nodeid
        for reports in terminalreporter.stats.values()
        for report in reports
        if (PROPERTY, "none") in map(tuple, getattr(report, "user_properties", ()))
    }
    if plain:
        from snapsafe_rt.testing.safe import PLAIN

        terminalreporter.write_line(f"snapsafe: {len(plain)} {'test' if len(plain) == 1 else 'tests'} had {PLAIN}")
