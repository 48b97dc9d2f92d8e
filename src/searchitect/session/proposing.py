"""Who proposes in a study: the strategy, with what was asked for around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from searchitect.seeds import derive
from searchitect.session.preparing import Prepared
from searchitect.session.screening import prior_of, scores_for_prior, screened
from searchitect.session.shrinking import shrinking
from searchitect.session.timeplan import full_trials
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.base import Strategy
from searchitect.strategies.control import Beside


def proposer(
    prepared: Prepared, store: Store, setting: Setting, named: tuple[str, Mapping[str, Any]], timed: bool,
    message: Callable[[str], None],
) -> Strategy:  # fmt: skip
    """The strategy `named` (name, options), with scores for a prior, in a space that shrinks, behind a screen, beside a
    control.

    timed: whether the control gets as much time as the strategy, not as many trials. message: hears of options that
    are cut.
    """
    settings = prepared.settings
    name, options = named[0], dict(named[1])
    prior = prior_of(options)
    if prior is not None:
        setting = setting._replace(score=scores_for_prior(prepared, store, prior))
    if settings.shrink:
        name, options = shrinking(store, name, options, message)
    if settings.screen:
        expected = settings.trials or full_trials(str(store.meta["strategy"]["name"]))
        strategy = screened(prepared, store, name, options, setting, expected)
    else:
        strategy = make_strategy(name, setting, options)
    if settings.control:
        control = make_strategy(settings.control, setting._replace(seed=derive(settings.seed, "control"), start=()))
        strategy = Beside(strategy, control, timed=timed)
    return strategy
