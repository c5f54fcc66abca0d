"""WAY [PATH]: prints what stock Python shows too; PATH is a source: what follows a restore is asked as well."""

import copy
import importlib.util
import json
import marshal
import os
import pickle
import runpy
import struct
import sys

FOUND = ("random", "uuid", "ssl", "_ssl", "_random", "_hashlib", "_sqlite3", "secrets")


def bump(path):
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, struct.pack("<Q", struct.unpack("<Q", os.pread(fd, 8, 0x68))[0] + 1), 0x68)
    os.close(fd)


def tried(function):
    try:
        return bool(function())
    except BaseException as error:
        return type(error).__name__


def loaders():
    for name in FOUND:
        yield loader_of(name)
    yield type(runpy.run_module("uuid")["__loader__"]).__name__


def loader_of(name):
    loader, other = (importlib.util.find_spec(name).loader for _ in range(2))
    module = importlib.import_module(name)
    return [
        *(name, type(loader).__name__, sorted(getattr(loader, "__dict__", ()))),
        *(
            tried(lambda: loader == other),
            tried(lambda: copy.copy(loader)),
            tried(lambda: copy.deepcopy(loader) == loader),
        ),
        tried(lambda: pickle.loads(pickle.dumps(loader)) == loader),  # noqa: S301 - its own
        *(type(module.__loader__).__name__, module.__spec__.loader is module.__loader__),
        type(importlib.util.find_spec(name).loader).__name__,
    ]


def marshalled():
    import types
    import uuid

    for name in ("uuid1", "uuid4", "uuid7", "uuid8", "getnode"):
        function = getattr(uuid, name, None)
        if function is not None:
            code = marshal.loads(marshal.dumps(function.__code__))
            made = types.FunctionType(code, vars(uuid), name, function.__defaults__)
            yield name, code == function.__code__, type(made()).__name__, code.co_names, function.__code__.co_consts


def frames():
    """Each frame that a tracer, a profiler or a monitor sees while the modules are imported, by its file."""
    seen = set()

    def see(frame, event, argument):
        if "snapsafe" in frame.f_code.co_filename:
            seen.add((event, frame.f_code.co_filename))
        return see

    monitoring = getattr(sys, "monitoring", None)
    if monitoring:
        events = monitoring.events
        monitoring.use_tool_id(3, "test")
        for event in (events.PY_START, events.LINE, events.CALL):

            def monitored(code, *rest):
                if "snapsafe" in code.co_filename:
                    seen.add(("monitored", code.co_filename))

            monitoring.register_callback(3, event, monitored)
        monitoring.set_events(3, events.PY_START | events.LINE | events.CALL)
    sys.setprofile(see)
    sys.settrace(see)
    for name in (*FOUND, "colorsys", "json"):
        importlib.import_module(name)
    sys.settrace(None)
    sys.setprofile(None)
    yield sorted(seen)


def traceback_of_a_broken_one():
    import tempfile
    import traceback

    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "uuid.py"), "w") as file:
            file.write("1 / 0\n")
        sys.path.insert(0, folder)
        try:
            import uuid  # noqa: F401
        except ZeroDivisionError as error:
            yield [
                (os.path.basename(frame.filename), frame.name) for frame in traceback.extract_tb(error.__traceback__)
            ]


def forbidden():
    """What a sandbox forbids when a program imports: to compile, to make code or functions, to set `__code__`."""
    for name in ("_random", "uuid", "random"):  # our own files may have no bytecode: imported before
        importlib.import_module(name)
        del sys.modules[name]
    raised = set()

    def hook(event, arguments):
        if event in ("compile", "code.__new__", "function.__new__") or (
            event.startswith("object.__") and "__code__" in map(str, arguments)
        ):
            raised.add(event)

    sys.addaudithook(hook)
    for name in ("random", "uuid"):
        importlib.import_module(name)
    yield sorted(raised - ({"compile"} if sys.flags.dont_write_bytecode else set()))


def clocks():
    """The same values where the clock, or what the module keeps, is of a test's making."""
    import random
    import time
    import uuid
    from unittest import mock

    makers = [getattr(uuid, name) for name in ("uuid1", "uuid6") if hasattr(uuid, name)]
    yield clock_by_definition(uuid, time)
    with mock.patch.object(uuid, "_generate_time_safe", None), mock.patch("time.time_ns", return_value=10**18):
        uuid._last_timestamp = uuid._last_timestamp_v6 = None
        for make in makers:
            yield make(5, 6).hex, make(node=5, clock_seq=6).hex
            yield make(clock_seq=1).time, make(7).node
            with mock.patch("random.getrandbits", return_value=9):
                yield make(5).clock_seq, make(5).time
            uuid._last_timestamp = uuid._last_timestamp_v6 = 1 << 59
            yield make(5).time, make(5).time, uuid._last_timestamp, uuid._last_timestamp_v6
            uuid._last_timestamp = uuid._last_timestamp_v6 = None
        with mock.patch.object(uuid, "getnode", return_value=77):
            yield [make().node for make in makers]
        with mock.patch.object(uuid, "_node", 78):
            yield [make().node for make in makers], uuid.getnode()
    with mock.patch.object(uuid, "_generate_time_safe", lambda: (bytes(range(16)), 0)):
        yield uuid.uuid1().hex, uuid.uuid1().is_safe.name
    if hasattr(uuid, "uuid7"):
        with mock.patch.multiple(uuid, _last_timestamp_v7=1 << 45, _last_counter_v7=41):
            yield uuid.uuid7().time
    del random


def clock_by_definition(uuid, time):
    """time-machine exchanges what the object time.time_ns calls."""
    import ctypes

    call = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 10**18)
    place = ctypes.c_void_p.from_address(
        ctypes.c_void_p.from_address(id(time.time_ns) + object.__basicsize__).value + ctypes.sizeof(ctypes.c_void_p)
    )
    kept, generate, place.value = place.value, uuid._generate_time_safe, ctypes.cast(call, ctypes.c_void_p).value
    try:
        uuid._generate_time_safe = None
        made = [uuid.uuid1(5).time]
        made += [uuid.uuid6(5).time, uuid.uuid7().time] if hasattr(uuid, "uuid7") else []
    finally:
        place.value, uuid._generate_time_safe = kept, generate
        uuid._last_timestamp = uuid._last_timestamp_v6 = uuid._last_timestamp_v7 = None
    return made


WAYS = {
    function.__name__: function
    for function in (loaders, marshalled, frames, traceback_of_a_broken_one, forbidden, clocks)
}

if __name__ == "__main__":
    way, *path = sys.argv[1:]
    for line in WAYS[way]():
        print(json.dumps(line, default=str))
    for one in path:
        bump(one)
        for line in WAYS[way]():
            print(json.dumps(line, default=str))
