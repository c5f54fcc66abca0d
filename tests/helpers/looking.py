"""For tests that look at another process: its rows, and code for it that writes into its record."""

POKE = """
def poke(offset, value, size=4):
    with open("/proc/self/maps") as maps:
        start = next(int(line.partition("-")[0], 16) for line in maps if "memfd:snapsafe" in line)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start + offset)
        memory.write(value.to_bytes(size, "little"))
"""


def rows(status):
    return {row.name: row.protection for row in status.rows}
