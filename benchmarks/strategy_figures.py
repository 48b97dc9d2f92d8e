"""Draws docs/strategies/*.svg from docs/strategy-results.json (`python benchmarks/strategies.py` measures that).

    python benchmarks/strategy_figures.py

`regret.svg`: mean test regret after 50, 100 and 200 evaluations on each table, as a share of random search's after 50.
`ranks.svg`: mean rank among the strategies, over all searches on all tables, with the smallest difference that tells.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pictures import moved, picture

from searchitect.report import svg

DOCS = Path(__file__).parents[1] / "docs"
POINTS = ("50", "100", "200")
# The strategies with a line of their own and their colour; all others are grey.
LINES = {
    "random": 6, "regularized-evolution": 2, "local-search": 3, "ppo": 5, "optuna-tpe": 4, "gaussian-process": 1,
}  # fmt: skip
PANEL, HEIGHT, COLUMNS, TOP = 190.0, 150.0, 2, 62.0
LEAST = 0.003  # of random search's regret after 50; what is less, and what is zero, stands at the edge


def shares(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Regret of each strategy at each point, over that of random search after 50 evaluations on the same table."""
    whole = next(row for row in rows if row["strategy"] == "random")["at"]["50"]["mean"]
    found = {}
    for row in rows:
        if all(point in row["at"] for point in POINTS):
            found[row["strategy"]] = [row["at"][point]["mean"] / whole for point in POINTS]
    return found


def panel(title: str, table: dict[str, list[float]]) -> list[Markup]:
    """One table: lines over 50, 100, 200 evaluations; both axes logarithmic."""
    x = svg.Scale(50, 200, 34, PANEL - 12, log=True)
    y = svg.Scale(LEAST, max(1.5, *(max(values) for values in table.values())), HEIGHT - 24, 22, log=True)
    parts = [svg.text(8, 12, title, "name tick")]
    for tick, words in ((0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %")):
        parts += [
            svg.line(34, y(tick), PANEL - 12, y(tick), "gridline"),
            svg.text(30, y(tick) + 4, words, "tick", "end"),
        ]
    parts += [svg.text(x(float(point)), HEIGHT - 9, point, "tick", "middle") for point in POINTS]
    for name in sorted(table, key=lambda name: name in LINES):
        points = [(x(float(point)), y(value)) for point, value in zip(POINTS, table[name], strict=True)]
        kind = f"curve s{LINES[name]}" if name in LINES else "gridline curve"
        parts.append(svg.path(points, kind, name))
        if name in LINES:
            parts += [svg.dot(px, py, 2.6, f"f{LINES[name]}") for px, py in points]
    return parts


def regrets(tables: dict[str, list[dict[str, Any]]]) -> str:
    """All tables beside each other."""
    parts = legend()
    for i, (title, rows) in enumerate(tables.items()):
        place = (PANEL * (i % COLUMNS) + 4, TOP + HEIGHT * (i // COLUMNS))
        parts.append(moved(*place, *panel(title, shares(rows))))
    height = TOP + HEIGHT * math.ceil(len(tables) / COLUMNS)
    parts.append(svg.text(12, height + 12, "evaluations; regret as a share of random search's after 50", "tick"))
    said = "Mean test regret after 50, 100 and 200 evaluations on each table, as a share of random search's after 50"
    return picture(said, PANEL * COLUMNS + 8, height + 22, *parts)


def legend() -> list[Markup]:
    """The names of the lines in their colours."""
    parts: list[Markup] = []
    for i, (name, colour) in enumerate([*LINES.items(), ("others", 0)]):
        x, y = 12.0 + 124 * (i % 3), 14.0 + 15 * (i // 3)
        kind = f"curve s{colour}" if colour else "gridline curve"
        parts += [svg.line(x, y, x + 14, y, kind), svg.text(x + 18, y + 4, name, "tick")]
    return parts


def ranks(found: dict[str, Any]) -> str:
    """A row for each strategy, best first; a dot for each number of evaluations."""
    last = dict(zip(found[POINTS[-1]]["names"], found[POINTS[-1]]["means"], strict=True))
    names = sorted(last, key=last.__getitem__)
    low, high = (fold(value for point in POINTS for value in found[point]["means"]) for fold in (min, max))
    x = svg.Scale(math.floor(low), math.ceil(high), 160, 388)
    bottom = 46.0 + 22 * len(names)
    parts = [svg.text(12, 18, "mean rank after", "tick")]
    for i, point in enumerate(POINTS):
        parts += [svg.dot(116 + 66 * i, 14, 3.0 + i, f"f{(6, 2, 1)[i]}"), svg.text(126 + 66 * i, 18, point, "tick")]
    for tick in range(math.floor(low), math.ceil(high) + 1):
        parts += [
            svg.line(x(tick), 30, x(tick), bottom - 12, "gridline"),
            svg.text(x(tick), bottom + 4, str(tick), "tick", "middle"),
        ]
    for i, name in enumerate(names):
        y = 44.0 + 22 * i
        parts.append(svg.text(150, y + 4, name, "name tick", "end"))
        means = [dict(zip(found[point]["names"], found[point]["means"], strict=True)).get(name) for point in POINTS]
        known = [mean for mean in means if mean is not None]
        parts.append(svg.line(x(min(known)), y, x(max(known)), y, "axis"))
        for j, (point, mean) in enumerate(zip(POINTS, means, strict=True)):
            if mean is not None:
                parts.append(svg.dot(x(mean), y, 3.0 + j, f"f{(6, 2, 1)[j]}", f"{name}: {mean:.2f} after {point}"))
    least = max(found[point]["difference"] for point in POINTS)
    parts += [svg.line(x(low), bottom + 18, x(low + least), bottom + 18, "curve s6"),
              svg.text(x(low + least) + 6, bottom + 22, "smallest difference that tells", "tick")]  # fmt: skip
    said = "; ".join(f"{name} {last[name]:.2f}" for name in names)
    return picture(f"Mean ranks after 200 evaluations, 1 is best: {said}", 400, bottom + 32, *parts)


def main() -> None:
    """Read, draw, write."""
    found = json.loads((DOCS / "strategy-results.json").read_text(encoding="utf-8"))
    (DOCS / "strategies").mkdir(exist_ok=True)
    for name, text in (("regret", regrets(found["tables"])), ("ranks", ranks(found["ranks"]))):
        (DOCS / "strategies" / f"{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
