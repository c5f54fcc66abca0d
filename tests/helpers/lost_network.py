"""For tests: the network between a program and a server, which a restore loses.

A restored machine has connections that its peers know nothing of. Where packets of such a connection go nowhere the
program waits ("silent"); where a peer or a router answers them, it is told at its first word ("reset"). New connections
are made as ever.
"""

import contextlib
import socket
import struct
import threading


def own_address():
    """An address of this machine that is not loopback, or None. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect(("192.0.2.1", 9))
        return sock.getsockname()[0]
    return None


class Network:
    """Leads from `port` of `host` to a server: (host, port), or the path of a Unix socket. `made` counts the
    connections, `swallowed` the bytes that came over those that were lost."""

    def __init__(self, server, host="127.0.0.1"):
        self.server, self.host = server, host
        self.made = self.swallowed = 0
        self.links = []
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, how):
        """Every connection that there is. The server is told of its end, as if it had noticed by itself."""
        for link in self.links:
            link.lost = how
            with contextlib.suppress(OSError):
                link.server.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.listener.close()
        for link in self.links:
            link.end()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.made += 1
                self.links.append(_Link(self, client))


class _Link:
    """One connection, with a thread for each direction."""

    def __init__(self, network, client):
        self.network, self.client, self.lost = network, client, ""
        family = socket.AF_UNIX if isinstance(network.server, str) else socket.AF_INET
        self.server = socket.socket(family, socket.SOCK_STREAM)
        self.server.connect(network.server)
        ways = (self.client, self.server), (self.server, self.client)
        self.threads = [threading.Thread(target=self._carry, args=way, daemon=True) for way in ways]
        for thread in self.threads:
            thread.start()

    def _carry(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.lost:
                    target.sendall(data)
                elif source is self.client:
                    self.network.swallowed += len(data)
                    if self.lost == "reset":
                        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self.client.close()
        if not self.lost:
            self._wake()

    def _wake(self):
        for sock in (self.client, self.server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def end(self):
        self._wake()
        for thread in self.threads:
            thread.join()
        self.client.close()
        self.server.close()
