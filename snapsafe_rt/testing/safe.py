"""Tests that a program may be cloned: a function is called in clones of this process, and no two may return the same.

Each clone is restored as a program is: the source that it watches moves, and the restore event runs. Where this process
is not activated, nothing of that protects it, and the test shows what repeats.

For pytest snapsafe_rt.testing.plugin has a marker and fixtures; for unittest `clone_safe` below is a decorator.
"""

import contextlib
import functools
import inspect
import os
import pickle
import sys
import tempfile
import threading
import time
import traceback
import unittest
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import snapsafe_rt
from snapsafe_rt.guards import table as guards
from snapsafe_rt.restore import events
from snapsafe_rt.source.vmclock_file import FileSource, private_folders
from snapsafe_rt.state import state
from snapsafe_rt.testing.alike import Leaf, compare, leaves, table
from snapsafe_rt.testing.clones import PARALLEL, TIMEOUT, CloneError, run_clones

__unittest = True  # unittest leaves our frames out of its tracebacks
CLONES = 8
PLAIN = (
    "plain clones: the kernel permits no namespaces here, so their pids differ, and what looks at its pid (OpenSSL, "
    "tempfile) renews itself; run as root, or permit user namespaces, to see it as in a restored machine"
)
KEPT = (
    "What a program draws before a snapshot and keeps is the same in every clone: make it by "
    "snapsafe_rt.per_generation, or renew it in a callback (docs/testing.md)."
)
HERE = {"SNAPSAFE_WATCH": "0", "SNAPSAFE_STRICT": "0"}  # in the process that is cloned
FIRST = "the call before the clones are made"
LEFT = (
    "before the clones are made it was called once, and began threads that went on: {}. Clones have the calling thread "
    "alone, and would wait for those in vain: end them in the test, or mark it with warm_up=False"
)
BARE = (
    "Nothing protects this process ({}). Protect it as the service will be: `snapsafe run python -m pytest`, or "
    "`usefixtures = snapsafe_source` in pytest's configuration (docs/testing.md)."
)


class Raised(NamedTuple):
    """What the function raised in a clone: the name of the exception's class, its message, the traceback as text."""

    kind: str
    message: str
    text: str

    @property
    def told(self) -> str:
        plain = self.kind in ("Unfit", "Failed")  # a sentence of ours, or of pytest.fail()
        return self.message if plain else f"in a clone of this process:\n{self.text}"


class Answer(NamedTuple):
    value: Any
    raised: Raised | None
    notes: list[str]  # of the template: why something in it is not protected


class Answers(list[Answer]):
    isolation = ""
    seconds = 0.0

    @property
    def raised(self) -> Raised | None:
        return next((one.raised for one in self if one.raised is not None), None)


class Same(AssertionError):
    """Two clones returned the same."""


class NotMade(RuntimeError):
    """The clones could not be made or did not come to their end, so that nothing was shown."""


@contextlib.contextmanager
def activated(own: FileSource) -> Iterator[None]:
    """This process watches that file until the end of the block, and afterwards what it watched before."""
    before = [candidate.name for candidate in state.candidates] if state.active else None
    snapsafe_rt.deactivate()
    snapsafe_rt.activate(own.uri)
    try:
        yield
    finally:
        snapsafe_rt.deactivate()
        if before is not None:
            snapsafe_rt.activate(before)


@contextlib.contextmanager
def source() -> Iterator[FileSource]:
    """A file source of one's own, until the end of the block. Raises NotMade where no folder is fit for one."""
    folders = private_folders()
    if not folders:
        raise NotMade("no folder here is fit for a file source: it takes a tmpfs that this user may write, as /dev/shm")
    with tempfile.TemporaryDirectory(prefix="snapsafe-test-", dir=folders[0], ignore_cleanup_errors=True) as folder:
        yield FileSource(os.path.join(folder, "vmclock0")).create()


def restored(function: Callable[..., Any], at_once: bool = False) -> Callable[..., Any]:
    """The same function as a restored program calls it: after the restore event, unless `at_once`."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*args: Any, **kwargs: Any) -> Any:
            if not at_once:
                await snapsafe_rt.acheck()
            return await function(*args, **kwargs)

        return later

    @functools.wraps(function)
    def now(*args: Any, **kwargs: Any) -> Any:
        if not at_once:
            snapsafe_rt.check()
        return function(*args, **kwargs)

    return now


def attempt(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; what it raises comes as a Raised that can be sent."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                return _raised(error)

        return later

    @functools.wraps(function)
    def now(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            return _raised(error)

    return now


def _raised(error: BaseException) -> Raised:
    where = error.__traceback__
    while where is not None and where.tb_frame.f_code.co_filename == __file__:
        where = where.tb_next
    text = "".join(traceback.format_exception(type(error), error, where))
    return Raised(type(error).__name__, str(error), text)


def call(function: Callable[[], Any]) -> Any:
    """A coroutine function on a loop of its own."""
    if inspect.iscoroutinefunction(function):
        import asyncio

        return asyncio.run(function())
    return function()


def call_in_clones(
    count: int,
    function: Callable[[], Any],
    *,
    before: Callable[[], object] | None = None,
    take: Callable[[Any], Any] = lambda value: value,
    timeout: float = TIMEOUT,
    parallel: int = PARALLEL,
    progress: Callable[[int], object] | None = None,
) -> Answers:
    """What `take` makes, in each of `count` clones, of what `function` returns there; it is pickled. `before`: called
    once, in the process that is cloned, as what the program did before the snapshot. What is raised is in the answers.

    This process stays as it is: its source does not move. Raises NotMade.
    """
    notes: list[str] = []
    failed: list[Raised] = []

    def prepare() -> None:
        watch(own)
        if before is not None:
            brought = _tasks()  # by what a library does in each fork, as ddtrace
            value = attempt(before)()
            failed.extend([value] if isinstance(value, Raised) else [])
            watch(own)  # it may be `before` that activated it
            if not failed and (left := _other_threads(brought)):
                failed.append(Raised("Unfit", LEFT.format(", ".join(left)), ""))
        notes.extend(_notes())

    def body(number: int) -> bytes:
        value = failed[0] if failed else attempt(lambda: take(call(function)))()
        for stream in filter(None, (sys.stdout, sys.stderr)):  # the clone ends without that
            stream.flush()
        is_error = isinstance(value, Raised)
        return pickle.dumps(Answer(None if is_error else value, value if is_error else None, notes))

    others = [one.name for one in threading.enumerate() if one is not threading.current_thread()]
    with source() as own:
        try:
            made = run_clones(
                count, body, prepare=prepare, source=own, timeout=timeout, parallel=parallel, progress=progress
            )
        except CloneError as error:
            why = f"\nClones have the calling thread alone, and none of these: {', '.join(others)}." if others else ""
            what = str(error).replace("prepare", FIRST, 1) if str(error).startswith("prepare ") else str(error)
            raise NotMade(f"{what}{why if 'in time' in what else ''}") from None
    if not all(made):
        raise NotMade(f"clone {made.index(b'')} ended before it answered: something in it called os._exit()")
    answers = Answers(pickle.loads(one) for one in made)  # noqa: S301 - our own clones'
    answers.isolation, answers.seconds = made.isolation, made.seconds
    return answers


def _tasks() -> set[str]:
    """The threads of this process, by the numbers by which this /proc knows them."""
    return set(os.listdir("/proc/self/task"))


def _other_threads(brought: set[str]) -> list[str]:
    """Names of those that are new and do not end within a second. The kernel knows more than threading does, and for a
    moment longer."""
    until = time.monotonic() + 1
    while True:
        others = _tasks() - brought
        if not others or time.monotonic() > until:
            break
        time.sleep(0.001)
    if not others:
        return []
    known = [one.name for one in threading.enumerate() if one is not threading.current_thread()][: len(others)]
    return known + ["a thread of native code"] * (len(others) - len(known))


def watch(own: FileSource) -> None:
    """Have this process watch that file and no other source, without a watcher's thread, and count nothing for it.

    Runs in the process that is cloned. A thread there would see what the first clone writes, and renew the later ones.
    """
    if not state.active or [candidate.name for candidate in state.candidates] == [own.uri]:
        return
    snapsafe_rt.deactivate()
    given = {name: os.environ.get(name) for name in HERE}
    os.environ.update(HERE)
    snapsafe_rt.activate(own.uri)
    for name, value in given.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    events.delivery.note_delivered(snapsafe_rt.epoch())


def _notes() -> list[str]:
    if not state.active:
        return [BARE.format(state.why_not)]
    status = snapsafe_rt.status()
    told = [
        f"{row.name} is {row.protection}: {row.note}"
        for row in status.rows
        # What waits for a watcher here, because watch() allows none, was renewed by the restore event.
        if row.protection in ("unprotected", "unexamined", "kept") and not guards.needs_event(row.name)
    ]
    return [*told, KEPT]


def apart(value: Any) -> list[Leaf] | Raised:
    """What a test returned, to be compared; what it raised stays. Raises Unfit."""
    if isinstance(value, Raised):
        return value
    return list(leaves(value))


def told(answers: Answers) -> str:
    """What is wrong with what the clones returned, as a text; "" if no two are alike. Their values are apart()'s."""
    rows = compare([one.value for one in answers])
    if not rows:
        return ""
    how = f"\n({PLAIN})" if answers.isolation == "none" else ""
    values = "1 value" if len(rows) == 1 else f"{len(rows)} values"
    title = f"{len(answers)} clones of this process: {values} came out alike{how}"
    return "\n".join([title, "", table(rows, len(answers)), "", *answers[0].notes])


def arguments(
    clones: int = CLONES, *, warm_up: bool = True, at_once: bool = False, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """What `clone_safe` takes. Raises TypeError or ValueError for all else."""
    if isinstance(clones, bool) or not isinstance(clones, int) or clones < 2:
        raise ValueError(f"clones={clones!r} is no whole number from 2 on")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < threading.TIMEOUT_MAX:
        raise ValueError(f"timeout={timeout!r} is no number of seconds")
    return {"clones": clones, "warm_up": warm_up, "at_once": at_once, "timeout": timeout}


def assert_clone_safe(
    function: Callable[[], Any],
    clones: int = CLONES,
    *,
    warm_up: bool = True,
    at_once: bool = False,
    timeout: float = TIMEOUT,
) -> None:
    """Call a function in clones of this process: no two may return the same. Raises Same, an AssertionError with a
    table of what was alike; what the function raised, as an AssertionError with its traceback; SkipTest; NotMade.

    The function returns what must differ: a value, a list of them, or a dict of them by name. `warm_up`: it is called
    once before the clones are made, as a program that has served before its snapshot. `at_once`: it runs in each clone
    at once, before the restore event has run there.
    """
    __tracebackhide__ = True
    arguments(clones, warm_up=warm_up, at_once=at_once, timeout=timeout)
    before = functools.partial(call, function) if warm_up else None
    answers = call_in_clones(clones, restored(function, at_once), before=before, take=apart, timeout=timeout)
    raised = answers.raised
    if raised is not None and raised.kind == "SkipTest":
        raise unittest.SkipTest(raised.message)
    if raised is not None:
        raise AssertionError(raised.told)
    if text := told(answers):
        raise Same(text)


def clone_safe(
    clones: int = CLONES, *, warm_up: bool = True, at_once: bool = False, timeout: float = TIMEOUT
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """A decorator for methods of unittest.TestCase, also `async def`: see assert_clone_safe(). setUp() runs before the
    snapshot, the method in each clone."""
    given = arguments(clones, warm_up=warm_up, at_once=at_once, timeout=timeout)

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(function)
        def test(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            assert_clone_safe(functools.partial(function, *args, **kwargs), **given)

        del test.__wrapped__  # else whoever unwraps it takes it for a coroutine function
        return test

    return decorate
