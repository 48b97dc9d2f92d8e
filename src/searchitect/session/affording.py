"""Networks that a time budget can train to their end; the others of a space that we chose ourselves are left out.

The best of a space are only worth finding where there is time to train them: eight minutes in a space whose usual
network takes a minute end with a winner that saw a tenth of its epochs and loses to any small network. So where the
space was chosen for the user, a limit on multiply-accumulates follows from the probe trainings. Arithmetic on measured
seconds; whoever calls it records what came out.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from searchitect.report.plain import show_count, show_duration
from searchitect.session.budget import DEARER
from searchitect.session.preparing import Prepared
from searchitect.session.probing import Probed
from searchitect.session.timeplan import shared_out

LEAST_SHARE = 0.1  # of random networks that always stay, the smallest ones
LARGEST = 1.5  # times what a finalist is expected to take: where the largest network wins, it has 2/3 of its epochs


class Affordable(NamedTuple):
    """candidate: seconds of an epoch of an average network that stays. most_macs: of the largest one; None where all
    stay. share: of random networks that stay."""

    candidate: float
    most_macs: int | None = None
    share: float = 1.0


def affordable(prepared: Prepared, strategy: str | None, total: float, spent: float, probed: Probed) -> Affordable:
    """What stays in a budget of `total` seconds of which `spent` are gone.

    All, where the space or the epochs are the user's wish, weights are shared (strategy None) or costs are not known.
    Otherwise the largest part, by multiply-accumulates, whose average network can have a full training in the end; the
    hand-made network stays.
    """
    everything = Affordable(probed.candidate)
    settings, sampled = prepared.settings, probed.sampled
    if strategy is None or not prepared.sized or settings.epochs is not None or not settings.finalize:
        return everything
    if not sampled or not probed.points:
        return everything

    def enough(each: float) -> bool:
        found = shared_out(prepared, strategy, total, spent, each, min(each, probed.baseline))
        return found.final_epochs >= prepared.full_epochs

    seconds = between(probed.points)
    least = max(1, round(LEAST_SHARE * len(sampled)))
    count = next((n for n in range(len(sampled), least, -1) if enough(_planned(sampled[:n], seconds))), least)
    most = max(sampled[count - 1], probed.baseline_macs)
    stays = [macs for macs in sampled if macs <= most]
    if len(stays) == len(sampled):
        return everything
    return Affordable(statistics.fmean(map(seconds, stays)), most, len(stays) / len(sampled))


def between(points: Sequence[tuple[int, float]]) -> Callable[[int], float]:
    """Seconds over multiply-accumulates: straight between what was measured, in proportion beyond the largest. Smaller
    networks than the smallest take what that one takes: most of it is the cost of a step."""
    known = sorted(points)
    sizes, seconds = zip(*known, strict=True)

    def at(macs: int) -> float:
        return float(np.interp(macs, sizes, seconds)) * max(1.0, macs / float(sizes[-1]))

    return at


def left_out(stays: Affordable, total: float) -> str:
    """What is left out and why, in one sentence. total: the budget in seconds."""
    most = show_count(stays.most_macs or 0)
    return (
        f"larger networks are left out: {show_duration(total)} have no time to train those of more than {most} "
        f"multiply-accumulates to the end; {100 * stays.share:.0f} % of the space stay"
    )


def _planned(stays: Sequence[int], seconds: Callable[[int], float]) -> float:
    """Seconds of an epoch of an average network among those that stay (from small to large), or what it may be for the
    sake of the largest."""
    return max(statistics.fmean(map(seconds, stays)), seconds(stays[-1]) / (LARGEST * DEARER))
