"""Prometheus' text format, read as strictly as Prometheus reads it."""

import re

LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
LINE = re.compile(rf"([a-z_]+)(?:{{({LABEL}(?:,{LABEL})*)?}})? (-?[0-9.e+-]+)")


def parse(text):
    """(metric, labels) -> value, as strict as Prometheus is: each line is a comment or a sample, none twice."""
    assert text.endswith("\n")
    found, kinds, seen = {}, {}, []
    for line in text[:-1].split("\n"):
        if line.startswith("#"):
            mark, name, *words = line.split(" ")[1:]
            if mark == "TYPE":
                assert name not in kinds
                kinds[name] = words[0]
            continue
        match = LINE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        assert name in kinds, line
        if not seen or seen[-1] != name:  # the samples of a metric stand together
            assert name not in seen, line
            seen.append(name)
        key = name, tuple(sorted(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels or "")))
        assert key not in found, line
        found[key] = float(value)
    return found


def of(found, metric, **labels):
    return [value for (name, told), value in found.items() if name == metric and labels.items() <= dict(told).items()]
