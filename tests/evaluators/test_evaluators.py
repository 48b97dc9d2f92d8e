"""Both evaluators against the shipped contract, and what is theirs alone."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import BuildError, NotFiniteError, TrialError, UsageError
from searchitect.evaluators import FunctionEvaluator, TrainEvaluator
from searchitect.evaluators.base import Task
from searchitect.evaluators.train import ANEW, load_weights, save_weights
from searchitect.nets import Costs
from searchitect.space import OUTPUTS, Architecture, Space, lazy, one_of
from searchitect.testing.evaluator import EvaluatorContract, Recorder
from searchitect.training import Recipe, load
from searchitect.training.data import RawData

L = lazy(nn)


def small_space() -> Space:
    return Space(
        L.Sequential(
            L.Flatten(), L.LazyLinear(one_of(8, 16, name="width")), L.ReLU(), one_of(L.Identity(), L.Dropout(0.2)),
            L.LazyLinear(OUTPUTS),
        )
    )  # fmt: skip


def digits(rows: int = 300) -> RawData:
    return load("digits", limit_train=rows)


def trained(metrics=(), baseline=None) -> TrainEvaluator:
    rows = np.arange(300)
    return TrainEvaluator(small_space(), digits(), rows[:200], rows[200:], Recipe(batch_size=32), metrics, baseline)


def task_for(space: Space, **more) -> Task:
    return Task(0, space.sample(3).decisions, seed=11, epochs=3, **more)


class TestTrain(EvaluatorContract):
    def make(self):
        evaluator = trained(["accuracy", "f1_macro", "latency_ms"])
        return evaluator, task_for(evaluator.space)


class TestFunction(EvaluatorContract):
    def make(self):
        evaluator = FunctionEvaluator(small_space(), by_hand, "accuracy", sample=(1, 8, 8), outputs=10)
        return evaluator, task_for(evaluator.space)


def by_hand(model, trial):
    """A user's loop: noise data, a few steps."""
    x, y = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    accuracy = 0.0
    for epoch in range(trial.epochs):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy = (model(x).argmax(1) == y).float().mean()
        trial.report(epoch, accuracy=accuracy, loss=loss.detach())
        if trial.should_stop():
            break
    return accuracy


def test_metrics_asked_for_are_measured_beside_the_usual_ones():
    evaluator = trained(["balanced_accuracy", "latency_ms", "params < 5000".split()[0]])
    outcome = evaluator.run(task_for(evaluator.space), Recorder())
    wanted = {"accuracy", "loss", "balanced_accuracy", "latency_ms", "params", "macs", "memory_mb", "seconds"}
    assert wanted <= set(outcome.metrics)
    cost = Costs(evaluator.space, (1, 8, 8), 10).of(
        Architecture(evaluator.space.fingerprint, evaluator.space.sample(3).decisions)
    )
    assert outcome.metrics["params"] == cost.params
    assert outcome.metrics["macs"] == cost.macs


def test_all_rows_are_trained_on_and_nothing_is_scored():
    evaluator = trained()
    data = evaluator.data("all")
    assert len(data.x) == 300
    assert data.x_eval is None
    outcome = evaluator.run(task_for(evaluator.space, rows="all"), Recorder())
    assert "accuracy" not in outcome.metrics
    assert outcome.epochs == 3


def test_preprocessing_is_fitted_on_the_rows_that_are_trained_on():
    evaluator = trained()
    train, everything = evaluator.data("train"), evaluator.data("all")
    assert abs(float(train.x.mean())) < 1e-5
    assert abs(float(everything.x.mean())) < 1e-5
    assert not torch.equal(train.x, everything.x[:200])


def test_smaller_shares_of_the_rows_lie_in_larger_ones():
    evaluator = trained()
    shares = [evaluator._share(evaluator.data("train"), task_for(evaluator.space, data=d)).x for d in (0.1, 0.5, 1.0)]
    assert [len(s) for s in shares] == [20, 100, 200]
    rows = [{tuple(r.flatten().tolist()) for r in s} for s in shares]
    assert rows[0] <= rows[1] <= rows[2]


def test_the_baseline_is_made_anew_from_each_seed():
    def baseline():
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))

    evaluator = trained(baseline=baseline)
    make = [evaluator.network(Task(0, {}, s, 1, network="baseline"), (1, 8, 8)) for s in (1, 1, 2)]
    weights = [m[1].weight for m in make]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert evaluator.run(Task(0, {}, 1, 2, network="baseline"), Recorder()).metrics["accuracy"] > 0


def test_a_missing_or_wrong_baseline_is_named():
    with pytest.raises(UsageError, match="no baseline"):
        trained().run(Task(0, {}, 1, 1, network="baseline"), Recorder())
    with pytest.raises(UsageError, match="returned int"):
        trained(baseline=lambda: 3).run(Task(0, {}, 1, 1, network="baseline"), Recorder())


def test_global_generators_are_left_alone():
    evaluator = trained()
    torch.rand(1)
    before = torch.random.get_rng_state()
    evaluator.run(task_for(evaluator.space), Recorder())
    assert torch.equal(before, torch.random.get_rng_state())


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.LazyLinear(10)

    def forward(self, x):
        y = self.linear(x.flatten(1))
        return y + torch.rand_like(y)


def test_a_network_that_is_not_the_same_twice_is_noted():
    evaluator = trained(baseline=Noisy)
    outcome = evaluator.run(Task(0, {}, 1, 1, network="baseline"), Recorder())
    assert any("different outputs for the same input" in note for note in outcome.notes)
    assert not trained().run(task_for(small_space()), Recorder()).notes


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (None, TrialError, "returned None"),
        ("0.9", TrialError, "'0.9'"),
        (1 + 2j, TrialError, "complex"),
        (float("nan"), NotFiniteError, "nan"),
        (torch.zeros(3), TrialError, r"shape \(3,\)"),
        ({"accuracy": None}, TrialError, "accuracy"),
        ([0.5], TrialError, "list"),
    ],
)
def test_what_is_not_a_number_is_refused_with_its_value(answer, error, words):
    evaluator = FunctionEvaluator(small_space(), lambda model, trial: answer, "accuracy", sample=(1, 8, 8), outputs=10)
    with pytest.raises(error, match=words):
        evaluator.run(task_for(evaluator.space), Recorder())


@pytest.mark.parametrize(
    "answer", [0.5, True, np.float32(0.5), torch.tensor(0.5, requires_grad=True), {"accuracy": 0.5}]
)
def test_whatever_looks_like_a_number_is_taken(answer):
    evaluator = FunctionEvaluator(small_space(), lambda model, trial: answer, "accuracy", sample=(1, 8, 8), outputs=10)
    expected = 1.0 if answer is True else 0.5
    assert evaluator.run(task_for(evaluator.space), Recorder()).metrics["accuracy"] == expected


def test_extra_numbers_are_kept_and_params_added():
    evaluator = FunctionEvaluator(
        small_space(),
        lambda m, t: {"accuracy": 1, "speed": 7},
        "accuracy",
        ["latency_ms"],
        sample=(1, 8, 8),
        outputs=10,
    )
    metrics = evaluator.run(task_for(evaluator.space), Recorder()).metrics
    assert metrics["speed"] == 7
    assert metrics["latency_ms"] > 0
    assert metrics["params"] > 0


def test_reports_of_nonsense_are_refused():
    evaluator = FunctionEvaluator(
        small_space(), lambda m, t: t.report(0, accuracy=float("inf")), "accuracy", sample=(1, 8, 8), outputs=10
    )
    with pytest.raises(NotFiniteError, match="accuracy"):
        evaluator.run(task_for(evaluator.space), Recorder())


def test_folds_hold_out_other_rows_of_the_same_parts_and_never_more():
    evaluator = trained()
    both = np.sort(np.concatenate([evaluator.train, evaluator.validation]))
    held = []
    for fold in range(5):
        data = evaluator.data("train", fold)
        rows, out = evaluator._fold(fold)
        assert np.array_equal(np.sort(np.concatenate([rows, out])), both)
        assert len(out) == len(evaluator.validation) == len(data.x_eval)
        assert torch.equal(data.y_eval, torch.from_numpy(evaluator.raw.y[out]))
        held.append(set(out.tolist()))
    assert held[0] == set(evaluator.validation.tolist())
    assert len(set().union(*held)) > 2 * len(evaluator.validation)
    assert len(evaluator._prepared) <= 2, "only the first fold and the last one are kept in memory"
    share = [np.bincount(evaluator.raw.y[evaluator._fold(f)[1]], minlength=10) for f in (1, 2)]
    assert abs(share[0] - share[1]).max() <= 1, "stratified"


def test_folds_keep_groups_whole_and_time_in_order():
    whole = digits()
    groups = np.arange(300) // 10
    rows = np.arange(300)
    for raw in (replace(whole, groups=groups), replace(whole, ordered=True)):
        evaluator = TrainEvaluator(small_space(), raw, rows[:200], rows[200:], Recipe(batch_size=32))
        for fold in range(4):
            kept, held = evaluator._fold(fold)
            assert len(held) == 100
            if raw.ordered:
                assert held[0] == 200
            else:
                assert not set(groups[kept]) & set(groups[held])


def test_a_promoted_task_continues_and_costs_the_difference(tmp_path):
    """Epochs 1 and 2 of 4, then the rest: the numbers of a straight training, the costs of the second part alone."""
    evaluator, path = trained(), str(tmp_path / "state")
    whole = evaluator.run(msgspec.structs.replace(task_for(evaluator.space), epochs=4), Recorder())
    begun = msgspec.structs.replace(task_for(evaluator.space), epochs=2, horizon=4, checkpoint=path, save_every=4)
    first = evaluator.run(begun, Recorder())
    live = Recorder()
    rest = msgspec.structs.replace(begun, epochs=4, start=2, save_every=0)
    second = evaluator.run(rest, live)
    assert (first.epochs, second.epochs, second.notes) == (2, 2, ())
    assert second.curve == whole.curve
    assert second.metrics["loss"] == whole.metrics["loss"]
    assert [r["step"] for r in live.reports] == [2, 3, 4]
    assert second.metrics["seconds"] == pytest.approx(first.seconds + second.seconds)
    (tmp_path / "state").unlink()
    anew = evaluator.run(rest, Recorder())
    assert (anew.epochs, anew.notes, anew.curve) == (4, (ANEW,), whole.curve)


def test_a_users_function_continues_from_its_own_file(tmp_path):
    seen = []

    def evaluate(model, trial):
        begun = int(trial.checkpoint.read_text()) if trial.start else 0
        seen.append((trial.start, begun, trial.epochs, trial.horizon))
        trial.checkpoint.write_text(str(trial.epochs))
        return trial.epochs / 10

    evaluator = FunctionEvaluator(small_space(), evaluate, "accuracy", sample=(1, 8, 8), outputs=10)
    task = Task(0, small_space().sample(3).decisions, 1, 1, horizon=9, checkpoint=str(tmp_path / "mine"))
    first = evaluator.run(task, Recorder())
    second = evaluator.run(msgspec.structs.replace(task, epochs=3, start=1), Recorder())
    (tmp_path / "mine").unlink()
    third = evaluator.run(msgspec.structs.replace(task, epochs=9, horizon=0, start=3), Recorder())
    assert seen == [(0, 0, 1, 9), (1, 1, 3, 9), (0, 0, 9, 9)]
    assert [(o.epochs, o.notes) for o in (first, second, third)] == [(1, ()), (2, ()), (9, (ANEW,))]


def test_not_a_function_is_refused():
    with pytest.raises(UsageError, match="not a function"):
        FunctionEvaluator(small_space(), 3, "accuracy")


def test_weights_come_back_and_foreign_ones_are_refused(tmp_path):
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(one, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(one.weight, other.weight)
    with pytest.raises(BuildError, match=r"w\.safetensors"):
        load_weights(nn.Linear(4, 2), tmp_path / "w.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(BuildError, match="junk"):
        load_weights(one, tmp_path / "junk.safetensors")


def test_the_description_changes_with_recipe_data_and_code():
    rows = np.arange(300)
    base = trained().describe()
    other = TrainEvaluator(small_space(), digits(), rows[:200], rows[200:], Recipe(lr=0.01)).describe()
    fewer = TrainEvaluator(small_space(), digits(250), rows[:150], rows[150:250], Recipe(batch_size=32)).describe()
    assert base != other
    assert base["data"] != fewer["data"]
    functions = [FunctionEvaluator(small_space(), f, "a").describe() for f in (by_hand, lambda model, trial: 1.0)]
    assert functions[0] != functions[1]
    assert msgspec.json.encode(base)


def test_a_task_may_change_the_recipe_and_the_networks_dropout():
    evaluator = trained()
    space = evaluator.space
    with_dropout = next(a for a in map(space.sample, range(50)) if "Dropout" in a.decisions.values())
    task = Task(0, with_dropout.decisions, seed=11, epochs=2)

    def loss(**recipe):
        return evaluator.run(msgspec.structs.replace(task, recipe=recipe), Recorder()).metrics["loss"]

    usual = loss()
    assert loss(lr=evaluator.recipe.lr) == usual, "the same value changes nothing"
    assert len({usual, loss(lr=0.03), loss(augment=["mixup"]), loss(dropout=0.7), loss(label_smoothing=0.2)}) == 5
    assert loss(dropout=0.2) == usual, "the rate that the layer has already"
    with pytest.raises(UsageError, match="lr=-1"):
        loss(lr=-1.0)
    assert evaluator.recipe == Recipe(batch_size=32), "the next task has the usual recipe again"
