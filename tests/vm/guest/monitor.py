"""Follows the manager's states, and tells of each when it was heard."""

import json
import socket
import time

import channel

peer = socket.socket(socket.AF_UNIX)
peer.connect("/run/snapsafe/org.snapsafe.Manager")
peer.sendall(json.dumps({"method": "org.snapsafe.Manager.Monitor", "more": True}).encode() + b"\0")
heard = b""
channel.send(ready=True)
while True:
    part = peer.recv(4096)
    now = time.time()
    if not part:
        channel.send(failed="the manager has ended the connection")
        break
    *answers, heard = (heard + part).split(b"\0")
    for answer in answers:
        channel.send(at=now, **json.loads(answer)["parameters"])
