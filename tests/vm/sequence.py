"""One snapshot as it was recorded, and its picture: python -m tests.vm.sequence RESULTS.json docs/orchestrators.svg.

The guests' clocks are set against the host's by the request that came back soonest, as far as that allows to know.
"""

import itertools
import json
import pathlib
import sys
import time

from benchmarks.picture import Picture

HOST = "host"
LANES = {  # and what stands above them
    HOST: "host",
    "manager": "the machine: manager",
    "program": "a program there",
    "clone's manager": "a clone: manager",
    "clone's program": "the program there",
}
STATES = {"running": "#27803b", "quiescing": "#e0a030", "quiesced": "#2f6fab", "unquiescing": "#e0a030"}
ASKED = 9  # times, to set a clock

TITLE = "One snapshot, from the freeze to the first request"
LEFT, WIDTH, TOP, ROW = 90, 190, 70, 30


class Recording:
    """Events: `at` (seconds of the host's clock), `lane`, `text`, and whom it reaches (`to`; "": nobody else)."""

    def __init__(self):
        self.events = []
        self.unsure = 0.0
        """Seconds by which a guest's times may be wrong."""

    def add(self, lane, text, at=None, to=""):
        self.events.append({"at": time.time() if at is None else at, "lane": lane, "text": text, "to": to})

    def offset(self, request):
        """What is to be added to a guest's times. request() asks a program, whose answer has began and ended."""
        found = []
        for _ in range(ASKED):
            sent = time.time()
            answer = request()["request"]
            took = time.time() - sent
            found.append((took, sent + took / 2 - (answer["began"] + answer["ended"]) / 2))
        took, offset = min(found)
        self.unsure = max(self.unsure, took / 2)
        return offset

    def states(self, lane, reports, offset, generation):
        """Of the manager's Monitor, after the state that it begins with."""
        for report in reports:
            text = report["state"]
            if report["generation"] != generation:
                generation = report["generation"]
                text += ", a restore is published"
            self.add(lane, text, report["at"] + offset)

    def result(self):
        return {"unsure": self.unsure, "events": sorted(self.events, key=lambda event: event["at"])}


def picture(recorded, facts):
    """SVG."""
    events, unsure, lanes = recorded["events"], recorded["unsure"], list(LANES)
    height = TOP + ROW * len(events) + 40

    def x(lane):
        return LEFT + WIDTH * lanes.index(lane) + 20

    def y(number):
        return TOP + ROW * number + 24

    below = (
        f"{facts['qemu'].split(' (')[0]}, -accel {facts['accel']}; recorded, guests' times +- {1000 * unsure:.0f} ms; "
    )
    drawn = Picture(LEFT + WIDTH * len(lanes) + 60, height, TITLE, below + "states as a listener there heard them")
    for lane, title in LANES.items():
        drawn.text(x(lane), 64, title)
        drawn.line(x(lane), TOP, x(lane), height - 16, "#ddd")
        bands = [(number, event["text"].split(",")[0]) for number, event in enumerate(events) if event["lane"] == lane]
        bands = [(number, STATES[state]) for number, state in bands if state in STATES]
        for (number, colour), (end, _) in itertools.pairwise([*bands, (len(events), "")]):
            drawn.rect(x(lane) - 4, y(number), 8, y(end) - y(number), colour)
    for number, event in enumerate(events):
        lane, top = event["lane"], y(number)
        drawn.text(16, top + 4, f"{1000 * (event['at'] - events[0]['at']):,.0f} ms", 11, fill="#666")
        drawn.dot(x(lane), top)
        if event["to"]:
            drawn.arrow(x(lane), x(event["to"]), top)
            lane = min(lane, event["to"], key=lanes.index)
        drawn.text(x(lane) + 9, top - 4, event["text"], 11)
    return str(drawn)


if __name__ == "__main__":
    run = json.loads(pathlib.Path(sys.argv[1]).read_text())
    if "sequence" not in run["facts"]:
        sys.exit(f"sequence: the run in {sys.argv[1]} has recorded none")
    pathlib.Path(sys.argv[2]).write_text(picture(run["facts"]["sequence"], run["facts"]))
