"""A study on a published table: results are looked up instead of trained (`table=`, or a table as `evaluate=`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from searchitect.bench.loading import load_table
from searchitect.bench.table import Table
from searchitect.errors import UsageError
from searchitect.evaluators.table import TableEvaluator
from searchitect.records import Objective
from searchitect.settings import Settings
from searchitect.sharing import METHODS
from searchitect.space import Architecture, Space

TRAINING = ("data", "test_data", "tune", "screen")  # options that mean nothing where nothing is trained


@dataclass(frozen=True)
class Tabled:
    """What a table brings to a study. `epochs`: of the full fidelity, 0 where there is only one. `judge`: what the
    score column, which no strategy sees, says of an architecture; None where the table was given as an evaluator."""

    space: Space
    objectives: tuple[Objective, ...]
    evaluator: TableEvaluator
    epochs: int
    known: Callable[[Architecture], bool]
    facts: dict[str, Any]
    judge: Callable[[Architecture], dict[str, Any]] | None


def is_table(settings: Settings, evaluate: Any) -> bool:
    """Whether a search looks up a table."""
    return settings.table is not None or isinstance(evaluate, (Table, TableEvaluator))


def from_table(settings: Settings, evaluate: Any, given: Mapping[str, Any]) -> Tabled:
    """`evaluate`: a Table, a TableEvaluator, or None where `settings.table` names one. `given`: other objects of the
    user's by name. Raises UsageError for what does not go with a table, DataError for a file that is none."""
    if settings.table is not None and evaluate is not None:
        raise UsageError("table= and evaluate= both say where results come from: leave one out")
    table = evaluate if evaluate is not None else load_table(str(settings.table))
    _refuse(settings, table.name, given)
    if isinstance(table, Table):
        return _described(table.evaluator(settings.objectives), table)
    return _described(_with_aims(table, settings.objectives), None)


def _with_aims(evaluator: TableEvaluator, texts: list[str]) -> TableEvaluator:
    if texts and texts != [str(o) for o in evaluator.objectives]:
        raise UsageError(
            f"objectives: this evaluator was made for {', '.join(map(str, evaluator.objectives))}; name others when it "
            "is made, table.evaluator([...]), or pass the table itself as evaluate="
        )
    return evaluator


def _described(evaluator: TableEvaluator, table: Table | None) -> Tabled:
    aims, levels = evaluator.objectives, [step.epochs for step in evaluator.steps]
    limits = [o for o in aims if o.is_limit and o.metric in evaluator.constants]

    def known(architecture: Architecture) -> bool:
        row = evaluator.find(architecture)
        return row >= 0 and all(o.kept(float(evaluator.constants[o.metric][row])) for o in limits)

    facts = {
        "source": f"table {evaluator.name}", "kind": "results of trained networks",
        "fingerprint": evaluator.fingerprint(),
        "notes": ["results are looked up, nothing is trained: seconds of trials are those of the table"],
    }  # fmt: skip
    epochs = levels[-1] if len(levels) > 1 else 0
    judge = None if table is None else _judge(table, aims)
    return Tabled(evaluator.space, aims, evaluator, epochs, known, facts, judge)


def _judge(table: Table, aims: tuple[Objective, ...]) -> Callable[[Architecture], dict[str, Any]]:
    best, losses = table.optimum([o for o in aims if o.is_limit]), table.losses(table.score)
    sign = 1.0 if table.columns[table.score].direction == "min" else -1.0

    def judge(architecture: Architecture) -> dict[str, Any]:
        loss = float(losses[table.row(architecture)])
        return {
            "table": table.name, "column": table.score, "unit": table.columns[table.score].unit, "value": sign * loss,
            "best": best, "regret": loss - sign * best,
        }  # fmt: skip

    return judge


def _refuse(settings: Settings, name: str, given: Mapping[str, Any]) -> None:
    named = [option for option in TRAINING if getattr(settings, option) is not None]
    named += [option for option, value in given.items() if value is not None and option not in named]
    if named:
        raise UsageError(f"{named[0]}= is about training, but table {name} holds results: leave it out")
    if settings.strategy in METHODS:
        raise UsageError(
            f"strategy {settings.strategy!r} trains a supernet, but table {name} holds results of single networks: "
            "choose one that `searchitect strategies` lists without weight sharing"
        )
