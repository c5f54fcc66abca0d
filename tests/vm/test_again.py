"""Snapshots at bad moments: in a draw, in a restore event, of a restored clone."""

from tests.vm.compare import Names, by_surface
from tests.vm.lab import Machine, first_report, scaled

TOLD = 1 << 11  # values told of each draw: SIZE / STRIDE of guest/during.py


def blocks(reports):
    """For each surface: 8-byte values that stand in more than one clone of a snapshot, and how many were compared."""
    found = by_surface([{**report, "each": 2 * TOLD} for report in reports])
    return {surface: (result["repeated"], result["values"]) for surface, result in found.items()}


def total(answers):
    sums = {}
    for reports in answers:
        for surface, figures in blocks(reports).items():
            sums[surface] = [a + b for a, b in zip(figures, sums.get(surface, (0, 0)), strict=True)]
    return sums


def test_snapshot_during_a_draw(lab, results, chance):
    """Nearly all of the time passes inside of a draw, so nearly every snapshot falls into one, of each surface."""
    # So many, for the kernel reseeds itself: of os.urandom three snapshots of eight repeated nothing.
    plain = total(lab.clones_of("during-without", Machine("during", False), chance, 12, 2))
    answers = lab.clones_of("during-with", Machine("during"), chance, 20, 2)
    ours = total(answers)
    # A draw that was over when the snapshot came is in every clone, whole: nobody can call it back.
    over = dict.fromkeys(ours, 0)
    for reports in answers:
        for index, surface in enumerate(reports[0]["surfaces"]):
            at = slice(16 * index * TOLD, 8 * (2 * index + 1) * TOLD)
            if len({report["blob"][at] for report in reports}) == 1:
                over[surface] += 1
                ours[surface][0] -= TOLD
    for surface, (repeated, values) in ours.items():
        note = f"{len(answers)} snapshots" + (f", {over[surface]} just after a draw" if over[surface] else "")
        figures = {"clones": 2 * len(answers), "values": values, "without": plain[surface][0], "ours": repeated}
        results.add("snapshot in a draw", "draws of 1 MiB", surface, **figures, note=note)
        assert plain[surface][0] >= TOLD, f"the twin repeated nothing: {plain}"
        assert repeated == 0
        assert over[surface] <= 1, "more than chance: there is a gap after the check"


def restored_twice(lab, chance, name, protected):
    """Reports of clones of two generations: some of a snapshot, as many of a snapshot of another one; how many."""
    machine = Machine("hot", protected, settings={"THREADS": 1, "COUNT": 2000})
    with lab.boot(name, machine) as guest:
        guest.silent(chance.uniform(0.1, 0.5))
        first = guest.snapshot(f"{name}-a", resume=False)
    with lab.clone(f"{name}-parent", machine, first) as parent:
        parent.run()
        reports = [parent.message()]
        assert parent.silent(chance.uniform(0.1, 0.5))
        second = parent.snapshot(f"{name}-b", resume=False)
    clones = scaled(3, protected)
    for path in (first, second):
        for answers in lab.run_clones(name, machine, [path], clones, first_report).values():
            reports += answers
    return reports, clones


def test_restore_of_a_restore(lab, results, chance):
    plain = by_surface(restored_twice(lab, chance, "again-without", False)[0])
    reports, clones = restored_twice(lab, chance, "again-with", True)
    ours = by_surface(reports)
    for surface, result in ours.items():
        figures = {"values": result["values"], "without": plain[surface]["repeated"], "ours": result["repeated"]}
        results.add("restore of a restore", "1 vCPU", surface, clones=len(reports), **figures)
    assert plain["random.getrandbits()"]["repeated"] >= 4000
    assert [report["status"]["epoch"] for report in reports] == [1] * (1 + clones) + [2] * clones
    assert {surface: result["repeated"] for surface, result in ours.items()} == dict.fromkeys(ours, 0)


def test_snapshot_while_an_event_runs(lab, results, chance):
    """Each clone ends the callback that it woke in, and then runs the event of its own restore."""
    machine = Machine("long_event")
    with lab.boot("event", machine) as guest:
        first = guest.snapshot("event-a", resume=False)
    with lab.clone("event-parent", machine, first) as parent:
        parent.run()
        begun = parent.message()
        assert (begun["calls"], begun["epoch"]) == (1, 1)
        second = parent.snapshot("event-b", resume=False)

    def body(guest):
        guest.run()
        guest.tell()
        told = [guest.message(), guest.message()]
        guest.tell()
        return [*told, guest.message()]

    (answers,) = lab.run_clones("event", machine, [second], scaled(4), body).values()
    lab.forget(first)
    names = Names()
    for ended, again, over in answers:
        assert (ended["calls"], again["calls"], over["calls"]) == (1, 2, 2)
        assert (again["epoch"], over["epoch"]) == (2, 2)
        drawn = {"end of the first": ended["ended"], "of the second": again["begun"], "its end": over["ended"]}
        names.add({f"{key} {n}": str(value) for key, values in drawn.items() for n, value in enumerate(values)})
    repeated = sum(result["repeated"] for result in names.result().values())
    figures = {"clones": len(answers), "values": 9 * len(answers)}
    results.add("snapshot in an event", "1 vCPU", "random, ssl, os.urandom", **figures, ours=repeated)
    assert repeated == 0
