"""One snapshot as it was recorded, and its picture: python tests/vm/sequence.py RESULTS.json docs/orchestrators.svg.

The guests' clocks are set against the host's by the request that came back soonest, as far as that allows to know.
"""

import json
import pathlib
import sys
import time

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
    events, lanes = recorded["events"], list(LANES)
    begin = events[0]["at"]
    height = TOP + ROW * len(events) + 40

    def x(lane):
        return LEFT + WIDTH * lanes.index(lane) + 20

    def y(number):
        return TOP + ROW * number + 24

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH * len(lanes) + 60}" height="{height}" '
        'font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<text x="16" y="24" font-size="16" fill="#222">One snapshot, from the freeze to the first request</text>',
        f'<text x="16" y="42" font-size="12" fill="#666">{facts["qemu"].split(" (")[0]}, -accel {facts["accel"]}; '
        f"recorded, guests' times &#177; {1000 * recorded['unsure']:.0f} ms; one row an event, not to scale</text>",
    ]
    for lane, title in LANES.items():
        out.append(f'<text x="{x(lane)}" y="62" font-size="12" font-weight="bold" fill="#222">{title}</text>')
        out.append(f'<line x1="{x(lane)}" x2="{x(lane)}" y1="{TOP}" y2="{height - 16}" stroke="#ddd"/>')
    for lane in lanes:
        bands = [(number, event["text"].split(",")[0]) for number, event in enumerate(events) if event["lane"] == lane]
        bands = [(number, STATES[state]) for number, state in bands if state in STATES]
        for (number, colour), end in zip(bands, [*(number for number, _ in bands[1:]), len(events)], strict=True):
            bottom = y(end) - y(number)
            out.append(f'<rect x="{x(lane) - 4}" y="{y(number)}" width="8" height="{bottom}" fill="{colour}"/>')
    for number, event in enumerate(events):
        at, lane, top = 1000 * (event["at"] - begin), event["lane"], y(number)
        out.append(f'<text x="16" y="{top + 4}" font-size="11" fill="#666">{at:,.0f} ms</text>')
        out.append(f'<circle cx="{x(lane)}" cy="{top}" r="4" fill="#222"/>')
        if event["to"]:
            start, end = x(lane), x(event["to"])
            tip = -7 if end > start else 7
            out.append(f'<line x1="{start}" x2="{end}" y1="{top}" y2="{top}" stroke="#222"/>')
            points = f"{end},{top} {end + tip},{top - 4} {end + tip},{top + 4}"
            out.append(f'<polygon points="{points}" fill="#222"/>')
            lane = min(lane, event["to"], key=lanes.index)
        out.append(f'<text x="{x(lane) + 9}" y="{top - 4}" font-size="11" fill="#222">{event["text"]}</text>')
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    run = json.loads(pathlib.Path(sys.argv[1]).read_text())
    if "sequence" not in run["facts"]:
        sys.exit(f"sequence: the run in {sys.argv[1]} has recorded none")
    pathlib.Path(sys.argv[2]).write_text(picture(run["facts"]["sequence"], run["facts"]))
