"""CRIU maps files by path again: on another host the source's page is of another file, with another history.

Here the page is exchanged in a living process; tests/criu does it with CRIU.
"""

import pytest

REMAP = """
    import ctypes, os, sys
    import snapsafe_rt
    from snapsafe_rt.source import probe
    from snapsafe_rt.state import state
    from snapsafe_rt.source import vmclock_file
    from stage import bump

    path = sys.argv[1]
    calls = []
    snapsafe_rt.register_after_restore(calls.append, 1)
    assert snapsafe_rt.check() == 0
    with open("/proc/self/maps") as maps:
        [line] = [line for line in maps if line.rstrip().endswith(path)]
    address = int(line.partition("-")[0], 16)

    os.unlink(path)
    vmclock_file.create(path, generation=int(sys.argv[2]))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    fd = os.open(path, os.O_RDONLY)
    PROT_READ, MAP_SHARED_FIXED = 1, 0x11
    if sys.argv[3] == "remapped":
        assert libc.mmap(address, 4096, PROT_READ, MAP_SHARED_FIXED, fd, 0) == address
    os.close(fd)

    for _ in range(3):
        probe.probe(now=True)
        print(snapsafe_rt.check(), calls, snapsafe_rt.status().last_event["cause"])
    bump()
    print(snapsafe_rt.check(), calls)
"""


MANY = (
    REMAP.partition("    os.unlink")[0]
    + """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    kept = []  # so that no inode is used again
    for host in range(1, 41):
        kept.append(open(path))
        os.unlink(path)
        vmclock_file.create(path)
        fd = os.open(path, os.O_RDONLY)
        assert libc.mmap(address, 4096, 1, 0x11, fd, 0) == address
        os.close(fd)
        probe.probe(now=True)
        assert snapsafe_rt.check() == host == len(calls), (host, calls)
    assert snapsafe_rt.status().source is not None
    for file in kept:
        file.close()
"""
)


def test_hosts_do_not_use_up_what_a_process_may_map(run_python, source_file):
    """SS_SOURCE_MAX in cython/source.h is 16."""
    run_python(MANY, source_file.path, env={**source_file.env, "SNAPSAFE_WATCH": "0"})


@pytest.mark.parametrize(
    ("generation", "way", "cause"),
    [
        (7, "remapped", "generation"),
        (1, "remapped", "source"),  # the history of the other host is at the same number
        (1, "replaced", "source"),  # the twin: nobody remapped it, so the process watches a file that nobody moves
    ],
)
def test_a_page_of_another_file_is_one_restore(run_python, source_file, generation, way, cause):
    said = run_python(REMAP, source_file.path, generation, way, env={**source_file.env, "SNAPSAFE_WATCH": "0"})
    assert said.splitlines() == [f"1 [1] {cause}"] * 3 + ["2 [1, 1]"]
