"""The honest size of "asynchronous": VMGenID alone, and a script that moves a file when the kernel has told of it."""

from tests.vm.compare import Values
from tests.vm.lab import Machine

PATH = "/run/snapsafe/vmclock0"


def test_file_moved_late(lab, results, chance):
    machine = Machine("late", settings={"SOURCE_FILE": PATH, "SNAPSAFE_SOURCES": f"vmclock:{PATH}"})
    answers = lab.clones_of("late", machine, chance, 4, 3)
    repeated, meanwhile, count = 0, 0, 0
    for reports in answers:
        values = Values()
        for report in reports:
            values.add(report["blob"])
            meanwhile, count = max(meanwhile, report["meanwhile"]), count + 1
            assert report["status"]["epoch"] == 1
            assert not report["status"]["source"]["synchronous"]
        result = values.result()
        assert result["last"] is None or result["last"] < max(report["meanwhile"] for report in reports) + 1
        repeated += result["repeated"]
    note = f"all within the first {meanwhile:,} draws, until the file moved"
    results.add("file moved late", "VMGenID, script", "random.getrandbits", clones=count, ours=repeated, note=note)
    assert repeated > 0
