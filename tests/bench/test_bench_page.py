"""The page and its figures: what they show, that they load nothing, and that names cannot inject anything."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from bench_tables import plain

from searchitect.bench.compare import Entry, Plan, compare
from searchitect.bench.figures import groups, rank_figure, regret_figure
from searchitect.bench.page import page, write_page
from searchitect.bench.results import results
from searchitect.bench.stats import Ranks, Summary, ranks
from searchitect.errors import StorageError

PLAN = Plan(
    ("nb201-cifar10", "transnas-scene"),
    (Entry("random"), Entry("regularized-evolution"), Entry("random", {"by": "architecture"}, "<b>uniform</b>")),
    5, 30,
)  # fmt: skip


@pytest.fixture(scope="module")
def text():
    traces = compare(PLAN)
    return page(PLAN, traces, results(PLAN, traces))


def test_the_page_shows_tables_figures_and_ranks(text):
    for words in ("nb201-cifar10", "transnas-scene", "Regret over evaluations", "Mean ranks", "Paired tests"):
        assert words in text
    assert text.count("Regret over seconds") == 1  # TransNAS does not say what training took
    assert text.count("<svg") >= 4


def test_names_are_escaped_and_nothing_is_loaded(text):
    assert "<b>" not in text
    assert "&lt;b&gt;uniform&lt;/b&gt;" in text
    assert not re.search(r"<script|https?://|style=|javascript", text)
    assert "default-src 'none'" in text or "default-src &#39;none&#39;" in text


def test_the_figures_are_well_formed(text):
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for drawing in drawings:
        ET.fromstring(drawing)


def test_the_page_is_written_and_errors_are_said(tmp_path):
    table = plain(tmp_path)
    plan = Plan((str(tmp_path / "toy.npz"),), (Entry("random"),), 3, 5)
    traces = compare(plan)
    found = results(plan, traces)
    assert write_page(tmp_path / "p.html", plan, traces, found).read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(StorageError):
        write_page(tmp_path / "no" / "p.html", plan, traces, found)
    assert table.name in (tmp_path / "p.html").read_text()


def test_a_read_out_has_its_own_table(tmp_path):
    plan = Plan(("nb201-cifar10",), (Entry("random"),), 3, 20)
    traces = compare(plan)
    shown = page(plan, traces, results(plan, traces, read_outs=["nb201-cifar100"]))
    assert "The same architectures in nb201-cifar100" in shown


def test_regret_curves_are_drawn_at_their_values():
    curve = [(float(x), Summary(1.0 / x, 0.1, 0.9 / x, 1.1 / x, 10)) for x in (1, 10, 100)]
    drawn = regret_figure([("a", curve), ("b", [(1.0, Summary(math.nan, 0, 0, 0, 0))])], "evaluations")
    (path,) = re.findall(r'<path d="([^"]+)" class="curve s1"', drawn)
    places = [tuple(map(float, p.split())) for p in re.findall(r"[ML]([\d.]+ [\d.]+)", path)]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    steps = np.diff([y for _, y in places])
    assert steps[0] == pytest.approx(steps[1], abs=0.02)  # equal factors are equal steps
    assert steps[0] > 0
    assert regret_figure([("a", [])], "evaluations") is None


def test_lines_join_what_cannot_be_told_apart():
    found = Ranks(("a", "b", "c", "d"), (1.0, 1.5, 2.2, 3.6), 0.01, 0.8, 30)
    assert groups(found) == [(1.0, 1.5), (1.5, 2.2)]
    assert groups(Ranks(("a", "b"), (1.0, 2.0), 0.01, 5.0, 30)) == [(1.0, 2.0)]
    assert groups(Ranks(("a", "b"), (1.0, 2.0), 0.01, 0.5, 30)) == []


def test_the_rank_figure_names_everyone():
    losses = np.random.default_rng(0).normal(size=(20, 7)) + np.arange(7)
    drawn = rank_figure(ranks(losses, [f"strategy {i}" for i in range(7)]))
    assert all(f"strategy {i} " in drawn for i in range(7))
    assert rank_figure(Ranks(("a",), (math.nan,), math.nan, math.nan, 0)) is None
