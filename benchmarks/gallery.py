"""The gallery of the ready spaces: docs/gallery.md, its drawings docs/gallery/NAME.svg and the costs docs/gallery.json.

    python benchmarks/gallery.py             # page and drawings, from the definitions and from what was measured
    python benchmarks/gallery.py --measure   # counts the costs anew first: 300 random networks of each space

Results of searches are read from docs/results/**/*.json (`make results` writes them); none is made up.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Sequence
from importlib import import_module
from itertools import count, islice
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pictures import moved, picture

from searchitect.checking.ranges import ranges
from searchitect.nets import Costs
from searchitect.report import cells, svg
from searchitect.report.plain import show_count
from searchitect.seeds import stream
from searchitect.space import Space
from searchitect.spaces import SPACES, load_space

DOCS = Path(__file__).parents[1] / "docs"
DRAWN = 300
PROBED = {"rnn": 40}  # costs of its cell are in no table: each network is built, and no ends are looked for
IMAGE, SERIES, ROW = (3, 32, 32), (3, 128), (14,)
# How each space is shown: its options, the shape of a row, outputs, and what that is in words.
SHOWN: dict[str, tuple[dict[str, Any], tuple[int, ...], int, str]] = {
    "cnn": ({"size": 32}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "mobilenet": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "resnet": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "macro": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "nb101": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "nb201": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "darts": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "vit": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "transformer": ({}, IMAGE, 10, "images of 3×32×32, 10 classes"),
    "tcn": ({"length": 128}, SERIES, 6, "3 series of 128 steps, 6 classes"),
    "rnn": ({"length": 128}, SERIES, 6, "3 series of 128 steps, 6 classes"),
    "mlp": ({}, ROW, 2, "14 columns, 2 classes"),
    "ft_transformer": ({}, ROW, 2, "14 columns, 2 classes"),
    "gpt": ({"vocabulary": 65, "length": 64}, (64,), 65, "64 tokens of 65 kinds"),
}
WIDTH, LETTER, ROW_HEIGHT, INDENT = 400.0, 6.65, 15.0, 16.0


def costs(name: str) -> dict[str, Any]:
    """Smallest and largest found, and the median of random networks that the space allows."""
    options, shape, outputs, words = SHOWN[name]
    space = load_space(name, **options)
    counted = Costs(space, shape, outputs)
    allowed = filter(space.allows, (space.sample(stream(0, i, "gallery")) for i in count()))
    drawn = PROBED.get(name, DRAWN)
    known = [(one, counted.of(one)) for one in islice(allowed, drawn)]
    found = ranges(counted, known, 0, climb=name not in PROBED)
    baseline = counted.of(space.architecture(space.baseline or {}))
    return {"of": words, "drawn": drawn} | {
        metric: {**found[metric]._asdict(), "baseline": getattr(baseline, metric)} for metric in ("params", "macs")
    }


# -- drawings ----------------------------------------------------------------------------------------------


def rows(space: Space) -> list[tuple[int, str]]:
    """Depth and words of each line of the space's own drawing, uncut; what differs only in numbers is drawn once."""
    found = []
    for text in space.draw(width=10_000).split("\n"):
        words = text.lstrip("│├└─ ")
        found.append(((len(text) - len(words)) // 3, words))
    kept, looks, i = [], set(), 0
    while i < len(found):
        depth, words = found[i]
        end = next((j for j in range(i + 1, len(found)) if found[j][0] <= depth), len(found))
        look = re.sub(r"\d+", "#", repr(found[i:end]))
        again = end - i > 4 and look in looks
        looks.add(look)
        kept.append((depth, f"{words} (as above, other numbers)" if again else words))
        i = end if again else i + 1
    return kept


def tree(lines: Sequence[tuple[int, str]]) -> tuple[list[Markup], float]:
    """A box for each line, one that holds a choice in another colour, and what it hangs on; and the height."""
    parts: list[Markup] = []
    places: list[float] = []  # the middle of the last box of each depth
    y = 12.0
    for depth, words in lines:
        x = 12.0 + INDENT * depth
        texts = textwrap.wrap(words, int((WIDTH - 24 - x) / LETTER), subsequent_indent="  ") or [""]
        height = ROW_HEIGHT * len(texts) + 7
        middle = y + ROW_HEIGHT / 2 + 4
        if depth:
            over = x - INDENT + 6
            bend = f"M{over:g} {places[depth - 1]:g}V{middle:g}H{x:g}"
            parts.insert(0, svg.tag("path", d=bend, class_="wire"))
        places[depth:] = [middle]
        wide = max(map(len, texts)) * LETTER + 12
        kind = "choice" if re.search(r"\[|one of|repeat \d+ to|\d+ of\b", words) else "box"
        parts.append(svg.tag("rect", x=x, y=y, width=wide, height=height, rx=4.0, class_=kind))
        parts += [svg.text(x + 6, y + ROW_HEIGHT * (i + 1) - 1, text, "code") for i, text in enumerate(texts)]
        y += height + 5
    return parts, y


def drawing(name: str) -> str:
    """The space as boxes; below it the cells of its hand-made baseline, where it has cells."""
    space = load_space(name, **SHOWN[name][0])
    parts, height = tree(rows(space))
    graphs = cells.graphs(space.to_json(), space.architecture(space.baseline or {}).decisions)
    seen = {}
    for graph in graphs:
        seen.setdefault((graph.arrows, graph.beside), graph)
    for graph in seen.values():
        word = graph.name if graph.name == "cell" else f"{graph.name} cell"
        parts.append(svg.text(12, height + 22, f"{word} of the hand-made baseline", "strong"))
        drawn = str(cells.drawing(graph))
        wide, high = drawn.split('viewBox="0 0 ')[1].split('"')[0].split()
        parts.append(moved(12, height + 34, Markup(drawn.replace("<svg ", f'<svg width="{wide}" height="{high}" ', 1))))
        height += 42 + float(high)
    return picture(f"The space {name}", WIDTH, height + 8, *parts)


# -- page --------------------------------------------------------------------------------------------------


def told(name: str) -> dict[str, str]:
    """What the file of a space says of itself: first sentence, Source, Baseline."""
    text = re.sub(r"\s+", " ", import_module(SPACES[name].partition(":")[0]).__doc__ or "")
    marks = r"Size:|Source:|Baseline:|Where we differ:"
    found = {"what": text.partition(". ")[0] if ". " in text else text}
    for mark in ("Source", "Baseline"):
        match = re.search(rf"{mark}: (.*?)(?= (?:{marks})|$)", text)
        found[mark] = match[1].rstrip(". ") if match else ""
    return found


def measured(name: str, folder: Path) -> list[str]:
    """A line for each kept result of a search in this space."""
    lines = []
    for file in sorted(folder.glob("**/*.json")):
        cell = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(cell, dict) or cell.get("space") != name or not isinstance(cell.get("verdict"), dict):
            continue
        verdict = cell["verdict"]
        scale, unit = (100, " %") if verdict["metric"] == "accuracy" else (1, "")
        sides = [
            f"{words} {scale * side['mean']:.4g}{unit}"
            for words, side in (("found", verdict["winner"]), ("hand-made", verdict["baseline"])) if side
        ]  # fmt: skip
        lines.append(
            f"{cell['set']} ({verdict['metric']}, {cell['budget']}): {', '.join(sides)}; {verdict['sentence']}"
        )
    return lines


def page(kept: dict[str, Any], folder: Path) -> str:
    """The page."""
    parts = [HEAD]
    for name in SHOWN:
        space, said, cost = load_space(name, **SHOWN[name][0]), told(name), kept[name]
        lines = measured(name, folder)
        parts.append(f"## {name}\n\n{said['what']}.\n")
        parts.append(f"- **Size**: {space.size} architectures, {len(space.decisions)} decisions.")
        parts.append(f"- **Source**: {said['Source']}.")
        for metric, words in (("params", "Parameters"), ("macs", "Multiply-adds")):
            one = {key: show_count(value) for key, value in cost[metric].items()}
            parts.append(f"- **{words}**: {one['min']} to {one['max']}, median {one['median']}; "
                         f"the baseline has {one['baseline']} ({cost['of']}; {cost['drawn']} networks).")  # fmt: skip
        parts.append(f"- **Hand-made baseline**: {said['Baseline']}.")
        parts += [f"- **Measured**: {line}" for line in lines] or ["- **Measured**: no result is kept."]
        parts.append(f"\n![The space {name}](gallery/{name}.svg)\n")
    return "\n".join(parts).rstrip() + "\n"


HEAD = """# Gallery of spaces

Every ready-made space with its options as they are by default, in a drawing: orange boxes hold a choice. What they are
for and how to take one stands in [spaces.md](spaces.md). Made by `python benchmarks/gallery.py`: costs are those of
random networks, their ends found from these by single changes (not for rnn, whose networks must be built); results of
searches are those in docs/results, on data not read before.
"""


def main() -> None:
    """Count the costs if asked to; write page and drawings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--only", choices=SHOWN, action="append")
    given = parser.parse_args()
    file = DOCS / "gallery.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for name in (given.only or SHOWN) if given.measure else ():
        kept[name] = costs(name)
        print(name, kept[name], flush=True)
        written = {name: kept[name] for name in SHOWN if name in kept}
        file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    (DOCS / "gallery").mkdir(exist_ok=True)
    for name in given.only or SHOWN:
        (DOCS / "gallery" / f"{name}.svg").write_text(drawing(name), encoding="utf-8")
    if all(name in kept for name in SHOWN):
        (DOCS / "gallery.md").write_text(page(kept, DOCS / "results"), encoding="utf-8")


if __name__ == "__main__":
    main()
