"""A loss or step of the user with weight sharing: every method minimises it, and a study carries it to its workers."""

import pytest
import torch
from helpers_sharing import batch, cell_space, partial_space
from torch.nn import functional as F

from searchitect import resume, search
from searchitect.engine.observer import Observer
from searchitect.errors import UsageError
from searchitect.sharing import METHODS, Start, SupernetSearch
from searchitect.spaces import nb201
from searchitect.training import Recipe, TrainData
from searchitect.training.own import Own

SMALL = {
    "data": "digits", "limit_train": 200, "workers": 1, "threads": 1, "executor": "serial", "seed": 3,
    "recipe": {"batch_size": 64}, "epochs": 1, "finalize": False,
}  # fmt: skip


def by_hand(network, x, y):
    return F.cross_entropy(network(x), y)


def doubled(outputs, y):
    return 2 * F.cross_entropy(outputs, y)


def searched(name, *, loss=None, step=None, **options):
    rows = batch((3, 4, 4), 24, dtype=torch.float32)
    data = TrainData(rows.x, rows.y, rows.x, rows.y, "classification", 3)
    space = partial_space() if name == "pcdarts" else cell_space()
    options = options | ({"drawn": 2} if name in ("spos", "fairnas", "enas") else {})
    start = Start(space, (3, 4, 4), 3, 0, 2, Recipe(batch_size=12), options, own=Own(loss, step))
    return SupernetSearch(name, start, data)


def numbers(search):
    epoch = search.epoch(1)
    return epoch.losses, [p.detach().clone() for p in search.net.parameters()]


@pytest.mark.parametrize("name", METHODS)
def test_the_usual_step_written_by_hand_changes_no_bit(name):
    (losses, usual), (again, own) = numbers(searched(name)), numbers(searched(name, step=by_hand))
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(usual, own, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_that_is_minimised_is_the_user_s(name):
    usual, own = searched(name).epoch(1).losses, searched(name, loss=doubled, clip=1e9).epoch(1).losses
    assert own["train"] > 1.5 * usual["train"]
    if "architecture" in usual:
        assert own["architecture"] > 1.5 * usual["architecture"]


@pytest.mark.parametrize("order", [{"order": 2}, {"order": 2, "second": "finite"}])
def test_second_order_looks_ahead_by_the_same_step(order):
    (losses, usual), (again, own) = (
        numbers(searched("darts", **order)),
        numbers(searched("darts", step=by_hand, **order)),
    )
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(usual, own, strict=True))


def test_parts_of_a_batch_count_by_their_rows():
    (losses, usual), (again, own) = (
        numbers(searched("spos", accumulate=2)),
        numbers(searched("spos", accumulate=2, step=by_hand)),
    )
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(usual, own, strict=True))


def test_what_is_no_loss_is_refused():
    with pytest.raises(UsageError, match="must be one number as a tensor"):
        searched("gdas", loss=lambda outputs, y: outputs).epoch(1)


def test_a_supernet_is_only_continued_by_what_it_was_trained_to(tmp_path):
    half, third = (lambda outputs, y, part=part: part * F.cross_entropy(outputs, y) for part in (0.5, 0.3))
    found = searched("darts", loss=half)
    found.epoch(1)
    found.save(tmp_path)
    assert searched("darts", loss=half).load(tmp_path)
    for other, names in (
        ({"loss": third}, "loss differs"),
        ({}, "loss differs"),
        ({"step": by_hand}, "step, loss differ"),
    ):
        with pytest.raises(UsageError, match=f"of another search: {names}$"):
            searched("darts", **other).load(tmp_path)


def test_a_study_of_trainings_says_that_its_loss_is_another(tmp_path):
    space, heard = nb201.space(cells=1, width=4), []
    search(space, strategy="random", loss=doubled, path=tmp_path / "s", trials=1, **SMALL)
    resume(tmp_path / "s", loss=doubled, trials=1, finalize=False, observer=Hears(heard))
    assert not any("has changed" in text for text in heard)
    resume(tmp_path / "s", loss=F.cross_entropy, trials=1, finalize=False, observer=Hears(heard))
    words = "loss() has changed since the study began: old and new trials may not compare, and trainings that were"
    assert any(words in text for text in heard)


class Hears(Observer):
    def __init__(self, heard):
        self.heard = heard

    def message(self, text):
        self.heard.append(text)


def test_a_study_minimises_it_and_wants_it_back(tmp_path):
    def loss(outputs, y):
        return 100 * F.cross_entropy(outputs, y)

    space = nb201.space(cells=1, width=4)
    study = search(space, strategy="gdas", loss=loss, path=tmp_path / "s", **SMALL)
    assert study.best is not None
    with pytest.raises(UsageError, match="loss is code of yours"):
        resume(tmp_path / "s", finalize=False)
    again = resume(tmp_path / "s", loss=loss, finalize=False)
    assert len(again.trials) == len(study.trials)
    words = r"loss\(\) has changed since the study began, and the supernet of this study has learned by what it was"
    with pytest.raises(UsageError, match=words):
        resume(tmp_path / "s", loss=lambda outputs, y: 99 * F.cross_entropy(outputs, y), finalize=False)
    with pytest.raises(UsageError, match="leave them out"):
        search(space, evaluate=lambda model, trial: 1.0, loss=loss, sample=(1, 8, 8), outputs=10, path=tmp_path / "t")
