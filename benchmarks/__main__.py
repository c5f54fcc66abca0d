"""python -m benchmarks [-k WORD] [--processes N] [--growth | --outside ENVIRONMENTS] [--docs FOLDER]: measures, and
prints the table.

Exit code 1 if a bar is missed.
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import sys
import sysconfig
import time

from benchmarks import growth, outside, outside_report, page, pairs, paths, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("-k", default="", metavar="WORD", help="only cases whose file or name has it")
    parser.add_argument("--processes", type=int, metavar="N", help="pairs of processes a case")
    parser.add_argument("--growth", action="store_true", help="how cost grows, instead; with -k, only such curves")
    parser.add_argument(
        "--outside",
        metavar="ENVIRONMENTS",
        help="pyperformance and popular applications, instead, in the environments there, which .ci/bench makes",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=30,
        metavar="N",
        help="how long --outside may take, about",
    )
    parser.add_argument("--cpu", type=int, metavar="N", help="the CPU that --outside measures on; else the last")
    parser.add_argument(
        "--docs",
        metavar="FOLDER",
        help="put what was found into performance.json there, and make performance.md and its charts of that",
    )
    options = parser.parse_args()
    if options.growth:
        return grow(options.k, options.docs)
    if options.outside:
        return whole_programs(options)
    chosen = [(file, case) for file, case in paths.every() if options.k in f"{file} {case.name}"]
    if not chosen:
        parser.error(f"no case has {options.k!r}")
    rows, begin = [], time.monotonic()
    for number, (file, case) in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {case.name} ... ", end="", flush=True, file=sys.stderr)
        if case.needs and importlib.util.find_spec(case.needs) is None:
            print(f"skipped: {case.needs} is not installed", file=sys.stderr)
            continue
        try:
            row = {"path": file, **pairs.run(case, processes=options.processes)}
        except pairs.Failed as error:
            row = {"path": file, "name": case.name, "bar": case.bar(), "ok": False, "error": str(error)}
        rows.append(row)
        print(report.verdict(row), report.reached(row), file=sys.stderr)
    result = {"machine": machine(), "seconds": round(time.monotonic() - begin), "rows": rows}
    if options.docs:
        page.add(result, options.docs, whole=not options.k)
    print(report.table(rows))
    return int(any(row["ok"] is False for row in rows))


def grow(word: str, docs: str | None) -> int:
    """Nothing has a bar here. Raises pairs.Failed."""
    curves = growth.measure(word)
    if docs:
        page.add_growth({"machine": machine(), "curves": curves}, docs, whole=not word)
    return 0


def whole_programs(options: argparse.Namespace) -> int:
    """Exit code 1 if the geometric mean's bar is missed: of one benchmark above its own the page tells."""
    found = outside.measure(options.outside, options.k, options.minutes * 60, options.cpu, machine)
    if options.docs:
        page.add_outside(found, options.docs, whole=not options.k)
    rows = found["pyperformance"]["rows"]
    print(outside_report.summary(found))
    return int(not rows or outside.verdict(rows) == "missed")


def machine() -> dict[str, str]:
    import ssl
    from importlib.metadata import PackageNotFoundError, version

    peers = []
    for peer in ("uuid_utils", "fastuuid", "ddtrace", "opentelemetry-instrumentation"):
        with contextlib.suppress(PackageNotFoundError):
            peers.append(f"{peer} {version(peer)}")
    abi = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    with open("/proc/cpuinfo") as file:
        cpu = next(
            (line.partition(": ")[2].strip() for line in file if line.startswith("model name")), platform.machine()
        )
    return {
        "cpu": f"{cpu}, {os.cpu_count()} CPUs",
        "load": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {platform.python_version()}{abi}, {platform.python_compiler()}",
        "openssl": ssl.OPENSSL_VERSION,
        "peers": ", ".join(peers) or "none installed",
    }


if __name__ == "__main__":
    sys.exit(main())
