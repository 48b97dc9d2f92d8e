"""Who is ahead after stage A, by validation alone, and when the hand-made network gives way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.special import stdtrit

from searchitect.records import Trial


@dataclass
class Standing:
    """One finalist: its validation score for each seed, or why it was dropped."""

    trial: Trial
    validation: tuple[float, ...] = ()
    loss: float = math.inf  # mean validation loss: decides among equal scores
    epochs: int = 0  # that its trainings took (early stopping may end them before the planned number)
    dropped: str = ""
    chosen: bool = False
    held_out: float = 0.0  # validation rows for one training row
    share: bool = False  # whether the score lies between 0 and 1

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None before stage A or where it was skipped."""
        return statistics.fmean(self.validation) if self.validation else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % of the mean, by Student's t over the parts that were held out, with the variance of Nadeau and Bengio
        2003, as the trainings share rows; None for fewer than two. A share's ends stay within 0 and 1."""
        if len(self.validation) < 2:
            return None
        n, mean = len(self.validation), statistics.fmean(self.validation)
        half = float(stdtrit(n - 1, 0.975)) * math.sqrt((1 / n + self.held_out) * statistics.variance(self.validation))
        low, high = mean - half, mean + half
        return (max(0.0, low), min(1.0, high)) if self.share else (low, high)

    def plain(self) -> dict[str, Any]:
        """For the study's records."""
        low, high = self.interval or (None, None)
        return {"trial": self.trial.number, "architecture": dict(self.trial.architecture.decisions), "mean": self.mean,
                "validation": list(self.validation), "low": low, "high": high, "chosen": self.chosen,
                "dropped": self.dropped}  # fmt: skip


def ranking(standings: Sequence[Standing], direction: Literal["max", "min"]) -> list[Standing]:
    """From best to worst: mean score, then mean loss, then age. Dropped ones are left out."""
    sign = -1 if direction == "max" else 1
    kept = [(sign * s.mean, s.loss, s.trial.number, s) for s in standings if s.mean is not None]
    return [s for *_, s in sorted(kept, key=lambda entry: entry[:3])]


def cautious(
    ranked: list[Standing], direction: Literal["max", "min"], is_baseline: Callable[[Trial], bool], ratio: float
) -> tuple[list[Standing], str]:
    """The ranking with the hand-made network first, unless the leader is ahead of it by more than a standard error.

    Both had the same rows held out for each seed, so the lead is a mean of paired differences d over S seeds. Its
    standard error is that of Nadeau and Bengio 2003 (section 3.1, "corrected resampled t-test"),
    sqrt((1 / S + ratio) var d), as the trainings share rows; `ratio` is validation rows for one training row. The rule
    of one standard error is that of Breiman et al. 1984 (section 3.4.3): the simpler choice unless there is evidence.

    Returns the ranking and a sentence where the rule changed it.
    """
    at = next((i for i, s in enumerate(ranked) if is_baseline(s.trial)), 0)
    if at == 0:
        return ranked, ""
    leader, baseline = ranked[0], ranked[at]
    sign = 1 if direction == "max" else -1
    leads = [sign * (a - b) for a, b in zip(leader.validation, baseline.validation, strict=True)]
    if len(leads) < 2:
        return ranked, ""
    lead = statistics.fmean(leads)
    error = math.sqrt((1 / len(leads) + ratio) * statistics.variance(leads))
    if lead > error:
        return ranked, ""
    why = (
        f"the hand-made network is kept: trial {leader.trial.number} was ahead by {lead:.3g} on validation data, "
        f"within the standard error of {error:.3g}"
    )
    return [baseline, *ranked[:at], *ranked[at + 1 :]], why
