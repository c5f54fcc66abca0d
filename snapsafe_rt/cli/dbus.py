"""snapsafe dbus: translates between D-Bus and the manager, in a process of its own."""

import argparse

from snapsafe_rt import settings
from snapsafe_rt.errors import CONFIGURATION, Failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bus",
        metavar="ADDRESS",
        default="system",
        help="system, session, or the address of another bus (default: %(default)s)",
    )
    parser.add_argument(
        "--socket", metavar="PATH", default=settings.MANAGER, help="where the manager is (default: %(default)s)"
    )
    parser.epilog = (
        "Takes the name org.snapsafe.Manager1, and stays in the foreground. It needs jeepney: the extra `dbus`.\n"
        "A manager that is not there, or is restarted, is waited for. Ends with SIGTERM."
    )


def main(options: argparse.Namespace) -> int:
    try:
        from snapsafe_rt.manager import dbus
    except ImportError as error:
        raise Failure(f"no D-Bus without jeepney ({error}): pip install 'snapsafe-rt[dbus]'", CONFIGURATION) from None
    return dbus.run(options.bus, options.socket)
