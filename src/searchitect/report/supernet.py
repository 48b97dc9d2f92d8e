"""What a supernet did, epoch by epoch: shares of options as small figures, and the guard in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
from markupsafe import Markup

from searchitect.records import Epoch
from searchitect.report import cells, svg
from searchitect.report.plain import finite, line, mapping, plural, show_number, whole
from searchitect.report.snapshot import Snapshot

SHOWN = 16  # decisions with a figure
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 290.0, 130.0, 26.0, 186.0, 10.0, 112.0


class Gate(msgspec.Struct, frozen=True):
    """The shares of one decision over the epochs: `curves` has a line for each of `options`, in their order."""

    name: str
    options: tuple[str, ...]
    epochs: tuple[int, ...]
    curves: tuple[tuple[float, ...], ...]
    derived: str  # the option that was taken in the end, or ""


def epochs(snapshot: Snapshot) -> list[Epoch]:
    """The epochs that were recorded, in their order; what is not one is left out."""
    found = []
    for note in snapshot.notes:
        if note.kind == "epoch":
            try:
                found.append(msgspec.convert(note.body, Epoch, strict=False))
            except msgspec.ValidationError:
                continue
    return sorted(found, key=lambda epoch: epoch.number)


def gates(found: Sequence[Epoch]) -> list[Gate]:
    """A table of shares for each decision that has them in every epoch."""
    if not found:
        return []
    last, rows = found[-1], []
    for name, labels in last.options.items():
        shares = [epoch.gates.get(name, ()) for epoch in found]
        if any(len(share) != len(labels) for share in shares):
            continue
        curves = tuple(tuple(share[i] for share in shares) for i in range(len(labels)))
        chosen = last.derived.get(name)
        rows.append(
            Gate(
                name, tuple(str(label) for label in labels), tuple(epoch.number for epoch in found), curves,
                "" if chosen is None else str(chosen),
            )
        )  # fmt: skip
    return rows


def gate_figure(gate: Gate) -> Markup:
    """One decision: a line for each option over the epochs, named at its end; the derived one is strong."""
    top = max(max(curve) for curve in gate.curves)
    x = svg.scale([float(n) for n in gate.epochs], LEFT, RIGHT, pad=0.02)
    y = svg.scale([0.0, max(top, 1e-6)], BOTTOM, TOP, pad=0.0)
    parts = [svg.line(LEFT, BOTTOM, RIGHT, BOTTOM, "axis"), svg.text(0, TOP + 4, f"{100 * top:.0f} %", "tick")]
    parts.append(svg.text(0, BOTTOM, "0", "tick"))
    parts.append(svg.text(RIGHT, BOTTOM + 13, f"epoch {gate.epochs[-1]}", "tick", "end"))
    ends = _apart([y(curve[-1]) for curve in gate.curves])
    for i, (label, curve) in enumerate(zip(gate.options, gate.curves, strict=True)):
        strong = " strong" if label == gate.derived else ""
        colour = f"s{i % 6 + 1}"
        tip = f"{label}: {100 * curve[0]:.0f} % after the first epoch, {100 * curve[-1]:.0f} % after the last"
        places = [(x(float(n)), y(value)) for n, value in zip(gate.epochs, curve, strict=True)]
        parts.append(svg.path(places, f"curve {colour}{strong}", tip))
        parts.append(svg.dot(*places[-1], 2.5, f"mean {colour}", tip))
        parts.append(svg.text(RIGHT + 8, ends[i] + 3, _clipped(label), "label strong" if strong else "tick"))
    spoken = "; ".join(f"{o} {100 * c[-1]:.0f} %" for o, c in zip(gate.options, gate.curves, strict=True))
    return svg.picture(f"{line(gate.name, 60)}: {spoken}", HEIGHT, *parts, width=WIDTH)


def _apart(places: Sequence[float], least: float = 11.0) -> list[float]:
    """The heights moved so far apart that labels do not cover each other; their order is kept."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: places[i])
    for before, i in pairwise(order):
        moved[i] = max(moved[i], moved[before] + least)
    lowest = BOTTOM + 6
    for i in reversed(order):  # those pushed below the frame go up again, and with them who is above
        moved[i] = min(moved[i], lowest)
        lowest = moved[i] - least
    return moved


def _clipped(words: str) -> str:
    words = line(words, 40)
    return words if len(words) <= 17 else words[:16] + "…"


def guard_words(found: Sequence[Epoch]) -> str:
    """What the guard against collapse saw, in one or two sentences."""
    looks = [epoch.guard for epoch in found if {"skips", "chosen"} <= epoch.guard.keys()]
    if not looks:
        return ""
    first, last = looks[0], looks[-1]
    words = (
        f"Of {last['chosen']:.0f} operations in a derived cell {first['skips']:.0f} were skip connections after the "
        f"first epoch and {last['skips']:.0f} after the last."
    )
    gap = finite(last.get("gap"))
    if gap is not None:
        side = "higher" if gap > 0 else "lower"
        words += f" The loss of the derived network was {show_number(abs(gap))} {side} than that of the mixture."
    curvature = [v for look in looks if (v := finite(look.get("eigenvalue"))) is not None]
    if curvature:
        words += f" The largest curvature went from {show_number(curvature[0])} to {show_number(curvature[-1])}."
    stop = found[-1].stop
    return words + (f" The guard stopped the search: {line(stop, 300)}." if stop else " The guard saw no collapse.")


def ranking_words(snapshot: Snapshot) -> str:
    """How well inherited weights ranked random networks; "" where nobody asked."""
    body = next((mapping(note.body) for note in reversed(snapshot.notes) if note.kind == "ranking"), {})
    tau, low, high = (finite(body.get(name)) for name in ("tau", "low", "high"))
    n, epochs, metric = whole(body.get("n")), whole(body.get("epochs")), line(body.get("metric") or "", 40)
    if tau is None or low is None or high is None or not n or not epochs:
        return ""
    if low > 0:
        meaning = "Inherited weights ranked them better than chance."
    else:
        meaning = "Whether inherited weights rank better than chance cannot be told."
    return (
        f"{n:,} random networks were ranked by their {metric} with inherited weights, and after "
        f"{plural(epochs, 'epoch')} of training from scratch: Kendall's τ is {show_number(tau)} (95 % interval "
        f"{show_number(low)} to {show_number(high)}; 1 is the same order, 0 none). {meaning}"
    )


def _has_shares(epoch: Epoch) -> bool:
    """Whether the method preferred anything: even shares everywhere say that it only trained the supernet."""
    return any(max(shares) - min(shares) > 1e-6 for shares in epoch.gates.values() if len(shares) > 1)


def content(snapshot: Snapshot) -> dict[str, Any]:
    """What the page shows of a supernet; empty where there was none."""
    found = epochs(snapshot)
    shown = gates(found)[:SHOWN]
    space = mapping(snapshot.meta.get("space")).get("json")
    return {
        "supernet_epochs": len(found),
        "supernet_figures": [(line(gate.name, 60), gate_figure(gate)) for gate in shown],
        "supernet_more": max(0, len(gates(found)) - SHOWN),
        "supernet_words": guard_words(found),
        "supernet_ranking": ranking_words(snapshot),
        "supernet_cells": cells.content(space, found[-1].derived) if found and _has_shares(found[-1]) else [],
    }
