"""The drawn pages: what they say against the data, and that the committed files are what the commands write."""

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from test_benchmark_scripts import script

from searchitect.spaces import SPACES, load_space

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """Scripts find what they share in their own folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    sys.modules.pop("pictures", None)


@pytest.fixture
def gallery():
    return script("gallery")


def test_regret_is_drawn_as_a_share_of_random_search():
    figures = script("strategy_figures")
    tables = json.loads((DOCS / "strategy-results.json").read_text())["tables"]
    rows = {row["strategy"]: row["at"] for row in tables["transnas-scene"]}
    found = figures.shares(tables["transnas-scene"])
    assert found["random"][0] == 1.0
    assert found["gaussian-process"][2] == rows["gaussian-process"]["200"]["mean"] / rows["random"]["50"]["mean"]
    assert "bananas" not in found  # it has no value after 200
    drawn = figures.regrets(tables)
    assert all(f">{title}<" in drawn for title in tables)
    assert (DOCS / "strategies" / "regret.svg").read_text() == drawn


def test_ranks_stand_in_their_order():
    figures = script("strategy_figures")
    ranks = json.loads((DOCS / "strategy-results.json").read_text())["ranks"]
    drawn = figures.ranks(ranks)
    root = ET.fromstring(drawn)
    names = [e.text for e in root.iter() if e.tag.endswith("text") and e.get("text-anchor") == "end"]
    means = dict(zip(ranks["200"]["names"], ranks["200"]["means"], strict=True))
    assert names == sorted(means, key=means.__getitem__)
    dots = [float(e.get("cx")) for e in root.iter() if e.get("r") == "5" and list(e)]
    assert dots == sorted(dots)
    assert f"{names[0]}: {means[names[0]]:.2f} after 200" in drawn
    assert (DOCS / "strategies" / "ranks.svg").read_text() == drawn


def test_every_space_has_a_drawing_and_a_place(gallery):
    assert set(gallery.SHOWN) == set(SPACES)
    files = sorted(DOCS.glob("gallery/*.svg"))
    assert {file.stem for file in files} == set(SPACES)
    assert sum(file.stat().st_size for file in files) < 400_000
    page = (DOCS / "gallery.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(gallery.SHOWN)
    for file in files:
        root = ET.fromstring(file.read_text())
        assert all(float(e.get("x", 0)) + float(e.get("width")) <= 400 for e in root.iter() if e.tag.endswith("rect"))
    for name in ("mlp", "nb101", "nb201"):
        assert (DOCS / "gallery" / f"{name}.svg").read_text() == gallery.drawing(name)


def test_boxes_hold_the_lines_of_the_drawing(gallery):
    space = load_space("nb201", cells=1)
    lines = gallery.rows(space)
    assert lines[0] == (0, "Sequential")
    assert max(depth for depth, _ in lines) >= 3
    parts, _ = gallery.tree(lines)
    kinds = [re.search(r'class="(box|choice)"', part)[1] for part in parts if part.startswith("<rect")]
    assert len(kinds) == len(lines)
    chosen = {words for (_, words), kind in zip(lines, kinds, strict=True) if kind == "choice"}
    assert any(words.startswith("edges.0: one of") for words in chosen)
    assert "Flatten" not in chosen
    assert "repeat 1" not in " ".join(chosen)  # a fixed number is no choice


def test_files_tell_source_and_baseline(gallery):
    for name in SPACES:
        said = gallery.told(name)
        assert all(len(said[key]) > 10 for key in ("what", "Source", "Baseline")), name
        assert not any(mark in said["Source"] for mark in ("Baseline:", "Where we differ"))


def test_only_kept_results_are_shown(gallery, tmp_path):
    kept = json.loads((DOCS / "gallery.json").read_text())
    side = {"mean": 0.9, "low": 0.8, "high": 0.95}
    verdict = {"metric": "accuracy", "winner": side, "baseline": side | {"mean": 0.875}, "sentence": "It is so."}
    cell = {"set": "letter", "budget": "5m", "space": "mlp", "verdict": verdict}
    assert gallery.page(kept, tmp_path).count("no result is kept") == len(SPACES)
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "letter.json").write_text(json.dumps(cell))
    (tmp_path / "other.json").write_text("[]")
    page = gallery.page(kept, tmp_path)
    assert "- **Measured**: letter (accuracy, 5m): found 90 %, hand-made 87.5 %; It is so." in page
    assert page.count("no result is kept") == len(SPACES) - 1
    assert "params" in kept["nb201"]
    assert kept["nb201"]["params"]["max"] == 1_531_546  # all convolutions of 3×3, as published for CIFAR-10
    assert kept["nb201"]["params"]["min"] == 73_306
