"""Figures of a comparison as inline SVG: regret over evaluations or simulated time, and ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from searchitect.bench.stats import Ranks, Summary
from searchitect.report import svg
from searchitect.report.plain import line, show_number

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 56.0, svg.WIDTH - 12.0, 24.0, 224.0, 264.0
COLOURS = 6
BANDS = 4  # so many strategies can show their intervals without hiding one another

Curve = Sequence[tuple[float, Summary]]


def colour(index: int) -> str:
    """The classes of the i-th strategy; after six colours lines are dashed."""
    return f"s{index % COLOURS + 1}" + (" dashed" if index >= COLOURS else "")


def regret_figure(curves: Sequence[tuple[str, Curve]], axis: str) -> Markup | None:
    """Mean regret of each strategy, of up to four with 95 % intervals; both axes are logarithmic where they can be."""
    known = [(name, [(x, s) for x, s in curve if s.n and math.isfinite(s.mean)]) for name, curve in curves]
    points = [(x, s) for _, curve in known for x, s in curve]
    if not points:
        return None
    x = svg.scale([p for p, _ in points], LEFT, RIGHT, pad=0.0, log=min(p for p, _ in points) > 0)
    means = [s.mean for _, s in points]
    least = min((m for m in means if m > 0), default=0.0)
    log = least > 0 and max(means) > 5 * least
    y = svg.scale([max(m, least) if log else m for m in means], BOTTOM, TOP, log=log)
    parts = svg.Frame(x, y, HEIGHT, axis, "mean regret").draw()
    for index, (name, curve) in enumerate(known):
        if len(known) <= BANDS:
            parts += _band(x, y, curve, index)
        places = [(x(p), y(s.mean)) for p, s in curve]
        last = f", {show_number(curve[-1][1].mean)} at the end" if curve else ""
        parts.append(svg.path(places, f"curve {colour(index)}", f"{line(name, 60)}{last}"))
    spoken = "; ".join(f"{line(n, 40)} {show_number(c[-1][1].mean)}" for n, c in known if c)
    return svg.picture(f"Mean regret over {axis}; at the end {spoken}", HEIGHT, *parts)


def _band(x: svg.Scale, y: svg.Scale, curve: Curve, index: int) -> list[Markup]:
    known = [(p, s) for p, s in curve if math.isfinite(s.low) and math.isfinite(s.high)]
    if len(known) < 2:
        return []
    corners = [(x(p), y(s.high)) for p, s in known] + [(x(p), y(s.low)) for p, s in reversed(known)]
    return [svg.path(corners, f"band s{index % COLOURS + 1}")]


def rank_figure(ranks: Ranks) -> Markup | None:
    """Demšar's diagram: strategies on an axis of mean ranks; thick lines join those that cannot be told apart."""
    if not math.isfinite(ranks.difference):
        return None
    order = sorted(zip(ranks.means, ranks.names, strict=True))
    scale = svg.Scale(1.0, float(len(order)), 20.0, svg.WIDTH - 20.0)
    parts = [svg.line(scale.start, 40, scale.end, 40, "axis")]
    for tick in range(1, len(order) + 1):
        parts += [
            svg.line(scale(tick), 36, scale(tick), 40, "axis"),
            svg.text(scale(tick), 30, str(tick), "tick", "middle"),
        ]
    bars = groups(ranks)
    for place, (low, high) in enumerate(bars):
        y = 48.0 + 7 * place
        parts.append(svg.line(scale(low) - 3, y, scale(high) + 3, y, "joined"))
    top, half = 62.0 + 7 * len(bars), (len(order) + 1) // 2
    for place, (mean, name) in enumerate(order):
        left = place < half
        y = top + 18 * (place if left else len(order) - 1 - place)
        end, anchor = (0.0, "start") if left else (svg.WIDTH, "end")
        parts += [svg.line(scale(mean), 40, scale(mean), y, "stem"), svg.line(end, y, scale(mean), y, "stem")]
        parts.append(svg.text(end, y - 3, f"{line(name, 26)} {mean:.2f}", "label", anchor))
    width = scale(1 + min(ranks.difference, len(order) - 1.0)) - scale.start
    parts += [svg.line(20, 12, 20 + width, 12, "joined"), svg.text(26 + width, 16, "critical difference", "tick")]
    spoken = ", ".join(f"{line(n, 40)} {m:.2f}" for m, n in order)
    return svg.picture(f"Mean ranks: {spoken}", top + 18 * half, *parts)


def groups(ranks: Ranks) -> list[tuple[float, float]]:
    """The widest runs of strategies whose mean ranks differ by less than the critical difference."""
    means = sorted(ranks.means)
    found: list[tuple[float, float]] = []
    for i, low in enumerate(means):
        high = max(m for m in means[i:] if m - low < ranks.difference)
        if high > low and not any(a <= low and high <= b for a, b in found):
            found.append((low, high))
    return found
