"""The contract of weight-sharing methods, as tests. Subclass, name the method, inherit the tests.

class TestMine(SharingContract):
    method = "darts"
    options = {"lr": 0.01}

The space, of which a few steps are run, is given by `make`; the data are random.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from searchitect.errors import NotFiniteError, SearchitectError, UsageError
from searchitect.records import Epoch
from searchitect.sharing import METHODS, Start, SupernetSearch
from searchitect.sharing.method import Batch
from searchitect.space import Space
from searchitect.torchseeds import seeded_torch
from searchitect.training import Recipe, TrainData
from searchitect.training.own import Own


class SharingContract:
    """Subclass and set `method`, implement `make`. Each test is one promise that every method keeps.

    options: of the method and the loop. shape: one row without the batch.
    refused: a space that the method cannot share, and the decision that the error names; None if it can share all.
    wrong:   options of the method with a value that is not allowed.
    """

    method = ""
    options: dict[str, Any] = {}  # noqa: RUF012 - read only
    shape: tuple[int, ...] = (3, 4, 4)
    refused: tuple[Space, str] | None = None
    wrong: dict[str, Any] = {}  # noqa: RUF012 - read only
    epochs = 2

    def make(self) -> Space:
        """The space under test."""
        raise AttributeError("a contract test class implements make()")

    # -- helpers -------------------------------------------------------------------------------------

    def data(self, shape: tuple[int, ...] | None = None) -> TrainData:
        """36 random rows to learn from, 9 to measure on, of three classes."""
        with seeded_torch(3):
            x = torch.randn(45, *(shape or self.shape))
        y = torch.arange(45) % 3
        return TrainData(x[:36], y[:36], x[36:], y[36:], "classification", 3)

    def search(self, seed: int = 1, space: Space | None = None, **changes: Any) -> SupernetSearch:
        """A new search; `changes` are fields of `Start`."""
        space = self.make() if space is None else space
        start = Start(space, self.shape, 3, seed, self.epochs, Recipe(batch_size=9), self.options)
        fields = {name: getattr(start, name) for name in start.__struct_fields__} | changes
        return SupernetSearch(self.method, Start(**fields), self.data(fields["sample"]))

    def run(self, search: SupernetSearch, first: int = 1, last: int | None = None) -> list[Epoch]:
        """Epochs of a search."""
        found = [search.epoch(number) for number in range(first, (last or self.epochs) + 1)]
        assert all(epoch is not None for epoch in found)
        return [epoch for epoch in found if epoch is not None]

    def everything(self, search: SupernetSearch) -> dict[str, Tensor]:
        """All numbers of a search that training changes."""
        weights = {f"net.{name}": tensor.clone() for name, tensor in search.net.state_dict().items()}
        return weights | {f"method.{name}": tensor.clone() for name, tensor in search.method.state().items()}

    # -- what comes out ------------------------------------------------------------------------------

    def test_epochs_are_told_in_full_and_what_is_derived_is_valid(self) -> None:
        search = self.search()
        reports: list[dict[str, float]] = []
        epoch = search.epoch(1, reports.append)
        assert epoch is not None
        assert epoch.number == search.done == len(reports) == 1
        assert ("architecture" in epoch.losses) == (search.method.bilevel and self.method != "pcdarts")
        space = search.start.space
        assert space.architecture(dict(epoch.derived)) == search.derive()
        assert set(epoch.metrics) >= {"accuracy", "loss"}
        for name, shares in epoch.gates.items():
            assert name in space.by_name
            assert min(shares) >= 0
            assert sum(shares) == pytest.approx(1.0, abs=1e-5) or not any(shares)

    def test_metrics_that_are_asked_for_are_measured(self) -> None:
        search = self.search()
        epoch = search.epoch(1, metrics=("f1_macro",))
        assert epoch is not None
        assert 0 <= epoch.metrics["f1_macro"] <= 1
        found = search.measure(search.derive(), ("f1_macro",))
        assert found == epoch.metrics

    def test_measuring_changes_nothing(self) -> None:
        search = self.search()
        self.run(search, last=1)
        before = self.everything(search)
        for i in range(3):
            search.measure(search.start.space.sample(i))
        same(before, self.everything(search))

    def test_limits_are_kept(self) -> None:
        space = self.make()
        wanted = space.sample(5)
        search = self.search(space=space, feasible=lambda a: a == wanted)
        assert search.derive() == wanted
        (epoch,) = self.run(search, last=1)
        assert space.architecture(dict(epoch.derived)) == wanted

    # -- the same again ------------------------------------------------------------------------------

    def test_the_same_start_gives_the_same_search(self) -> None:
        with seeded_torch(11):
            first = self.search()
            a = self.run(first)
        with seeded_torch(12):
            again = self.search()
            b = self.run(again)
        same(self.everything(first), self.everything(again))
        assert [plain(epoch) for epoch in a] == [plain(epoch) for epoch in b]

    def test_another_seed_gives_another_search(self) -> None:
        first, other = self.search(), self.search(seed=2)
        assert self.run(first, last=1)[0].losses != self.run(other, last=1)[0].losses

    def test_a_search_that_goes_on_is_the_one_that_was_never_cut(self) -> None:
        whole, cut = self.search(), self.epochs - 1
        expected = self.run(whole)
        with tempfile.TemporaryDirectory() as folder:
            begun = self.search()
            self.run(begun, last=cut)
            begun.save(Path(folder))
            resumed = self.search()
            assert resumed.load(Path(folder))
            same(self.everything(begun), self.everything(resumed))
            rest = self.run(resumed, first=cut + 1)
        same(self.everything(whole), self.everything(resumed))
        assert [plain(epoch) for epoch in rest] == [plain(epoch) for epoch in expected[cut:]]
        assert resumed.derive() == whole.derive()

    def test_there_is_nothing_to_go_on_from_in_an_empty_folder(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            assert not self.search().load(Path(folder) / "none")

    def test_another_search_s_file_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.search().save(Path(folder))
            with pytest.raises(UsageError, match="another search"):
                self.search(seed=2).load(Path(folder))

    # -- what a step may touch -----------------------------------------------------------------------

    def test_a_weights_step_moves_no_parameter_of_the_architecture(self) -> None:
        search = self.search()
        before = {name: tensor.clone() for name, tensor in search.method.state().items()}
        search.method.weights_step(Batch(search.data.x[:9], search.data.y[:9]), 7, 0.5)
        assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in search.net.parameters())
        same(before, search.method.state())
        assert all(t.grad is None for t in _logits(search))

    def test_an_architecture_step_gives_weights_no_gradients_and_leaves_them(self) -> None:
        search = self.search()
        weights = {name: p.detach().clone() for name, p in search.net.named_parameters()}
        before = {name: tensor.clone() for name, tensor in search.method.state().items()}
        train, held = (Batch(search.data.x[i : i + 9], search.data.y[i : i + 9]) for i in (0, 9))
        loss = search.method.architecture_step(train, held, 7, 0.5, 0.025)
        assert (loss is not None) == search.method.bilevel
        assert all(p.grad is None for p in search.net.parameters())
        same(weights, dict(search.net.named_parameters()))
        after = search.method.state()
        moved = any(not torch.equal(before[n], after[n]) for n in before) or set(before) != set(after)
        assert moved == search.method.bilevel

    def test_a_batch_in_parts_is_trained_as_well(self) -> None:
        search = self.search(options={**self.options, "accumulate": 3})
        (epoch,) = self.run(search, last=1)
        assert epoch.losses["train"] > 0

    def test_it_stops_when_asked(self) -> None:
        answers = iter([False, True])
        search = self.search()
        assert search.epoch(1, should_stop=lambda: next(answers)) is None
        assert next(answers, None) is None  # asked before each step
        assert search.done == 0

    # -- refusals ------------------------------------------------------------------------------------

    def test_an_epoch_out_of_turn_is_refused(self) -> None:
        with pytest.raises(UsageError, match="epoch 2 was asked for, but 0 are done"):
            self.search().epoch(2)

    def test_wrong_options_are_refused_by_name(self) -> None:
        with pytest.raises(UsageError, match=r"colour.*lr_weights"):
            self.search(options={"colour": 1})
        wrong = {**self.wrong, "accumulate": 0, "batch_size": 1, "lr_weights": 0.0, "clip": -1.0, "penalty": "beauty",
                 "momentum": 1.0, "penalty_weight": -1.0, "allowed_skips": -1}  # fmt: skip
        for name, value in wrong.items():
            with pytest.raises(UsageError, match=name):
                self.search(options={**self.options, name: value})

    def test_a_space_that_cannot_be_shared_is_refused_by_its_decision(self) -> None:
        if self.refused is None:
            assert METHODS[self.method]
            return
        space, name = self.refused
        with pytest.raises(SearchitectError) as failure:
            self.search(space=space)
        assert repr(name) in str(failure.value)

    def test_a_loss_that_is_not_finite_ends_the_search(self) -> None:
        search = self.search(own=Own(loss=lambda outputs, y: outputs.sum() * float("nan")))
        with pytest.raises(NotFiniteError, match=f"{self.method}: the .* loss became nan in epoch 1, step 1"):
            search.epoch(1)

    def test_an_own_loss_is_used(self) -> None:
        search = self.search(own=Own(loss=lambda outputs, y: 1000 + outputs.pow(2).mean()))
        (epoch,) = self.run(search, last=1)
        assert epoch.losses["train"] > 1000


def plain(epoch: Epoch) -> dict[str, Any]:
    """An epoch without its time."""
    return {name: getattr(epoch, name) for name in epoch.__struct_fields__ if name != "seconds"}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Equal bit for bit."""
    assert set(a) == set(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def _logits(search: SupernetSearch) -> list[Tensor]:
    logits = getattr(search.method, "logits", None)
    return [] if logits is None else logits.tensors()
