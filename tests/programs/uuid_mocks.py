"""Each line holds without us as well. `expected` is what os.urandom is made to return."""

import os
import uuid
from unittest import mock

expected = bytes(range(16))
made = uuid.UUID(bytes=expected, version=4)


def mocked():
    for target in ("os.urandom", "uuid.os.urandom"):
        with mock.patch(target, return_value=expected) as urandom:
            assert uuid.uuid4() == made
            urandom.assert_called_once_with(16)
        assert uuid.uuid4() != made
    with mock.patch.object(uuid, "os", mock.Mock(urandom=lambda size: expected)):
        assert uuid.uuid4() == made

    class Sub(uuid.UUID):
        pass

    with mock.patch.object(uuid, "UUID", Sub):
        assert type(uuid.uuid4()) is Sub and type(uuid.uuid1()) is Sub
        assert not hasattr(uuid, "uuid7") or type(uuid.uuid7()) is Sub
    assert type(uuid.uuid4()) is not Sub
    with mock.patch("uuid.uuid4", return_value=made):
        assert uuid.uuid4() is made
    with mock.patch("os.urandom", side_effect=OSError("none")):
        try:
            uuid.uuid4()
        except OSError as error:
            assert str(error) == "none"
        else:
            raise AssertionError("no error")
    maker = "_from_int" if hasattr(uuid.UUID, "_from_int") else "__init__"
    with mock.patch.object(uuid.UUID, maker, side_effect=KeyError):
        try:
            uuid.uuid4()
        except KeyError:
            pass
        else:
            raise AssertionError("no error")
    assert type(uuid.uuid4()) is uuid.UUID
    uuid.UUID.colour = "blue"  # the class was touched, but not what instances are made of
    assert uuid.uuid4().colour == "blue"
    del uuid.UUID.colour
    real = os.urandom
    with mock.patch("os.urandom", side_effect=real) as urandom:
        assert len({uuid.uuid4() for _ in range(10)}) == 10 and urandom.call_count == 10
    assert os.urandom is real


mocked()
uuid.uuid4()
mocked()
with (
    mock.patch("time.time_ns", return_value=1_600_000_000_000_000_000),
    mock.patch.object(uuid, "_generate_time_safe", None),
    mock.patch.object(uuid, "_last_timestamp", None),
    mock.patch.object(uuid, "getnode", return_value=7),
    mock.patch("random.getrandbits", return_value=9),
):
    first, second = uuid.uuid1(), uuid.uuid1()
    assert (first.node, first.clock_seq, second.time - first.time) == (7, 9, 1)
    assert first.time == 1_600_000_000_000_000_000 // 100 + 0x01B21DD213814000
with mock.patch.object(uuid, "_node", 12345):
    assert uuid.getnode() == 12345
assert uuid.uuid1(5, 6).node == 5 and uuid.uuid1(node=5, clock_seq=6).clock_seq == 6
for wrong in (1 << 48, -1, "x"):
    try:
        uuid.uuid1(wrong, 1)
    except (ValueError, TypeError):
        pass
    else:
        raise AssertionError("no error")
