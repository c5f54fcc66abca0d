"""What stands more than once among the values that clones drew."""

from collections import Counter


class Values:
    """The values of one surface, 8 bytes each, of any number of clones."""

    def __init__(self):
        self.columns = []

    def add(self, blob):
        """What one clone drew, in its order."""
        self.columns.append(memoryview(blob).cast("Q"))

    @property
    def count(self):
        return sum(map(len, self.columns))

    def repeated(self):
        """Values that stand in more than one place, of one clone or of several."""
        seen, twice = set(), set()
        for column in self.columns:
            mine = set(column)
            if len(mine) < len(column):
                twice.update(value for value, times in Counter(column).items() if times > 1)
            twice |= mine & seen
            seen |= mine
        return twice

    def result(self):
        """`values`, `repeated`: how many different ones; `last`: where in a clone the last of them stood."""
        twice = self.repeated()
        positions = [i for column in self.columns for i, value in enumerate(column) if value in twice] if twice else []
        return {"values": self.count, "repeated": len(twice), "last": max(positions, default=None)}


class Names:
    """Values of any kind, one of each clone for each key: in how many clones a value stood that another one had too."""

    def __init__(self):
        self.clones = []

    def add(self, drawn):
        self.clones.append(drawn)

    def result(self):
        found = {}
        for key in self.clones[0]:
            times = Counter(clone[key] for clone in self.clones)
            repeated = sum(number for number in times.values() if number > 1)
            found[key] = {"values": len(self.clones), "repeated": repeated}
        return found


def by_surface(reports):
    """What Values says of each surface that guest/hot.py drew."""
    surfaces, found = reports[0]["surfaces"], {}
    for index, surface in enumerate(surfaces):
        values = Values()
        for report in reports:
            size = 8 * report["each"]
            values.add(report["blob"][index * size : (index + 1) * size])
        found[surface] = values.result()
    return found
