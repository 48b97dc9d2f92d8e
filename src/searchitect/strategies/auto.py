"""Which strategy fits, and why, in words that the user is shown.

Measured on the shipped tables (docs/strategies.md): the Gaussian process needs the fewest trials on all of them, for
one goal and, up to some 150 trials, for several. What it costs (some milliseconds for a proposal) is nothing beside
a training, but more than an evaluator that takes no time; so very long searches go to evolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from searchitect.records import Objective, goals
from searchitect.space import Space

Choice = tuple[str, dict[str, Any], str]
FEW = 12  # trials: fewer teach nothing
ALL = 2_000  # architectures at most that are all tried, where there are trials for them
SEVERAL = 150  # trials from which NSGA-II has the wider front
MANY = 5_000  # trials from which evolution is as good and costs nothing


def choose(space: Space, expected_trials: int | None, objectives: Sequence[Objective] = ()) -> Choice:
    """Name, options and reason. `expected_trials` is None when nothing is known of the budget.

    `objectives` are those of the study; () stands for a single goal.
    """
    finite, trials = space.size.finite, expected_trials
    number = len(goals(objectives))
    if not space.size.continuous and (finite <= 16 or (trials is not None and finite <= min(trials, ALL))):
        return "exhaustive", {}, f"only {finite:,} architectures: all will be tried"
    if trials is not None and trials < FEW:
        return "random", {}, f"about {trials} trials are too few to learn from; each draw is independent"
    if trials is not None and number > 1 and trials > SEVERAL:
        return (
            "nsga2",
            {},
            f"{number} goals and about {trials:,} trials: enough for a population to spread over the front",
        )
    if trials is not None and trials > MANY:
        options = {"population": 100, "sample": 25}
        return "regularized-evolution", options, f"about {trials:,} trials: evolution finds as much and costs nothing"
    first = 10 if trials is None else max(4, min(10, trials // 4))
    what = f"{number} goals" if number > 1 else "one goal"
    expected = "an unknown number of" if trials is None else f"about {trials:,}"
    why = f"{what}, {len(space.decisions)} decisions, {expected} trials: a model of what was measured needs the fewest"
    return "gaussian-process", {"initial": first}, why
