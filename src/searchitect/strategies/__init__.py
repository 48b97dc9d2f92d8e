"""Strategies propose architectures and listen to what became of them: `ask(n)`, `tell(trial)`.

A strategy is one file. It never sleeps, touches disk, builds a network or knows a data set; its state is a
fold over the events asked and told, so that a stored study can be replayed. `STRATEGIES` maps the names used
on the command line to "module:Class"; a stranger's strategy is named the same way.
"""

from __future__ import annotations

import importlib
from typing import Any

from searchitect.errors import UsageError, meant
from searchitect.strategies.base import Setting, Strategy, check_start

STRATEGIES: dict[str, str] = {
    "random": "searchitect.strategies.random:Random",
    "exhaustive": "searchitect.strategies.exhaustive:Exhaustive",
    "level-by-level": "searchitect.strategies.level_by_level:LevelByLevel",
    "local-search": "searchitect.strategies.local_search:LocalSearch",
    "regularized-evolution": "searchitect.strategies.evolution:RegularizedEvolution",
    "nsga2": "searchitect.strategies.nsga2:NSGA2",
    "reinforce": "searchitect.strategies.reinforce:Reinforce",
    "ppo": "searchitect.strategies.ppo:PPO",
    "optuna-tpe": "searchitect.strategies.optuna_samplers:OptunaTPE",
    "optuna-gp": "searchitect.strategies.optuna_samplers:OptunaGP",
    "successive-halving": "searchitect.strategies.successive_halving:SuccessiveHalving",
    "hyperband": "searchitect.strategies.hyperband:Hyperband",
    "asha": "searchitect.strategies.asha:ASHA",
    "bananas": "searchitect.strategies.bananas:Bananas",
    "nas-bowl": "searchitect.strategies.nas_bowl:NasBowl",
    "gaussian-process": "searchitect.strategies.gaussian_process:GaussianProcess",
}

__all__ = ["STRATEGIES", "Setting", "Strategy", "make_strategy", "strategy_class"]


def strategy_class(name: str) -> type[Strategy]:
    """The class behind a name of `STRATEGIES` or a "module:Class". Raises UsageError when there is none."""
    path = STRATEGIES.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        near, known = meant(name, STRATEGIES), ", ".join(STRATEGIES)
        raise UsageError(f"strategy {name!r} is not known{near}: write one of auto, {known}, or 'module:Class'")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"strategy {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise UsageError(f"strategy {name!r} is not a searchitect.strategies.Strategy")
    return found


def make_strategy(name: str, setting: Setting, options: dict[str, Any] | None = None) -> Strategy:
    """A new strategy with its options.

    Raises UsageError naming an option that it does not take, or a start architecture that cannot be one.
    """
    cls = strategy_class(name)
    check_start(setting)
    try:
        return cls(setting, **(options or {}))
    except TypeError as error:
        raise UsageError(f"strategy {name!r}: {error}; its options are written in its docstring") from error
