"""A study that starts from the best of a former one, and one that ends when nothing better comes."""

import pytest

from searchitect import Manual, Space, integer, one_of
from searchitect.engine.ledger import Ledger
from searchitect.engine.limits import Limits
from searchitect.engine.loop import Loop
from searchitect.engine.reuse import Reuse
from searchitect.errors import UsageError
from searchitect.executors import Finished
from searchitect.records import Fidelity, objectives
from searchitect.session.userobjects import FROM_STUDY, start_architectures
from searchitect.space import Layer
from searchitect.store import Store
from searchitect.strategies import Setting, make_strategy

SPACE = Space(Layer("toy.Net", {"width": one_of(*range(8)), "depth": integer(1, 5)}))


def former(path, aims, measure):
    with Manual(SPACE, aims, path) as study:
        for trial in study.take(20):
            study.tell(trial, **measure(trial.architecture.decisions))
        return [t for t in study.trials if t.source is None]


def test_the_best_of_a_former_study_come_first(tmp_path):
    trials = former(tmp_path / "old", "max score", lambda d: {"score": d["width"] + d["depth"] / 10})
    wanted = sorted(trials, key=lambda t: -t.value("score"))[:FROM_STUDY]
    found = start_architectures(tmp_path / "old", SPACE)
    assert [a.decisions for a in found] == [t.architecture.decisions for t in wanted]
    with Manual(SPACE, "max score", tmp_path / "new", start=tmp_path / "old", strategy="regularized-evolution") as new:
        first = [new.ask() for _ in range(FROM_STUDY)]
    assert [t.architecture for t in first] == list(found)
    assert {t.proposal.origin for t in first} == {"start"}


def test_limits_are_kept_and_the_front_goes_first(tmp_path):
    former(tmp_path / "old", ["max score", "min cost", "cost < 6"], lambda d: {"score": d["depth"], "cost": d["width"]})
    found = start_architectures([str(tmp_path / "old")], SPACE)
    points = [(a.decisions["depth"], a.decisions["width"]) for a in found]
    assert all(cost < 6 for _, cost in points)
    best_score = max(score for score, _ in points)
    assert points[0] == (best_score, min(c for s, c in points if s == best_score))


def test_a_study_of_another_space_or_without_results_is_named(tmp_path):
    former(tmp_path / "old", "max score", lambda d: {"score": 1.0})
    other = Space(Layer("toy.Net", {"size": one_of(1, 2)}))
    with pytest.raises(UsageError, match=r"start 1, .*old: "):
        start_architectures(tmp_path / "old", other)
    with Manual(SPACE, "max score", tmp_path / "empty"):
        pass
    with pytest.raises(UsageError, match="nothing was measured"):
        start_architectures(tmp_path / "empty", SPACE)


class Scores:
    """An executor that gives these scores, one at a time."""

    slots, listener = 1, None

    def __init__(self, scores):
        self.scores, self.waiting = iter(scores), []

    def submit(self, ticket, payload, *, time_limit=None, attempt=1):
        self.waiting = [Finished(ticket, {"metrics": {"score": float(next(self.scores))}, "seconds": 0.1})]

    def wait(self, timeout):
        self.waiting, found = [], self.waiting
        return found


def run(path, scores, patience):
    aims = objectives("max score")
    opened = Store.open(path, write=True) if path.exists() else Store.create(path, {"format": 1, "name": "s"})
    with opened as store:
        strategy = make_strategy("random", Setting(SPACE, aims, 0, Fidelity("function", 1), None, ()), {})
        ledger = Ledger(SPACE, store, strategy, aims, Reuse(SPACE, "here"), 0)
        found = Loop(ledger, Scores(scores), lambda *_: {}, Limits(patience=patience))
        return found.run(), ledger.measured, found.fruitless


def test_patience_counts_from_the_best_and_goes_on_counting_after_a_resume(tmp_path):
    assert run(tmp_path / "s", [1, 0, 0, 3, 2, 3, 1, 9], patience=3) == ("patience", 7, 3)  # a tie is nothing better
    assert run(tmp_path / "s", [], patience=3) == ("patience", 7, 3)
    assert run(tmp_path / "s", [0, 5, 0, 0, 0, 0, 0], patience=5) == ("patience", 14, 5)
