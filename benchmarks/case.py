"""What a file of benchmarks/paths lists: one measurement each, and its bar."""

from dataclasses import dataclass

SOURCES = {
    # name: synchronous, the manager says that the kernel was reseeded (so the fence is down)
    "file": (False, False),
    "reseeded": (False, True),
    "synchronous": (True, False),
    "device": (True, True),
    "none": None,
}


def amount(value: float, unit: str) -> str:
    if unit == "ns":
        for scale, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if abs(value) >= scale:
                return f"{value / scale:.3g} {name}"
    return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:.0f} {unit}"


@dataclass(frozen=True)
class Case:
    """A statement that is run in turn by a process without and by one with snapsafe_rt.

    setup, statement: Python; the names of benchmarks/helpers.py are there.
    own: the statement's value is the measurement (in `unit`), for not all of it is to be measured; else it is timed.
    source: what the process with snapsafe_rt watches, of SOURCES.
    rival: setup of the process without, which then stands for another way to get the same; `needs` its module.
    The bar holds if `ratio` (with / without) or `more` (with - without) does, as far as given, and `most` (with) does.
    stays: how the process knows that the condition to be measured held to the end.
    counted: its instructions are bound by benchmarks/instructions.json.
    """

    name: str
    statement: str
    setup: str = ""
    own: bool = False
    unit: str = "ns"
    source: str = "file"
    rival: str | None = None
    needs: str | None = None
    ratio: float | None = None
    more: float | None = None
    most: float | None = None
    stays: str = "True"
    since: tuple[int, int] = (3, 10)
    until: tuple[int, int] = (3, 99)
    calls: int | None = None  # in a round; else as many as fill it
    rounds: int = 30
    processes: int = 5
    counted: bool = False

    def bar(self) -> str:
        either = [f"x {self.ratio:g}"] if self.ratio is not None else []
        either += [f"+{amount(self.more, self.unit)}"] if self.more is not None else []
        words = [" or ".join(either)] if either else []
        words += [amount(self.most, self.unit)] if self.most is not None else []
        return ", ".join(words)

    def holds(self, ratio: float, more: float, most: float) -> bool | None:
        """None: there is no bar."""
        either = [ratio <= self.ratio] if self.ratio is not None else []
        either += [more <= self.more] if self.more is not None else []
        every = [any(either)] if either else []
        every += [most <= self.most] if self.most is not None else []
        return all(every) if every else None
