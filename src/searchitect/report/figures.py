"""The figures, drawn from the tables as inline SVG. See `svg` for why there is no library behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from searchitect.records import Objective, Score, Verdict, goals
from searchitect.report import svg
from searchitect.report.accounts import DecisionShares
from searchitect.report.plain import line, show_difference, show_metric, show_number
from searchitect.report.tables import FrontPoint, LearningCurve, Point, Progress

LEFT, RIGHT, TOP, BOTTOM = 56.0, svg.WIDTH - 12.0, 24.0, 204.0
HEIGHT = 244.0
MOST_DOTS = 400
MOST_CURVES = 4
UNITS = ((7200.0, 3600.0, "hours"), (150.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def name_of(metric: str) -> str:
    """A metric's name for people: `latency_ms` → "latency (ms)"."""
    words = {"latency_ms": "latency (ms)", "memory_mb": "memory (MB)", "macs": "MACs", "params": "parameters"}
    return words.get(metric, line(metric.replace("_", " "), 40))


def verdict_figure(verdict: Verdict, names: tuple[str, str] = ("Winner", "Baseline")) -> Markup:
    """Both sides with their intervals and single values on one scale; the difference below."""
    rows = [(names[0], verdict.winner, "s1")]
    if verdict.baseline is not None:
        rows.append((names[1], verdict.baseline, "s2"))
    metric = verdict.metric
    values = [v for _, s, _ in rows for v in (s.mean, s.low, s.high, *s.values)]
    scale = svg.scale(values, 10, svg.WIDTH - 10)
    parts: list[Markup] = []
    for index, (label, score, colour) in enumerate(rows):
        y = 34.0 + 52 * index
        parts.append(svg.text(0, y - 16, label, "label strong"))
        parts.append(svg.text(svg.WIDTH, y - 16, interval_words(metric, score), "label", "end"))
        parts.extend(whisker(scale, score, y, colour, metric))
    bottom = 10.0 + 52 * len(rows)
    parts.extend(axis(scale, bottom, metric))
    height = bottom + 24
    if verdict.difference is not None and verdict.low is not None and verdict.high is not None:
        parts.extend(_difference(verdict, height + 24))
        height += 84
    spoken = "; ".join(f"{label} {interval_words(metric, score)}" for label, score, _ in rows)
    return svg.picture(f"{name_of(metric)} on test data: {spoken}", height, *parts)


def interval_words(metric: str, score: Score) -> str:
    """A mean with its interval, the unit once."""
    low, high = show_metric(metric, score.low), show_metric(metric, score.high)
    if low.endswith(" %") and high.endswith(" %"):
        low = low[:-2]
    return f"{show_metric(metric, score.mean)} ({low} to {high})"


def whisker(scale: svg.Scale, score: Score, y: float, colour: str, metric: str) -> list[Markup]:
    """A mean as a large dot, its interval as a bar with ends, single values as small dots."""
    low, high = scale(score.low), scale(score.high)
    parts = [svg.line(low, y, high, y, f"whisker {colour}")]
    parts += [svg.line(x, y - 5, x, y + 5, f"whisker {colour}") for x in (low, high)]
    parts += [svg.dot(scale(v), y, 3, f"single {colour}", f"one seed: {show_metric(metric, v)}") for v in score.values]
    return [*parts, svg.dot(scale(score.mean), y, 6, f"mean {colour}", f"mean: {show_metric(metric, score.mean)}")]


def axis(scale: svg.Scale, y: float, metric: str) -> list[Markup]:
    """The axis of intervals, with the metric's unit at its ticks."""
    ticks = scale.ticks(4)
    labels = svg.tick_labels(metric, ticks)
    parts = [svg.line(scale.start, y, scale.end, y, "axis")]
    for value, label in zip(ticks, labels, strict=True):
        x = scale(value)
        parts.append(svg.line(x, y, x, y + 4, "axis"))
        parts.append(svg.text(min(max(x, 18), svg.WIDTH - 18), y + 17, label, "tick", "middle"))
    return parts


def _difference(verdict: Verdict, top: float) -> list[Markup]:
    low, high, middle = verdict.low or 0.0, verdict.high or 0.0, verdict.difference or 0.0
    largest = max(abs(verdict.winner.mean), abs(verdict.baseline.mean if verdict.baseline else 0.0))
    words = [show_difference(verdict.metric, v, largest=largest) for v in (middle, low, high)]
    if words[1].endswith(" points"):
        words = [w.removesuffix(" points") for w in words[:2]] + [words[2]]
    scale = svg.scale([low, high, middle, 0.0], 10, svg.WIDTH - 10)
    y = top + 18
    zero = scale(0.0)
    score = Score(middle, low, high, 0)
    ticks = scale.ticks(4)
    numbers = [100 * t for t in ticks] if largest <= 1 and words[2].endswith("points") else ticks
    parts = [
        svg.text(0, top, "Difference", "label strong"),
        svg.text(svg.WIDTH, top, f"{words[0]} ({words[1]} to {words[2]})", "label", "end"),
        svg.line(zero, y - 10, zero, y + 16, "zero"),
        *whisker(scale, score, y, "s3", ""),
        svg.line(scale.start, y + 16, scale.end, y + 16, "axis"),
    ]
    for tick, label in zip(ticks, svg.tick_labels("", numbers), strict=True):
        x = min(max(scale(tick), 18), svg.WIDTH - 18)
        parts.append(svg.text(x, y + 33, label, "tick", "middle"))
    return parts


def progress_figure(curves: Sequence[Progress], axis: str, baseline: Point | None = None) -> Markup:
    """The best value so far over "ended" trials or over "seconds", one line for each fidelity; the value of
    the hand-made network, measured like the first of them, as a dashed line."""
    curves = [c for c in curves[:MOST_CURVES] if axis == "ended" or all(p.seconds is not None for p in c.points)]
    if not curves:
        return Markup("")
    unit, name = 1.0, "trials ended"
    if axis == "seconds":
        longest = max(c.seconds or 0.0 for c in curves)
        unit, name = next((u, f"{n} of searching") for least, u, n in UNITS if longest >= least)
    first = curves[0]
    last = max((c.ended if axis == "ended" else (c.seconds or 0.0)) / unit for c in curves)
    x = svg.Scale(0.0, max(last, 1e-6), LEFT, RIGHT)
    y = svg.scale(_shown_range(curves), BOTTOM, TOP)
    arrow = "higher is better" if first.direction == "max" else "lower is better"
    frame = svg.Frame(x, y, HEIGHT, name, f"{name_of(first.metric)} ({arrow})", "", first.metric)
    parts = frame.draw()
    for index, curve in enumerate(curves):
        where = [(x(_position(p, axis) / unit), p) for p in thinned(curve.points) if y.low <= p.value <= y.high]
        parts += [svg.dot(at, y(p.value), 2.5, f"faint s{index + 1}", _tip(curve, p)) for at, p in where]
    if baseline is not None and y.low <= baseline.value <= y.high:
        words = f"baseline, trial {baseline.number}: {show_metric(first.metric, baseline.value)}"
        parts.append(svg.path([(LEFT, y(baseline.value)), (RIGHT, y(baseline.value))], "curve s6 passes", words))
    for index, curve in reversed(list(enumerate(curves))):
        corners = svg.staircase([(x(_position(p, axis) / unit), y(p.value)) for p in curve.steps], x(last))
        parts.append(svg.path(corners, f"curve s{index + 1}", f"best so far, {curve.label}"))
        parts += [
            svg.dot(x(_position(p, axis) / unit), y(p.value), 3.5, f"mean s{index + 1}", _tip(curve, p))
            for p in curve.steps
        ]
    final = show_metric(first.metric, first.steps[-1].value)
    return svg.picture(f"Best {name_of(first.metric)} so far over {name}: {final} at the end", HEIGHT, *parts)


def _position(point: Point, axis: str) -> float:
    return float(point.ended) if axis == "ended" else point.seconds or 0.0


def _tip(curve: Progress, point: Point) -> str:
    return f"trial {point.number}: {show_metric(curve.metric, point.value)}, {curve.label}"


def _shown_range(curves: Sequence[Progress]) -> list[float]:
    """The values that the frame must hold: a few very bad ones, or a bad start, would flatten all the rest."""
    return [v for c in curves for v in without_bad([p.value for p in c.points], c.direction)]


def without_bad(values: Sequence[float], direction: str) -> list[float]:
    """The values but for those that lie far behind the middle half of them (by more than twice its width)."""
    sign = 1 if direction == "max" else -1
    ordered = sorted((sign * v for v in values), reverse=True)
    good, bad = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
    return [sign * v for v in ordered if v >= bad - 2 * (good - bad)]


def out_of_frame(curves: Sequence[Progress]) -> int:
    """How many measured trials lie outside the frame of `progress_figure`."""
    y = svg.scale(_shown_range(curves[:MOST_CURVES]), 0, 1)
    return sum(not y.low <= p.value <= y.high for c in curves[:MOST_CURVES] for p in c.points)


def thinned(points: Sequence[Point], most: int = MOST_DOTS) -> list[Point]:
    """At most `most` of the points, evenly spread."""
    step = max(1, math.ceil(len(points) / most))
    return list(points[::step])


def front_figure(points: Sequence[FrontPoint], objectives: Sequence[Objective], winner: int | None) -> Markup:
    """The candidates by the first two goals; those that nothing dominates are joined by the front."""
    first, second = goals(objectives)[:2]
    inside = front_inside(points, first)
    xs, ys = [p.values[1] for p in inside], [p.values[0] for p in inside]
    x = svg.scale(xs, LEFT, RIGHT, log=_wide(xs))
    y = svg.scale(ys, BOTTOM, TOP, log=_wide(ys))
    better = {"max": "higher is better", "min": "lower is better"}
    frame = svg.Frame(
        x, y, HEIGHT, f"{name_of(second.metric)} ({better[second.direction]})",
        f"{name_of(first.metric)} ({better[first.direction]})", second.metric, first.metric,
    )  # fmt: skip
    parts = frame.draw()
    rest = [p for p in inside if not p.best]
    ends = [p for p in inside if p.best]
    for p in rest[:: max(1, math.ceil(len(rest) / MOST_DOTS))]:
        parts.append(svg.dot(x(p.values[1]), y(p.values[0]), 2.5, "faint s2", _front_tip(p, first, second)))
    if len(ends) > 1 and len(goals(objectives)) == 2:
        ordered = sorted(ends, key=lambda p: p.values[1])
        corners = _front_corners([(x(p.values[1]), y(p.values[0])) for p in ordered], second.direction)
        parts.append(svg.path(corners, "curve s1", "front: better in one goal only at the price of the other"))
    for p in ends[:MOST_DOTS]:
        mark = " ring" if p.number == winner else ""
        tip = _front_tip(p, first, second) + (" (winner)" if mark else "")
        parts.append(svg.dot(x(p.values[1]), y(p.values[0]), 6 if mark else 4, f"mean s1{mark}", tip))
    label = f"{name_of(first.metric)} against {name_of(second.metric)}: {len(ends)} of {len(points)} on the front"
    return svg.picture(label, HEIGHT, *parts)


def front_inside(points: Sequence[FrontPoint], first: Objective) -> list[FrontPoint]:
    """The points within the frame: the front, and the others but for very bad ones."""
    kept = set(without_bad([p.values[0] for p in points], first.direction))
    return [p for p in points if p.best or p.values[0] in kept]


def _wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 20


def _front_corners(points: Sequence[tuple[float, float]], direction: str) -> list[tuple[float, float]]:
    """The border of what the front reaches: going right costs first, or gains first."""
    if direction == "min":
        return svg.staircase(points, points[-1][0])
    return [(x, y) for x, y in reversed(svg.staircase(list(reversed(points)), points[0][0]))]


def _front_tip(point: FrontPoint, first: Objective, second: Objective) -> str:
    values = (
        f"{name_of(o.metric)} {show_metric(o.metric, v)}" for o, v in zip((first, second), point.values, strict=False)
    )
    return f"trial {point.number}: {', '.join(values)}"


def learning_figure(curves: Sequence[LearningCurve]) -> Markup:
    """Each curve as a line over its epochs or steps; the winner's is the strong one."""
    metric, axis = curves[0].metric, curves[0].axis
    x = svg.scale([p[0] for c in curves for p in c.points], LEFT, RIGHT, pad=0.02)
    y = svg.scale([p[1] for c in curves for p in c.points], BOTTOM, TOP)
    parts = svg.Frame(x, y, HEIGHT, axis, name_of(metric), "", metric).draw()
    for index, curve in reversed(list(enumerate(curves))):
        strong = " strong" if curve.role == "winner" else ""
        last = show_metric(metric, curve.points[-1][1])
        tip = f"trial {curve.number} ({curve.role}): {last} after {show_number(curve.points[-1][0])} {axis}s"
        places = [(x(a), y(b)) for a, b in curve.points]
        parts.append(svg.path(places, f"curve s{index + 1}{strong}", tip))
        parts.append(svg.dot(*places[-1], 3.5, f"mean s{index + 1}", tip))
    return svg.picture(f"{name_of(metric)} over {axis}s of {len(curves)} trials", HEIGHT, *parts)


def shares_figure(decision: DecisionShares) -> Markup:
    """For each option two bars: its share among the best above its share among all."""
    rows = decision.shares[:10]
    width, left, longest = 290.0, 112.0, 112.0
    parts: list[Markup] = []
    for index, share in enumerate(rows):
        y = 15.0 + 27 * index
        parts.append(svg.text(0, y, _clipped(share.option, 18), "label"))
        for offset, part, colour, who in ((-11, share.best, "s1", "the best"), (-2, share.all, "faint s2", "all")):
            tip = svg.tag("title", f"{share.option}: {100 * part:.0f} % of {who}")
            size = {"x": left, "y": y + offset, "width": max(1.0, longest * part), "height": 8.0}
            parts.append(svg.tag("rect", tip, class_=f"bar {colour}", **size))
        parts.append(svg.text(width, y, f"{100 * share.best:.0f} / {100 * share.all:.0f} %", "tick", "end"))
    spoken = "; ".join(f"{s.option}: {100 * s.best:.0f} % of the best, {100 * s.all:.0f} % of all" for s in rows)
    return svg.picture(f"{line(decision.name, 60)}: {spoken}", 27.0 * len(rows) + 4, *parts, width=width)


def _clipped(words: str, most: int) -> str:
    words = line(words, 80)
    return words if len(words) <= most else words[: most - 1] + "…"
