"""How a time budget is spent: epochs of a trial, what is kept back for the final comparison, what the rest buys.

Pure arithmetic on measured seconds; whoever calls it records what came out, so that a study can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from searchitect.finalize.planning import makespan

STEPS = 600  # optimiser steps that a usual training should have at least
TRIALS = 32  # so many full trials a search should be able to afford before their training is made longer
PAUSING_TRIALS = 12  # the same where most trials pause early: 27 epochs each buy about 100 trials, 4 of them to the end
FINAL_SHARE = 0.45  # of the budget, at most, for the final comparison
MOST_TUNING = 0.3  # of the budget, where the number of recipes is given
SEARCH_SHARE = 0.2  # of what is left, at least, for the search, however dear a network is
FINALISTS = 4  # the hand-made network among them
TEACHERS = 3  # finalists whose mean teaches, where the final trainings are distilled
MORE_ROWS = 1.3  # stage B trains on validation rows too
REPORT_SECONDS = 5.0  # bundle, its check in a fresh interpreter, report
DEARER = 1.4  # times an average network, what a strategy that learns proposes takes, and so do the best (0.85 to 1.9)
START_SECONDS = 0.1  # to build a network and hand it to a worker


class More(NamedTuple):
    """What the final comparison has beside winner and baseline: the finalists of a control, the winner once more with
    the usual recipe where it was tuned or taught, other members of an ensemble, and the networks of a teacher, which
    are trained once."""

    control: bool = False
    tuned: bool = False
    members: int = 0
    teachers: int = 0


NOTHING_MORE = More()


class Fidelities(msgspec.Struct, frozen=True):
    """Epochs and share of the rows in the search, epochs in the final training, seconds kept back for it."""

    epochs: int
    data: float
    final_epochs: int
    reserve: float


def usual_epochs(rows: int, batch: int) -> int:
    """Epochs of a full training of that many rows: about 600 steps, between 8 and 30 epochs."""
    return min(max(math.ceil(STEPS / max(1, rows // batch)), 8), 30)


def final_seconds(
    candidate: float, baseline: float, epochs: int, workers: int, *, finalists: int = FINALISTS, seeds: int = 3,
    more: More = NOTHING_MORE,
) -> float:  # fmt: skip
    """Wall seconds of both final stages.

    candidate, baseline: seconds of one epoch on the training rows. Stage A retrains every finalist, stage B the
    winner and the baseline on all rows; runs of one stage share the workers, so the last round is a whole one.
    """
    stage_a = [candidate * epochs] * (finalists * seeds * (1 + more.control)) if finalists > 1 else []
    each = candidate * epochs * MORE_ROWS
    others = [each] * (1 + more.control + (more.tuned or more.teachers > 0) + more.members)
    teacher = makespan([each] * more.teachers, workers)
    stage_b = [*others, baseline * epochs * MORE_ROWS] * seeds
    return makespan(stage_a, workers) + teacher + makespan(stage_b, workers) + REPORT_SECONDS


def choose(
    left: float, candidate: float, baseline: float, full: int, workers: int, seeds: int,
    epochs: int | None = None, trials: int = TRIALS, more: More = NOTHING_MORE,
) -> Fidelities:  # fmt: skip
    """Split what is left of a budget (seconds).

    candidate, baseline: measured seconds of one epoch of a typical network of the space, and of the baseline.
    full: epochs of a full training. epochs: what the user asked for in the search, or None.
    trials: how many full trainings the search should be able to afford (with a control, in its half of the time).
    """
    cost = final_seconds(DEARER * candidate, baseline, 1, workers, seeds=seeds, more=more) - REPORT_SECONDS
    final = min(full, int(FINAL_SHARE * left / max(cost, 1e-9)))
    final = max(final, 1 if epochs is None else min(epochs, full))
    reserve = min(final * cost + REPORT_SECONDS, (1 - SEARCH_SHARE) * left)  # or nothing would ever be measured
    for_search = (left - reserve) * workers / (1 + more.control)
    if epochs is not None:
        return Fidelities(epochs, 1.0, max(final, epochs), reserve)
    affordable = for_search / trials / max(candidate, 1e-9)
    if affordable >= 3:
        search = min(int(affordable), final)
        return Fidelities(max(search, 1), 1.0, max(final, search), reserve)
    return Fidelities(min(3, final), min(1.0, max(affordable / min(3, final), 0.1)), final, reserve)


def reserve_for(
    per_epoch: Sequence[float], baseline: float, epochs: int, workers: int, seeds: int, finalists: int = FINALISTS,
    more: More = NOTHING_MORE,
) -> float:  # fmt: skip
    """Seconds to keep back, by the measured seconds of one epoch of the best candidates so far."""
    candidate = sum(per_epoch) / len(per_epoch)
    return final_seconds(candidate, baseline, epochs, workers, finalists=finalists, seeds=seeds, more=more)
