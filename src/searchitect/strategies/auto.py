"""Which strategy fits, and why, in words that the user is shown."""

from __future__ import annotations

from typing import Any

from searchitect.space import Space


def choose(space: Space, expected_trials: int | None) -> tuple[str, dict[str, Any], str]:
    """Name, options and reason. `expected_trials` is None when nothing is known of the budget."""
    finite = space.size.finite
    if expected_trials is not None and expected_trials < 12:
        return "random", {}, f"about {expected_trials} trials are too few to learn from; each draw is independent"
    if not space.size.continuous and finite <= 16:
        return "random", {}, f"only {finite} architectures: all will be tried"
    population = 10 if expected_trials is None or expected_trials < 100 else 20 if expected_trials < 500 else 50
    sample = max(3, population // 4)
    why = f"{len(space.decisions)} decisions, mixed kinds; a population of {population} fits the number of trials"
    return "regularized-evolution", {"population": population, "sample": sample}, why
