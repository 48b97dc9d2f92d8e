"""Scores as measurements: the same everywhere, the right batch, causes instead of numbers."""

import json

import cloudpickle
import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import NotFiniteError, TrialError, UsageError
from searchitect.evaluators import TrainEvaluator, ZeroCostEvaluator
from searchitect.evaluators.base import Outcome, Task
from searchitect.nets import build
from searchitect.scores import SCORES, score
from searchitect.seeds import derive
from searchitect.space import OUTPUTS, Space, lazy, one_of
from searchitect.testing.evaluator import Recorder
from searchitect.training import Recipe, load

L = lazy(nn)


def space():
    def conv(width):
        return L.Sequential(L.LazyConv2d(width, 3, padding=1), L.LazyBatchNorm2d(), L.ReLU())

    return Space(L.Sequential(
        conv(one_of(4, 8, name="width")), one_of(conv(8), L.Identity()), L.AdaptiveAvgPool2d(1), L.Flatten(),
        L.LazyLinear(OUTPUTS)))  # fmt: skip


def evaluator(names=SCORES, made=None, **more):
    rows = np.arange(120)
    train = TrainEvaluator(made or space(), load("digits", limit_train=120), rows[:90], rows[90:], Recipe())
    return ZeroCostEvaluator(train, names, **more)


def task_for(scorer, **more):
    return Task(0, scorer.train.space.sample(3).decisions, seed=5, epochs=0, **more)


def run(scorer, task):
    payload = json.loads(json.dumps(msgspec.to_builtins(task)))
    return msgspec.convert(json.loads(json.dumps(scorer(payload, Recorder()))), Outcome)


def without_time(outcome):
    return {name: value for name, value in outcome.metrics.items() if name != "seconds"}


def test_all_scores_are_measured_and_repeat_bit_for_bit_also_in_a_copy():
    scorer = evaluator()
    task = task_for(scorer)
    first = run(scorer, task)
    assert set(SCORES) <= set(first.metrics)
    assert without_time(run(scorer, task)) == without_time(first)
    assert without_time(run(cloudpickle.loads(cloudpickle.dumps(scorer)), task)) == without_time(first)
    assert first.seconds > 0
    assert not first.curve


def test_the_numbers_are_those_of_the_same_network_on_training_rows():
    scorer = evaluator(["naswot", "snip"], rows=32)
    task = task_for(scorer)
    made = scorer.train.space
    model = build(made, made.architecture(task.decisions), (1, 8, 8), outputs=10, seed=derive(5, "weights"))
    x, y = scorer._batch()
    assert x.shape == (32, 1, 8, 8)
    mine = {tuple(row.flatten().tolist()) for row in x}
    assert mine <= {tuple(row.flatten().tolist()) for row in scorer.train.data("train").x}
    expected = score(model, x.contiguous(), y, ["naswot", "snip"]).values
    found = run(scorer, task).metrics
    assert found["naswot"] == pytest.approx(expected["naswot"], rel=1e-6)
    assert found["snip"] == pytest.approx(expected["snip"], rel=1e-4)


def test_another_seed_is_another_network():
    scorer = evaluator(["snip"])
    tasks = [task_for(scorer), msgspec.structs.replace(task_for(scorer), seed=6)]
    assert run(scorer, tasks[0]).metrics["snip"] != run(scorer, tasks[1]).metrics["snip"]


def test_the_description_is_plain_and_names_the_scores():
    described = evaluator(["synflow"]).describe()
    assert json.loads(json.dumps(described)) == described
    assert (described["kind"], described["scores"], described["rows"]) == ("zero_cost", ["synflow"], 64)


class Deaf(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 10)

    def forward(self, x):
        return self.linear(x.new_zeros(len(x), 3))


def test_a_score_without_a_value_fails_the_task_or_is_a_note():
    made = Space(lazy(Deaf)())
    with pytest.raises(NotFiniteError, match=r"synflow: .* no path"):
        run(evaluator(["synflow", "params"], made), task_for(evaluator(made=made)))
    outcome = run(evaluator(["synflow", "params"], made, needed=["params"]), task_for(evaluator(made=made)))
    assert "synflow" not in outcome.metrics
    assert "no path" in outcome.notes[0]


@pytest.mark.parametrize("more", [{"save": "x"}, {"rows": "all"}, {"network": "baseline"}])
def test_what_has_nothing_to_score_is_refused(more):
    scorer = evaluator(["params"])
    with pytest.raises(TrialError, match="nobody trained"):
        scorer.run(task_for(scorer, **more), Recorder())


def test_unknown_scores_are_named():
    with pytest.raises(UsageError, match="is not known"):
        evaluator(["vibes"])


def test_global_generators_are_left_alone():
    before = torch.random.get_rng_state()
    run(evaluator(), task_for(evaluator()))
    assert torch.equal(before, torch.random.get_rng_state())
