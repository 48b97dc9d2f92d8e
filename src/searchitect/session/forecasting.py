"""What a time budget buys, before it is spent: a few probe trainings, then the same arithmetic as in a session."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from searchitect.session import budget
from searchitect.session.affording import affordable
from searchitect.session.preparing import Prepared
from searchitect.session.probing import Probed, probe
from searchitect.session.timeplan import shared_out
from searchitect.strategies import strategy_class

EVEN = ("random", "exhaustive")  # strategies that propose what an average costs
USUAL = (600.0, 3_600.0, 28_800.0)  # seconds: 10 minutes, an hour, a night


class Forecast(msgspec.Struct, frozen=True):
    """What so many seconds buy: trials of `epochs` on a share of the rows, then the final comparison with
    `final_epochs`, for which `finalize` seconds are kept. `most`: all architectures there are would be tried.
    `pausing`: the strategy lets most trainings pause early, so that there will be more trials than full trainings.
    `most_macs`: multiply-accumulates of the largest network that there is time for, and the `share` of random ones that
    are not larger; None and 1 where all stay, see `session.affording`."""

    seconds: float
    trials: int
    epochs: int
    data: float
    final_epochs: int
    finalize: float
    most: bool = False
    pausing: bool = False
    most_macs: int | None = None
    share: float = 1.0


def forecasts(prepared: Prepared, strategy: str, budgets: Sequence[float] = ()) -> list[Forecast]:
    """Probe for some seconds, then say what each budget buys; those of the user's own settings come first.

    Only where our own training measures. Raises StudyFailedError when nothing can be trained at all.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, prepared.executor(Path(folder)) as executor:
        executor.start(prepared.evaluator)
        probed = probe(prepared, executor, lambda: False)
    spent = time.monotonic() - began
    own = prepared.settings.budget_seconds
    wanted = dict.fromkeys([*([] if own is None else [own]), *(budgets or USUAL)])
    return [buys(prepared, strategy, seconds, spent, probed) for seconds in wanted]


def trial_seconds(prepared: Prepared, strategy: str, candidate: float, found: budget.Fidelities) -> float:
    """What an average trial takes, by what an epoch of an average network takes: strategies that learn soon propose
    dearer ones, a control beside them does not."""
    learns = 1.0 if strategy in EVEN else budget.DEARER
    times = statistics.fmean((learns, 1.0)) if prepared.settings.control else learns
    return times * candidate * found.epochs * found.data + budget.START_SECONDS


def buys(prepared: Prepared, strategy: str, seconds: float, spent: float, probed: Probed) -> Forecast:
    """What `seconds` buy where probing took `spent` and said what epochs take."""
    stays = affordable(prepared, strategy, seconds, spent, probed)
    found = shared_out(prepared, strategy, seconds, spent, stays.candidate, probed.baseline)
    each = trial_seconds(prepared, strategy, stays.candidate, found)
    count = round((seconds - spent - found.reserve) * prepared.workers / each)
    size = prepared.space.size
    most = not size.continuous and size.finite <= count
    return Forecast(
        seconds, size.finite if most else count, found.epochs, found.data, found.final_epochs, found.reserve, most,
        strategy_class(strategy).pauses, stays.most_macs, stays.share,
    )  # fmt: skip
