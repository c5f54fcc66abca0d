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


def rss(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
