"""The little SVG that the figures need: escaped elements, scales with round ticks, a framed plot.

Colours and fonts are classes of the page's style sheet, so that figures follow dark mode and print. No
element carries a style attribute or an event, and nothing refers to anything outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec
from markupsafe import Markup, escape

from searchitect.report.plain import show_count, show_metric, show_number

WIDTH = 380  # of every figure, in its own units: the narrowest screen shows it at about this size


def tag(name: str, *content: str, **attributes: str | float | None) -> Markup:
    """One element; content and attributes are escaped unless they are markup. `class_` is class."""
    pairs = [(k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items() if v is not None]
    inside = Markup("").join([Markup(' {}="{}"').format(k, _short(v)) for k, v in pairs])
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), inside, Markup("").join(map(escape, content)))


def _short(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def picture(label: str, height: float, *content: str, width: float = WIDTH, class_: str = "figure") -> Markup:
    """The outermost element; `label` is what a screen reader says."""
    box = f"0 0 {_short(float(width))} {_short(float(height))}"
    return tag("svg", *content, class_=class_, viewBox=box, role="img", aria_label=label)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def text(x: float, y: float, content: str, class_: str = "label", anchor: str = "start") -> Markup:
    """Text with its baseline at y; anchor start, middle or end."""
    return tag("text", content, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def dot(x: float, y: float, radius: float, class_: str, tip: str = "") -> Markup:
    """A circle, with a tooltip if there is something to say."""
    inside = [tag("title", tip)] if tip else []
    return tag("circle", *inside, cx=float(x), cy=float(y), r=float(radius), class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, tip: str = "") -> Markup:
    """A line through points."""
    steps = " ".join(f"{'L' if i else 'M'}{_short(float(x))} {_short(float(y))}" for i, (x, y) in enumerate(points))
    return tag("path", *([tag("title", tip)] if tip else []), d=steps, class_=class_)


def staircase(points: Sequence[tuple[float, float]], last_x: float) -> list[tuple[float, float]]:
    """The corners of a line that keeps each value until the next point, and the last one until `last_x`."""
    corners: list[tuple[float, float]] = []
    for x, y in points:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return [*corners, (last_x, corners[-1][1])] if corners else []


class Scale(msgspec.Struct, frozen=True):
    """Values from `low` to `high` to places from `start` to `end`. Values beyond are put at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high, value = (_log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def ticks(self, most: int = 5) -> list[float]:
        """Round values within the scale."""
        if self.log:
            found = [m * 10.0**e for e in range(-12, 19) for m in (1, 2, 5)]
            inside = [t for t in found if self.low <= t <= self.high]
            decades = [t for t in inside if round(math.log10(t), 9).is_integer()]
            return inside if len(inside) <= most else decades if len(decades) > 1 else inside[:: len(inside) // most]
        step = _round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _log(value: float) -> float:
    return math.log10(max(value, 1e-12))


def _round_step(width: float) -> float:
    size = 10.0 ** math.floor(math.log10(width)) if 1e-300 < width < math.inf else 1.0
    return next((m * size for m in (1, 2, 5) if m * size >= width * 0.999), 10 * size)


def scale(values: Iterable[float], start: float, end: float, *, pad: float = 0.06, log: bool = False) -> Scale:
    """A scale that holds all values within ±1e300, with some room; a single value gets room around it."""
    known = [v for v in values if abs(v) <= 1e300] or [0.0, 1.0]
    low, high = min(known), max(known)
    if log and low > 0:
        return Scale(low / 1.15, high * 1.15, start, end, True)
    spread = high - low
    if spread <= 1e-9 * abs(high) or spread < 1e-300:
        room = abs(high) * 0.05 if abs(high) > 1e-100 else 0.5
    else:
        room = pad * spread
    return Scale(low - room, high + room, start, end)


def tick_labels(metric: str, ticks: Sequence[float]) -> list[str]:
    """The ticks as text, with as few decimals as tell them apart."""
    if show_metric(metric, 0.5).endswith("%") and all(abs(t) <= 1 for t in ticks):
        return _distinct([100 * t for t in ticks], " %")
    if metric in ("params", "macs"):
        return [show_count(t) for t in ticks]
    if ticks and max(map(abs, ticks)) >= 10_000:
        return [show_count(t) for t in ticks]
    return _distinct(ticks, "")


def _distinct(values: Sequence[float], unit: str) -> list[str]:
    for decimals in range(7):
        labels = [f"{v + 0.0:.{decimals}f}{unit}".replace("-", "−") for v in values]
        exact = all(abs(float(f"{v:.{decimals}f}") - v) <= 1e-3 * max(map(abs, values)) * 0.1 for v in values)
        if exact and len(set(labels)) == len(values):
            return labels
    return [show_number(v) + unit for v in values]


class Frame(msgspec.Struct, frozen=True):
    """A plot's two scales, and what stands at its axes."""

    x: Scale
    y: Scale
    height: float
    x_name: str
    y_name: str
    x_metric: str = ""
    y_metric: str = ""

    def draw(self) -> list[Markup]:
        """Grid lines, ticks and names; the y name stands above the axis, where there is room on any screen."""
        left, right = self.x.start, self.x.end
        bottom = self.y.start
        parts = [text(0, 12, self.y_name, "label name")]
        y_ticks = self.y.ticks(5)
        for value, label in zip(y_ticks, tick_labels(self.y_metric, y_ticks), strict=True):
            parts.append(line(left, self.y(value), right, self.y(value), "gridline"))
            parts.append(text(left - 6, self.y(value) + 4, label, "tick", "end"))
        x_ticks = self.x.ticks(5)
        for value, label in zip(x_ticks, tick_labels(self.x_metric, x_ticks), strict=True):
            parts.append(line(self.x(value), bottom, self.x(value), bottom + 4, "axis"))
            parts.append(text(self.x(value), bottom + 17, label, "tick", "middle"))
        parts.append(line(left, bottom, right, bottom, "axis"))
        parts.append(text(right, bottom + 34, self.x_name, "label name", "end"))
        return parts
