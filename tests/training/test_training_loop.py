"""Training: it learns, it repeats, it continues, it stops, and it says what went wrong."""

from __future__ import annotations

import math
import time

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import BuildError, DataError, NotFiniteError, UsageError
from searchitect.torchseeds import seeded_torch
from searchitect.training import checkpoint as disk
from searchitect.training.data import load
from searchitect.training.loop import fit
from searchitect.training.meters import predict
from searchitect.training.recipe import Recipe, rate, recipe_for
from searchitect.training.split import split
from searchitect.training.tensors import TrainData, prepare
from searchitect.training.terms import Course, Goal


def cnn(channels: int = 1, outputs: int = 10, width: int = 16) -> nn.Module:
    def conv(i: int, o: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

    with seeded_torch(7):
        return nn.Sequential(
            conv(channels, width, 1), conv(width, 2 * width, 2), conv(2 * width, 2 * width, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(2 * width, outputs),
        )  # fmt: skip


def mlp(inputs: int, outputs: int) -> nn.Module:
    with seeded_torch(7):
        return nn.Sequential(nn.Linear(inputs, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, outputs))


@pytest.fixture(scope="module")
def digits() -> TrainData:
    raw = load("digits")
    parts = split(raw, 0)
    return prepare(raw, parts.train, parts.validation)[0]


def few(data: TrainData, n: int) -> TrainData:
    return TrainData(data.x[:n], data.y[:n], data.x_eval[:50], data.y_eval[:50], data.task, data.outputs)


def bits(model: nn.Module) -> list[bytes]:
    return [t.contiguous().numpy().tobytes() for t in model.state_dict().values()]


# --- it learns ------------------------------------------------------------------------------------------------


def test_digits_to_97_percent_quickly(digits):
    start = time.process_time()
    result = fit(cnn(), digits, recipe_for("image", 1079), epochs=15, seed=0)
    assert result.metrics["accuracy"] >= 0.97
    assert time.process_time() - start < 10
    assert result.epochs == len(result.curve) == 15
    assert not result.stopped
    assert result.curve[-1]["lr"] < 1e-4
    assert set(result.curve[0]) == {"epoch", "train_loss", "lr", "accuracy", "loss"}
    assert [c["epoch"] for c in result.curve] == list(range(1, 16))


def test_regression_is_scored_in_the_users_units():
    raw = load("diabetes")
    parts = split(raw, 0)
    data, fixed = prepare(raw, parts.train, parts.validation)
    model = mlp(10, 1)
    result = fit(model, data, recipe_for("table", 266), epochs=20, seed=0)
    assert result.metrics["r2"] > 0.3
    truth = raw.y[parts.validation]
    guess = fixed.decode_y(predict(model, data.x_eval))
    assert result.metrics["rmse"] == pytest.approx(float(np.sqrt(np.mean((guess - truth) ** 2))), rel=1e-4)


def test_sequences():
    with seeded_torch(1):
        phase = torch.rand(200) * 6
        y = torch.arange(200) % 2
        t = torch.linspace(0, 12, 40)
        x = torch.sin((1 + y[:, None]) * t + phase[:, None])[:, None] + 0.2 * torch.randn(200, 1, 40)
        model = nn.Sequential(
            nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 2)
        )
    data = TrainData(x[:150], y[:150], x[150:], y[150:], "classification", 2)
    result = fit(model, data, recipe_for("sequence", 150), epochs=25, seed=0, goal=Goal(metrics=["f1", "accuracy"]))
    assert result.metrics["accuracy"] > 0.9
    assert set(result.metrics) == {"f1", "accuracy"}


def test_several_targets_and_flat_outputs():
    x = torch.randn(100, 4)
    wide = TrainData(x, x[:, :2] * 2, x, x[:, :2] * 2, "regression", 2)
    assert fit(mlp(4, 2), wide, Recipe(lr=0.01), epochs=30, seed=0).metrics["r2"] > 0.9
    flat = TrainData(x, x[:, :1], x, x[:, :1], "regression", 1)
    model = nn.Sequential(mlp(4, 1), nn.Flatten(0))
    assert fit(model, flat, Recipe(lr=0.01), epochs=30, seed=0).metrics["r2"] > 0.9


@pytest.mark.parametrize(
    "change",
    [{"optimizer": "sgd", "lr": 0.1}, {"augment": ("crop", "cutout", "mixup")}, {"schedule": "constant"},
     {"clip": None, "augment": "none", "channels_last": "off"}],
)  # fmt: skip
def test_every_part_of_the_recipe_trains(digits, change):
    recipe = msgspec.structs.replace(recipe_for("image", 1079), **change)
    assert fit(cnn(), digits, recipe, epochs=6, seed=0).metrics["accuracy"] > 0.6


# --- it repeats and continues ---------------------------------------------------------------------------------


def test_y1_same_seed_same_bits(digits):
    data, runs = few(digits, 300), []
    for seed in (0, 0, 1):
        torch.randn(3)  # the state of the global generator must not matter
        model = cnn()
        curve = fit(model, data, Recipe(augment=("crop", "mixup")), epochs=2, seed=seed).curve
        runs.append((bits(model), curve))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_the_global_generator_is_left_alone(digits):
    before = torch.random.get_rng_state()
    fit(cnn(), few(digits, 100), Recipe(), epochs=1, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "recipe",
    [Recipe(augment=("crop", "cutout", "mixup")), Recipe(optimizer="sgd", early_stop=9),
     Recipe(channels_last="off", clip=None)],
)  # fmt: skip
@pytest.mark.parametrize("cut", [1, 3])
def test_y2_continuing_equals_going_straight_through(digits, tmp_path, recipe, cut):
    data = few(digits, 260)
    straight = cnn()
    whole = fit(straight, data, recipe, epochs=4, seed=5)
    path = tmp_path / "t.safetensors"
    calls = []
    until = Course(checkpoint=path, should_stop=lambda: len(calls) >= cut, report=lambda e, m: calls.append(e))
    first = fit(cnn(), data, recipe, epochs=4, seed=5, course=until)
    assert first.stopped
    assert first.epochs == cut
    resumed, again = cnn(), []
    with seeded_torch(99):
        for parameter in resumed.parameters():
            nn.init.normal_(parameter)  # what the model was initialised with must not matter
    second = fit(
        resumed, data, recipe, epochs=4, seed=5, course=Course(checkpoint=path, report=lambda e, m: again.append(e))
    )
    assert again == list(range(cut, 5))  # the last finished epoch is reported once more
    assert second.curve == whole.curve
    assert second.metrics == whole.metrics
    assert bits(resumed) == bits(straight)


def test_a_finished_checkpoint_trains_no_more(digits, tmp_path):
    data, path = few(digits, 100), tmp_path / "t.safetensors"
    first = fit(cnn(), data, Recipe(), epochs=2, seed=0, course=Course(checkpoint=path))
    model = cnn()
    second = fit(model, data, Recipe(), epochs=2, seed=0, course=Course(checkpoint=path))
    assert second.curve == first.curve
    assert second.seconds == first.seconds
    assert (second.resumed, first.resumed) == (2, 0)


@pytest.mark.parametrize("recipe", [Recipe(augment="auto"), Recipe(optimizer="sgd", early_stop=9)])
def test_rungs_of_one_training_equal_an_uninterrupted_one(digits, tmp_path, recipe):
    """Pauses after epochs 1, 3 and 9 of 27, each time in a new network: the same curve and weights, bit for bit."""
    data, path = few(digits, 130), tmp_path / "t.safetensors"
    straight = cnn()
    whole = fit(straight, data, recipe, epochs=27, seed=5)
    for epochs, before in ((1, 0), (3, 1), (9, 3), (27, 9)):
        model = cnn()
        rung = fit(
            model,
            data,
            recipe,
            epochs=epochs,
            seed=5,
            course=Course(horizon=27, checkpoint=path, save_every=0 if epochs == 27 else 99),
        )
        assert rung.curve == whole.curve[:epochs]
        assert (rung.resumed, len(rung.spent), rung.stopped) == (before, epochs, False)
    assert rung.metrics == whole.metrics
    assert bits(model) == bits(straight)
    _, counters = disk.read(path)
    assert len(counters["curve"]) == 9  # the top only read it


def test_the_horizon_sets_rate_and_augmentation(digits):
    """One epoch of 30 warms up and is shifted; one epoch of 1 is neither."""
    data = few(digits, 256)
    short = fit(cnn(), data, Recipe(augment="auto"), epochs=1, seed=0)
    begun = fit(cnn(), data, Recipe(augment="auto"), epochs=1, seed=0, course=Course(horizon=30))
    shifted = fit(cnn(), data, Recipe(augment=("crop",)), epochs=1, seed=0, course=Course(horizon=30))
    assert begun.curve[0]["lr"] == pytest.approx(rate(Recipe(), 3, 120))
    assert short.curve[0]["lr"] == pytest.approx(rate(Recipe(), 3, 4))
    assert begun.curve == shifted.curve
    with pytest.raises(UsageError, match="horizon=2"):
        fit(cnn(), data, Recipe(), epochs=3, seed=0, course=Course(horizon=2))


def test_patience_that_ran_out_before_a_pause_has_run_out_after_it(digits, tmp_path):
    data, path = few(digits, 100), tmp_path / "t.safetensors"
    recipe = Recipe(lr=0.5, early_stop=1, schedule="constant", clip=None)
    whole = fit(cnn(), data, recipe, epochs=30, seed=0)
    assert whole.epochs < 30
    assert not whole.stopped  # by its own recipe: it has all the training that it was to have
    fit(cnn(), data, recipe, epochs=whole.epochs, seed=0, course=Course(horizon=30, checkpoint=path))
    again = fit(cnn(), data, recipe, epochs=30, seed=0, course=Course(checkpoint=path))
    assert (again.curve, again.metrics, again.stopped) == (whole.curve, whole.metrics, False)


@pytest.mark.parametrize(
    ("change", "n", "word"),
    [({"recipe": Recipe(lr=0.01)}, 100, "recipe"), ({"seed": 1}, 100, "seed"), ({}, 90, "number of rows"),
     ({"metrics": ("f1_macro",)}, 100, "metrics"), ({"horizon": 2}, 100, "length of the schedule")],
)  # fmt: skip
def test_a_checkpoint_of_another_training_is_not_used(digits, tmp_path, change, n, word, caplog):
    path = tmp_path / "t.safetensors"
    fit(cnn(), few(digits, 100), Recipe(), epochs=1, seed=0, course=Course(checkpoint=path))
    recipe, goal, horizon = change.get("recipe", Recipe()), Goal(change.get("metrics")), change.get("horizon")
    settings = {"epochs": 1, "seed": change.get("seed", 0), "goal": goal}
    fresh = fit(cnn(), few(digits, n), recipe, course=Course(horizon), **settings)
    again = fit(cnn(), few(digits, n), recipe, course=Course(horizon, path), **settings)
    assert again.curve == fresh.curve
    assert again.notes == (f"a checkpoint of another training was not used: another {word}",)
    assert "of another training" in caplog.text


def test_p4_damaged_checkpoints_start_again(digits, tmp_path, caplog):
    path = tmp_path / "t.safetensors"
    data = few(digits, 100)
    straight = fit(cnn(), data, Recipe(), epochs=1, seed=0, course=Course(checkpoint=path))
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-100] ^= 1
    for bad in (b"", good[:7], good[: len(good) // 2], good[:-1], bytes(flipped), b"{}" * 100):
        path.write_bytes(bad)
        (tmp_path / "t.safetensors.tmp").write_bytes(b"left over")
        assert disk.read(path) is None
        assert not (tmp_path / "t.safetensors.tmp").exists()
    assert fit(cnn(), data, Recipe(), epochs=1, seed=0, course=Course(checkpoint=path)).curve == straight.curve
    assert "damaged" in caplog.text
    assert disk.read(path) is not None


def test_s6_a_full_disk_keeps_the_old_checkpoint(digits, tmp_path, monkeypatch):
    path = tmp_path / "t.safetensors"
    data = few(digits, 100)
    fit(cnn(), data, Recipe(), epochs=1, seed=0, course=Course(horizon=3, checkpoint=path))
    old = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", full)
    result = fit(cnn(), data, Recipe(), epochs=3, seed=0, course=Course(checkpoint=path))
    assert result.epochs == 3
    assert result.notes == ("a checkpoint was not written: [Errno 28] No space left on device",)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_checkpoints_hold_shared_weights(tmp_path):
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    disk.write(tmp_path / "c", disk.pack(model, optimizer), {"n": 1})
    tensors, counters = disk.read(tmp_path / "c")
    assert counters == {"n": 1}
    assert torch.equal(tensors["model.0.weight"], tensors["model.2.weight"])


# --- it stops -------------------------------------------------------------------------------------------------


def test_early_stop_gives_back_the_best_epoch(digits):
    data = few(digits, 64)
    noisy = TrainData(data.x, torch.randint(0, 10, (64,), generator=torch.Generator().manual_seed(0)), data.x_eval,
                      data.y_eval, "classification", 10)  # fmt: skip
    model = cnn()
    result = fit(model, noisy, Recipe(early_stop=3, schedule="constant"), epochs=60, seed=0)
    losses = [c["loss"] for c in result.curve]
    best = int(np.argmin(losses))
    assert not result.stopped  # it ended as its recipe says
    assert len(losses) == best + 1 + 3
    assert result.metrics["loss"] == losses[best]
    outputs = predict(model, data.x_eval)
    assert float(nn.functional.cross_entropy(outputs, data.y_eval)) == pytest.approx(losses[best], rel=1e-5)
    with pytest.raises(UsageError, match="early_stop needs an evaluation part"):
        fit(cnn(), TrainData(data.x, data.y, None, None, "classification", 10), Recipe(early_stop=3), epochs=1, seed=0)


class Slow(nn.Module):
    """Takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.layer = seconds, nn.Linear(64, 10)

    def forward(self, x):
        time.sleep(self.seconds if self.training else 0)
        return self.layer(x.flatten(1))


def test_deadline_within_an_epoch(digits):
    seen = []
    start = time.monotonic()
    result = fit(
        Slow(0.05),
        digits,
        Recipe(),
        epochs=5,
        seed=0,
        course=Course(deadline=start + 0.3, report=lambda e, m: seen.append(m["epoch"])),
    )
    assert time.monotonic() - start < 1.5
    assert result.stopped
    assert result.epochs == 0
    assert 0 < seen[0] < 1
    assert result.metrics["accuracy"] >= 0


def test_deadline_begins_no_epoch_that_would_not_fit(digits):
    result = fit(
        Slow(0.01), few(digits, 256), Recipe(), epochs=500, seed=0, course=Course(deadline=time.monotonic() + 0.5)
    )
    assert result.stopped
    assert 1 <= result.epochs < 15


def test_a_deadline_in_the_past_trains_nothing(digits):
    result = fit(cnn(), digits, Recipe(), epochs=2, seed=0, course=Course(deadline=time.monotonic() - 1))
    assert (result.curve, result.metrics, result.epochs, result.stopped) == ((), {}, 0, True)


def test_stop_is_asked_within_long_epochs(digits):
    start = time.monotonic()
    result = fit(Slow(0.1), digits, Recipe(batch_size=16), epochs=2, seed=0, course=Course(should_stop=lambda: True))
    assert result.stopped
    assert 0.5 <= time.monotonic() - start < 3


def test_the_last_epoch_is_not_stopped(digits, monkeypatch):
    monkeypatch.setattr("searchitect.training.loop._POLL", 1e9)  # a slow machine would ask within the epoch
    assert not fit(cnn(), few(digits, 100), Recipe(), epochs=1, seed=0, course=Course(should_stop=lambda: True)).stopped


# --- it says what went wrong ----------------------------------------------------------------------------------


class Poison(nn.Module):
    """Gives NaN from the nth training pass on."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left, self.layer = after, nn.Linear(64, 10)

    def forward(self, x):
        self.left -= self.training
        return self.layer(x.flatten(1)) * (1.0 if self.left >= 0 else math.nan)


def test_u4_a_loss_that_is_not_finite(digits):
    seen = []
    with pytest.raises(
        NotFiniteError, match=r"became nan in epoch 3 of 5, by step 4 of 4; the last finite mean was \d"
    ):
        fit(Poison(10), few(digits, 256), Recipe(), epochs=5, seed=0, course=Course(report=lambda e, m: seen.append(e)))
    assert seen == [1, 2]
    with pytest.raises(NotFiniteError, match=r"by step 1 of 4; the last finite one was \d.* in epoch 2"):
        fit(Poison(8), few(digits, 256), Recipe(), epochs=5, seed=0)
    with pytest.raises(NotFiniteError, match="no loss was finite"):
        fit(Poison(0), few(digits, 256), Recipe(), epochs=5, seed=0)


def test_u4_diverging_training(digits):
    with pytest.raises(NotFiniteError):
        fit(cnn(), digits, Recipe(optimizer="sgd", lr=900, clip=None, warmup=0, momentum=0.99), epochs=20, seed=0)


def test_u15_weights_that_are_not_finite(digits):
    class Rotten(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 10)
            self.register_buffer("average", torch.zeros(3))

        def forward(self, x):
            self.average[0] = math.inf
            return self.layer(x.flatten(1))

    with pytest.raises(NotFiniteError, match="weights of 'average' are not finite at the end"):
        fit(Rotten(), few(digits, 64), Recipe(), epochs=1, seed=0)


@pytest.mark.parametrize("n", [2, 3, 65, 129])
def test_d7_few_rows_and_a_last_batch_of_one(digits, n):
    assert fit(cnn(), few(digits, n), Recipe(batch_size=64), epochs=1, seed=0).epochs == 1


def test_outputs_that_do_not_fit(digits):
    with pytest.raises(BuildError, match=r"gives shape \(64, 7\) for 64 rows; expected \(64, 10\): one score a class"):
        fit(cnn(outputs=7), digits, Recipe(), epochs=1, seed=0)
    x = torch.randn(64, 3)
    with pytest.raises(BuildError, match=r"shape \(64, 2\) for 64 rows; expected \(64, 1\): one number a target"):
        fit(mlp(3, 2), TrainData(x, x[:, :1], None, None, "regression", 1), Recipe(), epochs=1, seed=0)


def test_u1_errors_of_the_model_pass_through(digits):
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            raise KeyError("mine")

    model, state = Broken(), torch.random.get_rng_state()
    with pytest.raises(KeyError, match="mine"):
        fit(model, digits, Recipe(), epochs=1, seed=0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_wrong_calls(digits):
    with pytest.raises(UsageError, match="epochs=0"):
        fit(cnn(), digits, Recipe(), epochs=0, seed=0)
    with pytest.raises(UsageError, match="'f1' does not fit"):
        fit(cnn(), digits, Recipe(), epochs=1, seed=0, goal=Goal(metrics=["f1"]))
    with pytest.raises(DataError, match="at least 2 rows"):
        TrainData(digits.x[:1], digits.y[:1], None, None, "classification", 10)
    with pytest.raises(DataError, match="same number of rows"):
        TrainData(digits.x, digits.y[:5], None, None, "classification", 10)


def test_without_an_evaluation_part(digits):
    data = TrainData(digits.x[:100], digits.y[:100], None, None, "classification", 10)
    result = fit(cnn(), data, Recipe(), epochs=2, seed=0)
    assert set(result.metrics) == {"train_loss"}


def test_the_model_is_left_ready_for_use(digits):
    model = cnn()
    fit(model, few(digits, 100), Recipe(), epochs=1, seed=0)
    assert not any(m.training for m in model.modules())
    assert all(p.is_contiguous() for p in model.parameters())
