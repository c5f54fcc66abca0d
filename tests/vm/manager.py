"""The manager in a guest with systemd, asked as its users ask it."""

import json

SOCKET, FILE = "/run/snapsafe/org.snapsafe.Manager", "/run/snapsafe/vmclock0"


def call(guest, method, user="root", **parameters):
    """By systemd's own client: what is answered, or the error's text."""
    words = "varlinkctl", "--json=short", "call", SOCKET, f"org.snapsafe.Manager.{method}", json.dumps(parameters)
    code, out, error = guest.run_command("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *words)
    return json.loads(out) if code == 0 else error


def described(guest, true=lambda found: True):
    """What the manager says of itself, once it can be asked and that is true."""

    def ask():
        found = call(guest, "Describe")
        return found if isinstance(found, dict) and true(found) else None

    return guest.until(ask)
