"""A stand-in for systemd-logind on a real dbus-daemon of the test's own: Inhibit, PrepareForSleep, PreparingForSleep.

python logind.py       speaks with the bus of DBUS_SYSTEM_BUS_ADDRESS; commands come on stdin, one a line, and each
                       is answered with one line: "locks", "sleep" (waits for the locks), "wake", "refuse NAME"
"""

import os
import select
import shutil
import subprocess
import sys

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/> <allow eavesdrop="true"/> <allow own="*"/> <allow user="*"/>
  </policy>
</busconfig>
"""
NAME, PATH, INTERFACE = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"


class Logind:
    """The bus and the service. Raises FileNotFoundError where there is no dbus-daemon."""

    def __init__(self, folder):
        if not shutil.which("dbus-daemon"):
            raise FileNotFoundError("dbus-daemon")
        self.folder, self.path = folder, folder / "bus"
        (folder / "bus.conf").write_text(CONFIG.format(path=self.path))
        self.env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.path}"}
        self.bus = self.service = None

    def start(self):
        command = ["dbus-daemon", f"--config-file={self.folder / 'bus.conf'}", "--nofork", "--print-address"]
        self.bus = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.bus.stdout.readline()
        self.service = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, **self.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.service.stdout.readline() == "ready\n"
        return self

    def __call__(self, command):
        self.service.stdin.write(command + "\n")
        self.service.stdin.flush()
        return self.service.stdout.readline().strip()

    def close(self):
        for process in (self.service, self.bus):
            if process is not None:
                process.kill()
                process.wait()
                process.stdout.close()
        if self.service is not None:
            self.service.stdin.close()


def main():
    from jeepney import DBusAddress, MessageType, message_bus, new_error, new_method_return, new_signal
    from jeepney.io.blocking import open_dbus_connection

    connection = open_dbus_connection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"], enable_fds=True)
    connection.send_and_get_reply(message_bus.RequestName(NAME))
    locks, refused, preparing = {}, "", False  # the reading end of each lock's pipe: (what, who, why, mode)
    signals = DBusAddress(PATH, NAME, INTERFACE)

    def say(*words):
        print(*words, flush=True)

    def serve(message):
        nonlocal preparing
        if message.header.message_type is not MessageType.method_call:
            return
        fields = {field.name: value for field, value in message.header.fields.items()}
        if fields["member"] == "Inhibit" and refused:
            connection.send(new_error(message, refused, "s", ("not now",)))
        elif fields["member"] == "Inhibit":
            reader, writer = os.pipe()
            locks[reader] = message.body
            connection.send(new_method_return(message, "h", (os.fdopen(writer, "wb"),)))
        elif fields["member"] == "Get":
            connection.send(new_method_return(message, "v", (("b", preparing),)))

    def turn(timeout=None):
        ready, _, _ = select.select([connection.sock, sys.stdin, *locks], [], [], timeout)
        for reader in [one for one in locks if one in ready]:
            os.close(reader)  # nothing is ever written: its other end was closed
            del locks[reader]
        if connection.sock in ready:
            serve(connection.receive())
        return sys.stdin in ready

    say("ready")
    while True:
        if not turn():
            continue
        line = sys.stdin.readline()
        if not line:
            return
        command, _, argument = line.strip().partition(" ")
        if command == "locks":
            while turn(0.05):
                break
            say(len(locks), *sorted("/".join(lock) for lock in locks.values()))
        elif command == "refuse":
            refused = argument
            say("ok")
        elif command == "sleep":
            preparing = True
            connection.send(new_signal(signals, "PrepareForSleep", "b", (True,)))
            while locks:
                turn(30)
            say("asleep")
        elif command == "wake":
            preparing = False
            if argument != "silently":
                connection.send(new_signal(signals, "PrepareForSleep", "b", (False,)))
            say("awake")


if __name__ == "__main__":
    main()
