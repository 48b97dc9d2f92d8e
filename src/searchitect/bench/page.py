"""One self-contained page of a comparison, in the look of a study's report. It loads and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from markupsafe import Markup

from searchitect.bench import figures
from searchitect.bench.compare import Plan, Trace
from searchitect.bench.results import curve
from searchitect.bench.stats import Ranks
from searchitect.report.files import write_atomically
from searchitect.report.plain import clean, number, show_number
from searchitect.report.svg import tag

PLACES = 60  # points of a curve
SHOWN = 20  # a curve begins at this part of its end; before there is little but noise
KEY = (
    "Score: mean ± standard deviation at the end. Regret: the mean at the end, then after so many evaluations. CPU ms: "
    "for one proposal."
)
EXTRA = """
.band { fill: var(--c); fill-opacity: 0.15; stroke: none; } .dashed { stroke-dasharray: 5 3; }
.joined { stroke: var(--ink); stroke-width: 3.5; stroke-linecap: round; } .stem { stroke: var(--soft); }
"""


def write_page(path: Path, plan: Plan, traces: Sequence[Trace], found: Mapping[str, Any]) -> Path:
    """Write the page. Raises StorageError when it cannot be written."""
    return write_atomically(path, page(plan, traces, found).encode("utf-8", "replace"))


def page(plan: Plan, traces: Sequence[Trace], found: Mapping[str, Any]) -> str:
    """The page as text."""
    style = (files("searchitect.report") / "templates" / "report.css").read_text(encoding="utf-8") + EXTRA
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    body = [_head(plan, found), *(_section(plan, traces, table) for table in found["tables"])]
    if found["ranks"]:
        body.append(_ranks(found["ranks"]))
    meta = [
        Markup('<meta charset="utf-8">'),
        Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(policy),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", "Comparison – searchitect"),
        Markup("<style>{}</style>").format(Markup(style)),
    ]  # fmt: skip
    head, main = Markup("").join(meta), Markup("").join(body)
    return Markup('<!DOCTYPE html>\n<html lang="en"><head>{}</head><body>{}</body></html>\n').format(head, main)


def _head(plan: Plan, found: Mapping[str, Any]) -> Markup:
    ends = [f"{show_number(plan.evaluations)} evaluations" if plan.evaluations else ""]
    ends.append(f"{show_number(plan.seconds)} simulated seconds" if plan.seconds else "")
    facts = f"{found['seeds']} searches with each strategy on each table, each of {' or '.join(e for e in ends if e)}"
    facts += f"; {plan.workers} virtual workers" if plan.workers > 1 else ""
    facts += "; equivalents cost nothing" if plan.reuse else "; every evaluation is charged"
    return tag("header", tag("h1", "Strategies compared"), tag("p", facts, class_="meta"))


def _section(plan: Plan, traces: Sequence[Trace], table: Mapping[str, Any]) -> Markup:
    name, unit = str(table["table"]), f" {table['unit']}" if table["unit"] else ""
    about = f"{clean(table['about'])}. Strategies see {', '.join(table['objectives'])}; {table['score']} judges. "
    about += f"The best architecture has {show_number(number(table['optimum']))}{unit}; regret is the distance to it."
    parts = [tag("h2", clean(name)), tag("p", about)]
    drawn = [_figure(plan, traces, name, "evaluations")]
    if plan.seconds or any(t.seconds > t.evaluations for t in traces if t.table == name):
        drawn.append(_figure(plan, traces, name, "seconds"))
    parts.append(_legend([e.shown for e in plan.entries]))
    parts.append(tag("div", *(d for d in drawn if d), class_="columns"))
    parts += [tag("p", KEY, class_="meta"), _scores(table)]
    for place, read_out in enumerate(table["strategies"][0]["read_out"]):
        parts += [tag("h2", f"The same architectures in {clean(read_out['table'])}"), _scores(table, place)]
    if table["tests"]:
        parts.append(_tests(table["tests"]))
    return tag("section", *parts)


def _figure(plan: Plan, traces: Sequence[Trace], name: str, by: str) -> Markup | None:
    mine = [t for t in traces if t.table == name]
    most = min(max((t.evaluations if by == "evaluations" else t.seconds) for t in mine if t.label == e.shown)
               for e in plan.entries)  # fmt: skip
    first = 1.0 if by == "evaluations" else min((t.changes[0][1] for t in mine if t.changes), default=1.0)
    first = max(first, round(most / SHOWN)) if most > SHOWN else first
    if not most > first > 0:
        return None
    places = np.geomspace(first, most, PLACES)
    if by == "evaluations":
        places = np.unique(places.round())
    curves = [(e.shown, curve(plan, name, traces, e.shown, places.tolist(), by)) for e in plan.entries]
    drawn = figures.regret_figure(curves, "evaluations" if by == "evaluations" else "simulated seconds")
    if drawn is None:
        return None
    return tag("figure", tag("figcaption", f"Regret over {by}"), drawn)


def _legend(names: Sequence[str]) -> Markup:
    keys = []
    for index, name in enumerate(names):
        sample = Markup('<svg class="key" viewBox="0 0 22 10" aria-hidden="true">{}</svg>').format(
            tag("line", x1=1.0, y1=5.0, x2=21.0, y2=5.0, class_=f"curve {figures.colour(index)}")
        )
        keys.append(tag("li", sample, clean(name, 60)))
    return tag("ul", *keys, class_="legend")


def _scores(table: Mapping[str, Any], place: int | None = None) -> Markup:
    """Scores and regrets at the end, regrets at the common points, CPU ms per proposal; of a read-out, where its
    place is given."""
    rows, strategies = [], table["strategies"]
    points = [p for p in strategies[0]["at"] if all(p in s["at"] for s in strategies)]
    for s in strategies:
        judged = s if place is None else s["read_out"][place]
        score, regret = judged["end"]["score"], judged["end"]["regret"]
        cells = [clean(s["label"], 60), show_number(number(s["evaluations"]["mean"])), _pm(score)]
        cells += [show_number(number(regret["mean"]))]  # its deviation is that of the score
        cells += [show_number(number(judged["at"][p]["regret"]["mean"])) for p in points]
        rows.append([*cells, show_number(number(s["cpu_ms_per_proposal"]))])
    head = ["strategy", "evaluations", "score", "regret", *(f"at {p}" for p in points), "CPU ms"]
    return _table(head, rows)


def _tests(tests: Sequence[Mapping[str, Any]]) -> Markup:
    rows = []
    for t in tests:
        low, high = show_number(number(t["low"])), show_number(number(t["high"]))
        cells = [
            clean(t["first"], 60),
            clean(t["second"], 60),
            show_number(number(t["difference"])),
            f"{low} to {high}",
        ]
        rows.append([*cells, show_number(number(t["p"])), show_number(number(t["holm"]))])
    note = (
        "Over the same seeds: how much more regret the second has than the first, with a bootstrap interval of 95 %; "
    )
    note += "p of the Wilcoxon signed-rank test, and after Holm's correction for all pairs."
    head = ["first", "second", "difference", "interval", "p", "p (Holm)"]
    return tag("details", tag("summary", "Paired tests"), tag("p", note), _table(head, rows, text=2))


def _ranks(body: Mapping[str, Any]) -> Markup:
    ranks = msgspec.convert({**body, "p": number(body["p"]), "difference": number(body["difference"])}, Ranks)
    drawn = figures.rank_figure(ranks)
    note = f"Over {ranks.blocks} searches, the same for all; Friedman test with p = {show_number(ranks.p)}. Strategies "
    note += "that a thick line joins cannot be told apart (Nemenyi, 5 %). This says nothing about other tables."
    parts = [tag("h2", "Mean ranks, 1 is best"), tag("p", note)]
    return tag("section", *parts, *([tag("figure", drawn)] if drawn else []))


def _pm(score: Mapping[str, Any]) -> str:
    return f"{show_number(number(score['mean']))} ± {show_number(number(score['std']))}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> Markup:
    """A table whose first `text` columns hold words and the others numbers."""
    names = [tag("th", h, class_=None if i < text else "number", scope="col") for i, h in enumerate(head)]
    lines = [
        tag("tr", *(tag("td", c, class_=None if i < text else "number") for i, c in enumerate(row))) for row in rows
    ]
    return tag(
        "div", tag("table", tag("thead", tag("tr", *names)), tag("tbody", *lines)), class_="scroll", tabindex="0"
    )
