"""Why this winner: importance, neighbours, agreement of signals and the gap to test data, as the study keeps them.

Everything was computed when the study ended (`finalize.explaining`); here it becomes words, one figure and a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from markupsafe import Markup

from searchitect.records import Fidelity
from searchitect.report import svg
from searchitect.report.grid import Cell, Table
from searchitect.report.plain import (
    finite,
    items,
    line,
    mapping,
    plural,
    show_difference,
    show_fidelity,
    show_metric,
    show_value,
    whole,
)
from searchitect.report.snapshot import Snapshot

BARS = 10
ROWS = 200
LINES = 3  # decisions named in a terminal


class Share(msgspec.Struct, frozen=True):
    """How much of the differences between trials one decision explains: 0 to 1, with its spread over trees."""

    name: str
    share: float
    low: float
    high: float


class Why(msgspec.Struct, frozen=True):
    """The section: what the bars mean (or why there are none), the bars, the winner's decisions, what to trust."""

    importance: tuple[str, ...]
    figure: Markup
    decisions: Table | None
    signals: tuple[str, ...]


def content(snapshot: Snapshot) -> Why | None:
    """The section; None for a study that keeps nothing of the kind."""
    told = mapping(snapshot.meta.get("explained"))
    if not told:
        return None
    if told.get("skipped"):
        return Why((f"The winner is not explained: {line(told['skipped'], 300)}.",), Markup(""), None, ())
    shares = shares_of(told)
    figure = importance_figure(shares[:BARS]) if shares else Markup("")
    return Why(_importance(told, shares), figure, decision_table(told, shares), tuple(signals(told)))


def lines(snapshot: Snapshot) -> list[str]:
    """The same for a terminal: which decisions mattered most, and the gap."""
    told = mapping(snapshot.meta.get("explained"))
    shares = shares_of(told)
    named = ", ".join(f"{s.name} {_percent(s.share)}" for s in shares[:LINES])
    found = [f"What mattered: {named} of the differences between trials."] if named else []
    return found + [sentence for sentence in (gap_sentence(told),) if sentence]


# -- importance ------------------------------------------------------------------------------------------


def shares_of(told: Mapping[str, Any]) -> list[Share]:
    """The stored shares, the largest first."""
    found = []
    for row in map(mapping, items(mapping(told.get("importance")).get("shares"))[:ROWS]):
        share = finite(row.get("share"))
        if share is not None and row.get("name"):
            ends = finite(row.get("low")), finite(row.get("high"))
            low, high = (share if end is None else end for end in ends)
            found.append(Share(line(row["name"], 80), *(min(1.0, max(0.0, v)) for v in (share, low, high))))
    return sorted(found, key=lambda s: -s.share)


def _importance(told: Mapping[str, Any], shares: list[Share]) -> tuple[str, ...]:
    body = mapping(told.get("importance"))
    if not shares:
        return (f"How much each decision matters: {line(body.get('skipped') or 'not known', 300)}.",)
    trials, explains, together = whole(body.get("trials")), finite(body.get("explains")), finite(body.get("together"))
    about = f"{trials:,} trials" if trials else "the trials"
    how = measured(body.get("fidelity"))
    texts = [
        f"How much of the differences between {about}{f' ({how})' if how else ''} each decision explains alone: "
        "functional ANOVA on a forest of trees. The lines span the middle 80 % of the trees, each grown on trials "
        "drawn anew."
    ]
    if explains is not None:
        texts.append(f"The forest explains {_percent(explains)} of the differences between trials it has not seen.")
    if together is not None:
        texts.append(f"{_percent(1 - together)} of its own variance is in combinations of decisions, and in noise.")
    if len(shares) > BARS:
        texts.append(f"{plural(len(shares) - BARS, 'less important decision')} left out of the figure.")
    cut = whole(body.get("cut"))
    return (" ".join(texts), *([f"{plural(cut, 'very bad value')} cut off for it."] if cut else []))


def importance_figure(shares: list[Share]) -> Markup:
    """A bar for each decision with its spread over trees; all on a scale from 0 to 100 %."""
    longest, parts = svg.WIDTH - 60.0, []
    for index, share in enumerate(shares):
        y = 13.0 + 34 * index
        tip = f"{share.name}: {_percent(share.share)} ({_percent(share.low)} to {_percent(share.high)} over trees)"
        bar = {"x": 0.0, "y": y + 6, "width": max(1.0, longest * share.share), "height": 9.0}
        parts.append(svg.text(0, y, line(share.name, 54)))
        parts.append(svg.tag("rect", svg.tag("title", tip), class_="bar faint s1", **bar))
        parts.append(svg.line(longest * share.low, y + 10.5, longest * share.high, y + 10.5, "whisker s1"))
        parts.append(svg.dot(longest * share.share, y + 10.5, 4, "mean s1", tip))
        parts.append(svg.text(svg.WIDTH, y + 14, _percent(share.share), "tick", "end"))
    spoken = "; ".join(f"{s.name} {_percent(s.share)}" for s in shares)
    return svg.picture(f"Share of the differences that each decision explains: {spoken}", 34.0 * len(shares), *parts)


def _percent(share: float) -> str:
    """0.034 → "3 %", 0.004 → "under 1 %"."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %".replace("-", "−")


# -- decisions -------------------------------------------------------------------------------------------


def decision_table(told: Mapping[str, Any], shares: list[Share]) -> Table | None:
    """The winner's decisions, the most important first: importance, what neighbours lost, the weaker evidence."""
    known = {s.name: s.share for s in shares}
    rows = []
    for row in map(mapping, items(told.get("decisions"))[:ROWS]):
        name = line(row.get("name") or "", 80)
        share = known.get(name)
        rows.append([
            Cell(name), Cell(show_value(row.get("value"))),
            Cell("–" if share is None else _percent(share), share),
            _neighbours(told, row), _others(told, row),
        ])  # fmt: skip
    rows.sort(key=lambda cells: -(cells[2].sort or 0.0))  # type: ignore[operator]
    names = ("Decision", "Chosen", "Explains", "Trials that differ in this alone", "All trials that differ in this")
    columns = tuple((name, name == "Explains") for name in names)
    return Table(columns, rows, [""] * len(rows), sortable=True) if rows else None


def _neighbours(told: Mapping[str, Any], row: Mapping[str, Any]) -> Cell:
    count, lost = whole(row.get("neighbours")), finite(row.get("lost"))
    if not count or lost is None:
        return Cell("none", float("inf"), "wide")
    least, most = finite(row.get("least")), finite(row.get("most"))
    spread = ""
    if count > 1 and least is not None and most is not None:
        spread = f" ({_change(told, most).removesuffix(' points')} to {_change(told, least)})"
    return Cell(f"{plural(count, 'trial')}: {_change(told, lost)}{spread}", -lost, "wide")


def _others(told: Mapping[str, Any], row: Mapping[str, Any]) -> Cell:
    apart, others, same = finite(row.get("apart")), whole(row.get("others")), whole(row.get("same"))
    if apart is None or others is None or same is None:
        return Cell("–", float("inf"), "wide")
    return Cell(f"{_change(told, apart)} ({others:,} against {same:,})", -apart, "wide")


def _change(told: Mapping[str, Any], lost: float) -> str:
    """A loss as a change of the metric: what is worse has a minus where more is better."""
    return show_difference(_metric(told), lost if told.get("direction") == "min" else -lost)


def _metric(told: Mapping[str, Any]) -> str:
    return line(told.get("metric") or "", 60)


# -- signals ---------------------------------------------------------------------------------------------


def measured(value: Any) -> str:
    """A stored fidelity in words; "" for what is none."""
    try:
        return show_fidelity(msgspec.convert(mapping(value), Fidelity))
    except msgspec.ValidationError:
        return ""


def signals(told: Mapping[str, Any]) -> list[str]:
    """How well each signal ranks what the next one measured, and what validation promised against test data."""
    found = [agreement_sentence(mapping(row)) for row in items(told.get("agreement"))[:5]]
    return [sentence for sentence in (*found, gap_sentence(told)) if sentence]


def agreement_sentence(row: Mapping[str, Any]) -> str:
    """One rank agreement with its interval; "" for what cannot be read."""
    n, tau, first = whole(row.get("n")), finite(row.get("tau")), measured(row.get("first"))
    final = row.get("second") == "retrained"
    second = "their means after retraining" if final else measured(row.get("second"))
    if n is None or not first or not second:
        return ""
    things = plural(n, "finalist" if final else "architecture")
    if tau is None:
        return f"Whether the search's values ({first}) rank like {second} cannot be told from {things}."
    low, high = finite(row.get("low")), finite(row.get("high"))
    numbers = f"{tau:.2f}" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")
    numbers = numbers.replace("-", "−")
    meaning = "this does not show that the first is a guide to the second"
    if low is not None and low > 0:
        meaning = "the first is a guide to the second"
    elif high is not None and high < 0:
        meaning = "the first misleads about the second"
    who = f"The search's values ({first})" if final else f"Values with {first}"
    return f"{who} and {'' if final else 'with '}{second} rank {things} with Kendall's τ {numbers}: {meaning}."


def gap_sentence(told: Mapping[str, Any]) -> str:
    """The winner on validation and on test data, with the number of looks at validation data."""
    body, metric = mapping(told.get("gap")), _metric(told)
    test, own = finite(body.get("test")), body.get("own_data") is True
    promised = [
        (finite(body.get("search")), "with inherited weights" if body.get("kind") == "inherited" else "in the search"),
        (finite(body.get("retrained")), "on average over its retrainings"),
    ]
    known = [(value, when) for value, when in promised if value is not None]
    if not known or test is None:
        return ""
    last = known[-1][0]
    largest = max(abs(last), abs(test))
    numbers = " and ".join(f"{show_metric(metric, value)} {when}" for value, when in known)
    looks = _looks(mapping(body.get("looks")))
    where = "by your own function with fresh seeds" if own else "on test data, trained on the validation rows too"
    return (
        f"The winner had {numbers}{'' if own else ' on validation data'}, then {show_metric(metric, test)} {where}: "
        f"{show_difference(metric, test - last, largest=largest)} against the last of what chose it. {looks}"
    ).rstrip()


def _looks(looks: Mapping[str, Any]) -> str:
    names = {"trials": "trial", "retrainings": "retraining", "recipes": "tuning run"}
    counts = [(whole(looks.get(key)) or 0, noun) for key, noun in names.items()]
    total = sum(n for n, _ in counts)
    parts = ", ".join(plural(n, noun) for n, noun in counts if n)
    return f"It was chosen by {plural(total, 'look')} at such values ({parts}); the more, the more hopeful." * bool(
        total
    )
