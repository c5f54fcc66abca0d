"""snapsafe dbus: translates between D-Bus and the manager, in a process of its own."""

import argparse

from snapsafe_rt import settings
from snapsafe_rt.errors import CONFIGURATION, FAILED, NOT_PERMITTED, OK, Failure

EXAMPLES = ("snapsafe dbus", "snapsafe dbus --bus session")
EXITS = {
    OK: "ended by SIGTERM",
    FAILED: "no bus, or its name is taken",
    NOT_PERMITTED: "the bus does not permit the name",
    CONFIGURATION: "there is no jeepney",
}


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
        "It takes the name org.snapsafe.Manager1, and stays in the foreground. It needs jeepney: the extra `dbus`. "
        "A manager that is not there, or is restarted, is waited for. SIGTERM ends it."
    )


def main(options: argparse.Namespace) -> int:
    try:
        from snapsafe_rt.manager import dbus
    except ImportError as error:
        raise Failure(f"no D-Bus without jeepney ({error}): pip install 'snapsafe-rt[dbus]'", CONFIGURATION) from None
    return dbus.run(options.bus, options.socket)
