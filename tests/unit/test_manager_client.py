"""What a command makes of who answers in the manager's place: in a container's folder anybody may listen."""

import contextlib
import socket
import threading

import pytest

from snapsafe_rt.errors import BUSY, NO_MANAGER, Failure
from snapsafe_rt.manager import client
from snapsafe_rt.varlink import END

pytestmark = pytest.mark.any_python


@pytest.fixture
def answering(shm_path):
    """answering(parts): one who listens, and sends these whatever he is asked. Returns the path."""
    path, threads = str(shm_path / "socket"), []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def start(parts):
        def serve():
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):  # who has heard enough hangs up
                peer.recv(65536)
                for part in parts:
                    peer.sendall(part)

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        return path

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    listener.close()


def drip():
    never = threading.Event()
    while not never.wait(0.01):  # quicker than any limit for one part, and without an end
        yield b"x"


def asked(path, seconds=20.0):
    with client.Manager(path) as manager:
        return manager.call("Describe", answer_seconds=seconds)


def test_an_answer_in_many_parts(answering):
    """The twin of those below."""
    assert asked(answering([b'{"parame', b'ters":{"pid"', b":7}}" + END])) == {"pid": 7}


def test_an_answer_without_an_end_is_not_kept(answering, monkeypatch):
    monkeypatch.setattr(client, "ANSWER_MOST", 1 << 20)
    with pytest.raises(Failure, match="its answer has no end") as failed:
        asked(answering(b"x" * 65536 for _ in iter(int, 1)))
    assert failed.value.code == NO_MANAGER


def test_an_answer_that_drips_is_not_waited_for(answering):
    with pytest.raises(Failure, match=r"does not answer within 0.5 s") as failed:
        asked(answering(drip()), seconds=0.5)
    assert failed.value.code == BUSY
