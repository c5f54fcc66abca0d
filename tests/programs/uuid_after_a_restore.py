"""PATH: what uuid gives after restores is valid, in order, and the caller's where he says so."""

import sys
import time
import uuid
from unittest import mock

path = sys.argv[1] if len(sys.argv) > 1 else ""
FUNCTIONS = ("uuid1", "uuid3", "uuid4", "uuid5", "uuid6", "uuid7", "uuid8", "getnode", "main")


def bump():
    import os
    import struct

    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, struct.pack("<Q", struct.unpack("<Q", os.pread(fd, 8, 0x68))[0] + 1), 0x68)
    os.close(fd)


bump()
node = uuid.getnode()
assert node == uuid.getnode() and node >> 40 & 1 and node < 1 << 48
makers = [getattr(uuid, name) for name in ("uuid1", "uuid6") if hasattr(uuid, name)]
for make in makers:
    began = time.time_ns()
    values = [make() for _ in range(1000)]
    ended = time.time_ns()
    assert {value.node for value in values} == {node} and len({value.clock_seq for value in values}) == 1
    times = [value.time for value in values]
    assert times == sorted(set(times)) and values[0].is_safe is uuid.SafeUUID.unknown
    for when, value in ((began, times[0]), (ended, times[-1])):
        assert abs(when // 100 + 0x01B21DD213814000 - value) < 10**7
    assert values[0].version == int(make.__name__[4:]) and values[0].variant == uuid.RFC_4122
    # What the caller names is the caller's.
    assert make(5).node == make(node=5, clock_seq=3).node == 5
    assert make(5).clock_seq == values[0].clock_seq and make(clock_seq=3).node == node
    assert make(None, -1).clock_seq == 0x3FFF and make(5, 1 << 14 | 3).clock_seq == 3
    for wrong in (1 << 48 | 5, -1):
        try:
            assert make(wrong).node == wrong & 0xFFFFFFFFFFFF and make is not uuid.uuid1
        except ValueError as error:
            assert "field 6 out of range" in str(error) and make is uuid.uuid1
    for arguments in (("x",), (None, "x")):
        try:
            make(*arguments)
        except TypeError:
            pass
        else:
            raise AssertionError("no error")
    # libuuid has a clock of its own, as in stock.
    no_library = mock.patch.object(uuid, "_generate_time_safe", None)
    with no_library, mock.patch("time.time_ns", return_value=2_000_000_000_000_000_000):
        first, second = make(), make()
        assert second.time - first.time == 1 and first.time == 2 * 10**16 + 0x01B21DD213814000

    class Sub(uuid.UUID):
        pass

    with no_library, mock.patch.object(uuid, "UUID", Sub), mock.patch.object(uuid, "getnode", return_value=9):
        assert type(make()) is Sub and make().node == 9
uuid._last_timestamp = uuid._last_timestamp_v6 = None  # they ran ahead, to the year 2033
sequence = uuid.uuid1().clock_seq
seen = {(node, sequence)}
for _ in range(20):
    bump()
    seen.add((uuid.getnode(), uuid.uuid1().clock_seq))
assert len(seen) == 21 and len({node for node, _ in seen}) == 21
