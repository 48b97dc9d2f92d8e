"""Other recipes for the winner and, with the same effort, for the baseline; validation alone chooses.

Optuna's TPE (Bergstra et al. 2011) proposes; every recipe is one training with the seed and on the fold of stage A's
first round, the usual recipe among them. The best two that beat it are then trained with the other seeds and folds of
stage A (three rounds of them at most), and the recipe with the best mean is taken: a single lucky fold decides nothing.
Where there is time for few recipes, fewer go through fewer folds, see `EFFORTS`. The winner's and the baseline's tuner
have the same number of trainings, the same seeds and the same folds.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from searchitect.evaluators.base import Outcome
from searchitect.finalize.context import FinalContext, FinalResult, Network
from searchitect.finalize.planning import FinalPlan
from searchitect.finalize.standings import Standing
from searchitect.finalize.trainings import architecture_of, trained, training
from searchitect.seeds import derive

LEAST = 4  # recipes; fewer are not worth the time
ENOUGH = 6  # recipes, for which confirming them may be made shorter
BATCH = 4  # recipes proposed at once, whatever the number of workers, so that the same seed gives the same recipes
AUGMENTS = {"image": ("none", "crop", "crop+cutout", "crop+mixup"), "colour": ("none", "crop+flip", "crop+flip+cutout",
            "crop+flip+mixup")}  # fmt: skip


def tune(context: FinalContext, plan: FinalPlan, result: FinalResult, winner: Standing) -> None:
    """Fill `result.recipes` and `result.tuning`."""
    folds = plan.stage_a_seeds or plan.stage_b_seeds
    sides: list[tuple[str, tuple[Network, Mapping[str, Any]], int]] = [
        ("winner", architecture_of(winner.trial), winner.trial.number)
    ]
    if context.baseline is not None and not context.is_baseline(winner.trial):
        sides.append(("baseline", context.baseline, -1))
    count, effort = _affordable(context, plan, result, len(sides), len(folds))
    if count < LEAST:
        result.notes.append(f"short of time: {count} recipes for each network could be tried, so none was")
        return
    for side, network, number in sides:
        context.progress(f"tuning the recipe of the {side}: {count} recipes")
        tuner = _Tuner(context, network, number, folds[: effort.folds], winner.epochs or plan.epochs)
        result.recipes[side] = tuner.run(count, effort.final)
        result.tuning[side] = tuner.records
        if tuner.note:
            result.notes.append(f"the recipe of the {side} was not tuned: {tuner.note}")
    context.note("tuned", {"recipes": {k: dict(v) for k, v in result.recipes.items()}, "tried": count})


def _affordable(
    context: FinalContext, plan: FinalPlan, result: FinalResult, networks: int, folds: int
) -> tuple[int, Effort]:
    """How many recipes there is time for, by what a training of stage A took, and how they are confirmed."""
    trainings = len([*result.standings, *result.control]) * len(plan.stage_a_seeds)
    each = result.seconds["stage_a"] / max(trainings, 1)  # of the whole machine
    if context.tuning_seconds is None or each <= 0:
        return plan.tuned, EFFORTS[0]
    there = int(context.tuning_seconds / each / networks)
    options = [(min(plan.tuned, there - effort.confirming(folds)), effort) for effort in EFFORTS]
    return next((option for option in options if option[0] >= min(ENOUGH, plan.tuned)), options[-1])


class Effort(NamedTuple):
    """How many recipes go through how many folds of stage A, the first among them."""

    final: int
    folds: int

    def confirming(self, folds: int) -> int:
        """Trainings that this takes beside one for each recipe, where there are so many folds."""
        return (self.final + 1) * (min(self.folds, folds) - 1)


EFFORTS = (Effort(2, 3), Effort(2, 2), Effort(1, 2))  # the usual one, and what is done where time is short


class _Tuner:
    """The tuning of one network. `records`: every recipe with its validation scores, in the order of trying."""

    def __init__(
        self, context: FinalContext, network: tuple[Network, Mapping[str, Any]], number: int, seeds: Sequence[int],
        epochs: int,
    ) -> None:  # fmt: skip
        self.context, self.network, self.number, self.seeds, self.epochs = context, network, number, seeds, epochs
        self.records: list[dict[str, Any]] = []
        self.note = ""
        self.sign = 1.0 if context.direction == "max" else -1.0

    def run(self, count: int, final: int) -> dict[str, Any]:
        """The recipe to use, as changes to the usual one; {} for the usual one. final: that go through all folds."""
        scores = self._first_fold(count)
        usual = scores[0]
        if not math.isfinite(usual):
            self.note = "it failed with the usual recipe"
            return {}
        better = [i for i in range(1, count) if self.sign * scores[i] > self.sign * usual]
        chosen = sorted(better, key=lambda i: (-self.sign * scores[i], i))[:final]
        if not chosen:
            return {}
        means = self._all_folds([0, *chosen])
        best = max([0, *chosen], key=lambda i: (self.sign * means[i], -i))
        return dict(self.records[best]["recipe"])

    def _first_fold(self, count: int) -> list[float]:
        study = self._study()
        names = distributions(self.context.usual_recipe, self.context.sample, self.context.dropouts(*self.network))
        scores: list[float] = []
        while len(scores) < count:
            asked: list[tuple[optuna.trial.Trial | None, dict[str, Any]]] = []
            for _ in range(min(BATCH, count - len(scores))):
                if not scores and not asked:
                    asked.append((None, {}))  # the usual recipe
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    trial = study.ask(names)
                asked.append((trial, recipe_of(trial.params)))
            found = self._train([(recipe, 0) for _, recipe in asked])
            for (told, recipe), score in zip(asked, found, strict=True):
                scores.append(score)
                self.records.append({"recipe": recipe, "validation": [score]})
                if told is not None:
                    finite = math.isfinite(score)
                    state = optuna.trial.TrialState.COMPLETE if finite else optuna.trial.TrialState.FAIL
                    study.tell(told, score if finite else None, state=state)
        return scores

    def _all_folds(self, which: Sequence[int]) -> dict[int, float]:
        pairs = [(i, fold) for fold in range(1, len(self.seeds)) for i in which]
        found = self._train([(self.records[i]["recipe"], fold) for i, fold in pairs])
        for (i, _), score in zip(pairs, found, strict=True):
            self.records[i]["validation"].append(score)
        return {i: statistics.fmean(self.records[i]["validation"]) for i in which}

    def _train(self, pairs: Sequence[tuple[Mapping[str, Any], int]]) -> list[float]:
        """The validation score of each recipe on a fold; the worst possible for one that fails."""
        tasks = [
            training(
                self.network, self.number, self.seeds[fold], max(1, round(self.epochs * recipe.get("epochs", 1.0))),
                fold=fold, recipe={k: v for k, v in recipe.items() if k != "epochs"},
            )
            for recipe, fold in pairs
        ]  # fmt: skip
        outcomes = trained(self.context, tasks, self.context.metric)
        worst = -self.sign * math.inf
        return [o.metrics[self.context.metric] if isinstance(o, Outcome) else worst for o in outcomes]

    def _study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = derive(self.context.seed, "tuning") % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=6, multivariate=True, constant_liar=True)
        return optuna.create_study(
            sampler=sampler, direction="maximize" if self.context.direction == "max" else "minimize"
        )


def distributions(usual: Mapping[str, Any], sample: Sequence[int], dropout: bool = True) -> dict[str, BaseDistribution]:
    """What is tuned around the usual recipe, for rows of this shape: learning rate, weight decay, schedule, epochs, the
    rate of `dropout` layers where the network has any, and with classes label smoothing; for images how strongly they
    are augmented, from not at all to three ways together."""
    lr = float(usual.get("lr", 3e-3))
    found: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(lr / 8, lr * 4, log=True),
        "weight_decay": FloatDistribution(1e-4, 0.3, log=True),
        "schedule": CategoricalDistribution(["cosine", "constant"]),
        "epochs": CategoricalDistribution([0.6, 1.0]),  # shares of the epochs of stage A
    }
    if dropout:
        found["dropout"] = FloatDistribution(0.0, 0.5)
    if usual.get("task") == "classification":
        found["label_smoothing"] = FloatDistribution(0.0, 0.2)
    if len(sample) == 3:
        names = AUGMENTS["colour" if sample[0] == 3 else "image"]
        classes = usual.get("task") == "classification"
        found["augment"] = CategoricalDistribution([name for name in names if classes or "mixup" not in name])
    return found


def recipe_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Changes to the usual recipe, as plain data."""
    recipe = dict(parameters)
    if "augment" in recipe:
        recipe["augment"] = "none" if recipe["augment"] == "none" else recipe["augment"].split("+")
    return recipe
