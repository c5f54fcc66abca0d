"""The one table of what each way of activation reaches. The commands, docs/activation.md and the tests read it."""

from typing import NamedTuple

WAYS = {
    "run": "snapsafe run",
    "bundle": "snapsafe bundle",
    "install": "snapsafe install",
    "stdlib": "snapsafe install --stdlib",
    "call": "snapsafe_rt.activate()",
}
BY_PATH = ("run", "bundle")  # they put a folder on PYTHONPATH

_NO_PATH = "PYTHONPATH is ignored"
_NO_SITE = "site is not imported"
_BUILT = "its core is built for one version of Python"


class Case(NamedTuple):
    """A way of starting Python. `but` has the ways that do not reach it, with the reason; every other one does."""

    name: str
    words: str
    but: dict[str, str]


# Option: none means a plain start.
OPTIONS = (
    Case("", "python app.py", {}),
    Case("-E", "python -E", dict.fromkeys(BY_PATH, _NO_PATH)),
    Case("-I", "python -I", dict.fromkeys(BY_PATH, _NO_PATH)),
    Case("-S", "python -S", dict.fromkeys((*BY_PATH, "install", "stdlib"), _NO_SITE)),
    Case("-s", "python -s", {}),
    Case("-P", "python -P (3.11)", {}),
    Case("-X frozen_modules=off", "python -X frozen_modules=off (3.11)", {}),
)

PLACES = (
    Case("child", "a Python that the program starts", {"call": "each calls activate() itself"}),
    Case("zipapp", "a zipapp (python app.pyz)", {}),
    Case("venv", "a virtual environment of that interpreter", {"install": "has site-packages of its own"}),
    Case("uv", "a virtual environment that uv made of it", {"install": "has site-packages of its own"}),
    Case("shared", "the same with --system-site-packages", {}),
    Case(
        "other",
        "another version of Python",
        {
            "run": _BUILT,
            "install": "has site-packages of its own",
            "stdlib": "has a library of its own",
            "call": _BUILT,
        },
    ),
)

_HIDDEN = "its sitecustomize hides ours: put `snapsafe run` behind it, or use snapsafe install"

TOOLS = (
    Case("coverage", "coverage run app.py", {}),
    Case("ddtrace", "ddtrace-run python app.py", {}),
    Case(
        "opentelemetry",
        "opentelemetry-instrument python app.py",
        dict.fromkeys((*BY_PATH, "stdlib"), _HIDDEN),
    ),
    Case("debugpy", "python -m debugpy --listen PORT app.py", {}),
    Case("gevent", "gevent.monkey.patch_all()", {}),
    Case("xdist", "a worker of pytest -n 2", {}),
    Case("ipython", "ipython app.py", {}),
)


def unreached(way: str) -> list[str]:
    """Sentences for a person: what this way does not reach."""
    return [f"{case.words}: {case.but[way]}" for case in (*OPTIONS, *PLACES, *TOOLS) if way in case.but]
