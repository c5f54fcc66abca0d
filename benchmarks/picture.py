"""An SVG picture, written line by line."""


class Picture:
    """On white, with a title and, below it, a line in grey."""

    def __init__(self, width: int, height: int, title: str, below: str) -> None:
        size = f'width="{width}" height="{height}"'
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="#fff"/>',
        ]
        self.text(16, 26, title, 16)
        self.text(16, 44, below, fill="#666")

    def text(
        self, x: float, y: float, words: str, size: int = 12, *, anchor: str = "", fill: str = "#222", more: str = ""
    ) -> None:
        at = more + (f' text-anchor="{anchor}"' if anchor else "")
        words = words.replace("&", "&amp;").replace("<", "&lt;")
        self.lines.append(f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}"{at} fill="{fill}">{words}</text>')

    def rect(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        self.lines.append(f'<rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="{height:.0f}" fill="{fill}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = "#222") -> None:
        self.lines.append(f'<line x1="{x1:.0f}" x2="{x2:.0f}" y1="{y1:.0f}" y2="{y2:.0f}" stroke="{stroke}"/>')

    def curve(self, points: list[tuple[float, float]], stroke: str) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.lines.append(f'<polyline points="{places}" fill="none" stroke="{stroke}" stroke-width="2"/>')

    def arrow(self, x1: float, x2: float, y: float) -> None:
        self.line(x1, y, x2, y)
        back = x2 - 7 if x2 > x1 else x2 + 7
        self.lines.append(f'<polygon points="{x2:.0f},{y:.0f} {back:.0f},{y - 4:.0f} {back:.0f},{y + 4:.0f}"/>')

    def down(self, x: float, y1: float, y2: float, stroke: str = "#222") -> None:
        """An arrow, or one upwards."""
        self.line(x, y1, x, y2, stroke)
        back = y2 - 7 if y2 > y1 else y2 + 7
        points = f"{x:.0f},{y2:.0f} {x - 4:.0f},{back:.0f} {x + 4:.0f},{back:.0f}"
        self.lines.append(f'<polygon points="{points}" fill="{stroke}"/>')

    def box(self, x: float, y: float, width: float, height: float, title: str, fill: str = "#e8eef5") -> None:
        at = f'x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}"'
        self.lines.append(f'<rect {at} rx="6" fill="{fill}" stroke="#667"/>')
        self.text(x + width / 2, y + 20, title, 13, anchor="middle")

    def dot(self, x: float, y: float) -> None:
        self.lines.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#222"/>')

    def __str__(self) -> str:
        return "\n".join([*self.lines, "</svg>", ""])
