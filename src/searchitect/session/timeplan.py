"""How the time of a study is shared out: what is kept for tuning and the final comparison; the rest is the search's.

The arithmetic is in `budget`; here stands what the options of a study make of it. Sessions and forecasts ask the same.
"""

from __future__ import annotations

import msgspec

from searchitect.session import budget
from searchitect.session.preparing import Prepared
from searchitect.settings import Settings
from searchitect.strategies import strategy_class


def final_seeds(settings: Settings) -> int:
    """Trainings of each finalist after the search; nothing needs to be kept back for none."""
    return settings.seeds if settings.finalize else 0


def more_finals(settings: Settings) -> budget.More:
    """What the final comparison has beside winner and baseline."""
    members = 0 if settings.ensemble is None else settings.ensemble - 1
    teachers = 0 if settings.distill is None else budget.TEACHERS
    return budget.More(settings.control is not None, settings.tune is not None, members, teachers)


def full_trials(strategy: str | None) -> int:
    """How many full trainings a search by this strategy should be able to afford; None for shared weights."""
    pauses = strategy is not None and strategy_class(strategy).pauses
    return budget.PAUSING_TRIALS if pauses else budget.TRIALS


def tuning_seconds(prepared: Prepared, total: float | None, candidate: float, baseline: float) -> float:
    """Wall seconds of a budget of `total` that are kept for tuning; 0 without a budget.

    candidate, baseline: seconds of an epoch of a typical network and of the baseline.
    """
    settings = prepared.settings
    if settings.tune is None or total is None or not settings.finalize:
        return 0.0
    if settings.tune < 1:
        return settings.tune * total
    epochs = prepared.full_epochs if settings.epochs is None else settings.epochs
    return min(settings.tune * (candidate + baseline) * epochs / prepared.workers, budget.MOST_TUNING * total)


def shared_out(
    prepared: Prepared, strategy: str | None, total: float, spent: float, candidate: float, baseline: float
) -> budget.Fidelities:
    """The fidelities that a budget of `total` seconds, of which `spent` are gone, allows; what is kept back (`reserve`)
    includes tuning. strategy: None where it shares weights, so that epochs are those of a supernet."""
    tuning = tuning_seconds(prepared, total, candidate, baseline)
    settings = prepared.settings
    found = budget.choose(
        total - tuning - spent, candidate, baseline, prepared.full_epochs, prepared.workers, final_seeds(settings),
        None if strategy is None else settings.epochs, full_trials(strategy), more_finals(settings),
    )  # fmt: skip
    return msgspec.structs.replace(found, reserve=found.reserve + tuning)
