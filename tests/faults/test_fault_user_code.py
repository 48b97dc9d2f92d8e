"""What a user's own functions, spaces, strategies and listeners may do wrong, and what they are told."""

import os
import random
import signal
import warnings

import numpy as np
import pytest
import torch
import torch.nn as nn

from searchitect import Space, Study, lazy, one_of, resume, search
from searchitect.engine.observer import Observer
from searchitect.errors import SpaceError, StorageError, StudyFailedError, UsageError
from searchitect.records import State
from searchitect.store import Store
from searchitect.strategies.random import Random
from searchitect.training import as_number

L = lazy(nn)
SPACE = Space(L.Sequential(L.Linear(4, one_of(1, 2, 3, 4)), one_of(L.ReLU(), L.Tanh(), L.Identity())))


def run(path, evaluate, space=SPACE, objectives="max score", **options):
    """A small search in this process."""
    return search(
        space, evaluate=evaluate, objectives=objectives, path=path,
        **{"sample": (4,), "executor": "serial", "threads": 1, "finalize": False, "trials": 4, **options},
    )  # fmt: skip


def score(model, trial):
    return float(sum(p.detach().sum() for p in model.parameters()))


def parts(model, trial):
    return {"scor": 1.0, "time": 2.0}


# -- evaluate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "cause", "words"),
    [
        (None, "user code", "returned None"), (float("nan"), "not finite", "nan"), (float("inf"), "not finite", "inf"),
        ("0.9", "user code", "'0.9'"), (1j, "user code", "1j"), (torch.ones(3), "user code", "3"),
        ({"score": "high"}, "user code", "'high'"), ([0.5], "user code", "0.5"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_a_number(tmp_path, answer, cause, words):
    """evaluate() returns None, NaN, infinity, text, a complex number, several numbers → FAILED with the value; never
    stored as 0; three in a row at the start stop the study."""
    with pytest.raises(StudyFailedError, match="first 3 trials"):
        run(tmp_path / "s", lambda model, trial: answer)
    with pytest.raises(StudyFailedError):
        resume(tmp_path / "s", evaluate=lambda model, trial: answer, trials=9)
    failed = [t for t in Study(tmp_path / "s").trials if t.source is None and t.state is State.FAILED]
    assert {t.failure.cause for t in failed} == {cause}
    assert all(words in t.failure.message and t.value("score") is None for t in failed)


@pytest.mark.parametrize(
    "answer", [1, 0.5, True, np.float32(0.5), np.int64(3), torch.tensor(0.5), torch.tensor(0.5, requires_grad=True)]
)
def test_what_looks_like_a_number(tmp_path, answer):
    """evaluate() returns a bool, a numpy scalar or a tensor without axes → taken as that number."""
    study = run(tmp_path / "s", lambda model, trial: {"score": answer, "extra": 2.0}, trials=1)
    assert (study.best.value("score"), study.best.value("extra")) == (as_number(answer), 2.0)


def test_an_objective_that_is_not_returned(tmp_path):
    """The objective is missing or misspelt → the study ends at the first trial and lists what was returned."""
    with pytest.raises(StudyFailedError, match=r"'score'; it reported params, scor, seconds, time"):
        run(tmp_path / "s", parts)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_the_process_is_put_back(tmp_path, executor):
    """evaluate() changes the folder, signals, default dtype, generators and environment, and prints → the next trial
    and the caller find everything as before; prints are in the trial's log."""

    def messy(model, trial):
        here = os.getcwd()
        clean = (
            torch.get_default_dtype() is torch.float32,
            signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN,
            "MESS" not in os.environ,
            not here.startswith("/proc"),
        )
        if not all(clean):
            raise RuntimeError(f"not put back: {clean}, {here}")
        os.chdir("/proc")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        torch.set_default_dtype(torch.float64)
        random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002 - a user may
        os.environ["MESS"] = "1"
        warnings.simplefilter("ignore")
        warnings.warn("careful", stacklevel=1)
        print("hello from", trial.number)
        return score(model, trial)

    def state():
        handler = signal.getsignal(signal.SIGTERM)
        return os.getcwd(), handler, torch.get_default_dtype(), random.getstate(), list(warnings.filters)

    before = state()
    study = run(tmp_path / "s", messy, executor=executor, workers=1)
    assert state() == before
    assert "MESS" not in os.environ
    done = [t for t in study.trials if t.source is None]
    assert [t.state for t in done] == [State.DONE] * 4, [t.failure for t in done]
    assert "hello from 0" in (study.path / "logs" / "000000.log").read_text()


def test_a_row_that_cannot_be_read(tmp_path):
    """The user's Dataset raises at a row, or yields what the loop does not expect → FAILED(user code) with the
    row and the error."""

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, i):
            if i == 7:
                raise ValueError(f"row {i} is broken")
            return torch.zeros(4), 0

    def evaluate(model, trial):
        rows = Rows() if trial.number % 2 else [{"x": torch.zeros(4)}]
        for x, _y in torch.utils.data.DataLoader(rows, batch_size=2):
            model(x)
        return 1.0

    study = run(tmp_path / "s", evaluate)
    messages = {t.number % 2: t.failure.message for t in study.trials if t.source is None}
    assert messages[1] == "ValueError: row 7 is broken"
    assert "unpack" in messages[0]


# -- spaces ----------------------------------------------------------------------------------------------


def test_what_cannot_be_built_is_not_trained(tmp_path):
    """Some architectures of a space do not fit together → rejected by their shapes; none of them is ever trained."""
    sizes = one_of(3, 4, 5, 6)  # only 4 meets what comes before
    space = Space(L.Sequential(L.Linear(4, 4), L.Linear(sizes, one_of(1, 2, 3))))
    study = run(tmp_path / "s", score, space=space, trials=3, strategy="random")
    assert {t.state for t in study.trials} == {State.DONE}
    assert {t.architecture.decisions["1.in_features"] for t in study.trials} == {4}


def test_an_almost_empty_space(tmp_path):
    """No architecture keeps the limits → an error that says so and names them, before anything is trained."""
    with pytest.raises(SpaceError, match=r"almost empty.*params < 2"):
        run(tmp_path / "s", score, objectives=["max score", "params < 2"])


def test_equal_architectures_are_trained_once(tmp_path):
    """An architecture comes again, or an equivalent one → its result is reused and counted, not trained again."""
    seen = []

    def count(model, trial):
        seen.append(trial.number)
        return score(model, trial)

    study = run(tmp_path / "s", count, trials=12, strategy="random")
    assert len(seen) == 12 == len(set(seen))
    tally = study.summary()["trials"]
    assert tally["done"] == 12
    assert tally["reused"] == len(study.trials) - 12 > 0


@pytest.mark.parametrize(("space", "size"), [(Space(L.Linear(4, 2)), 1), (Space(L.Linear(4, one_of(1, 2, 3))), 3)])
def test_a_space_that_is_used_up(tmp_path, space, size):
    """A space of one architecture, or all of them tried → each is trained once, then the study ends and says why."""
    study = run(tmp_path / "s", score, space=space, trials=50)
    assert sum(t.source is None for t in study.trials) == size
    assert study.meta["stopped"] == "exhausted"
    assert study.summary()["state"] == "searched"
    assert "every architecture of the space" in study.report().read_text()


def test_limits_that_leave_next_to_nothing(tmp_path):
    """Next to no architecture keeps the limits, and what is found has been tried → the study ends, and says so."""
    told = []

    class Listener(Observer):
        def message(self, text):
            told.append(text)

    space = Space(L.Sequential(*(one_of(L.Identity(), L.Linear(4, 4)) for _ in range(24)), L.Linear(4, 4)))
    study = run(
        tmp_path / "s", score, space=space, trials=9, strategy="local-search", objectives=["max score", "params < 21"],
        start=[{f"{i}": "Identity" for i in range(24)}], observer=Listener(), sample=(4,),
    )  # fmt: skip
    assert study.meta["stopped"] == "exhausted"
    assert "architectures that keep the limits have been proposed" in told[-1]
    assert "architectures that keep the limits" in study.report().read_text()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (L.Sequential(L.Linear(4, one_of(1, 2, 3, 4)), L.ReLU()), "'1' is gone"),
        (L.Sequential(L.Linear(4, one_of(1, 2)), one_of(L.ReLU(), L.Tanh(), L.Identity())), r"was 1, 2, 3, 4, is 1, 2"),
        (L.Sequential(L.Linear(4, one_of(1, 2, 3, 4)), one_of(L.ReLU(), L.Tanh(), L.Identity()),
                      L.Linear(1, one_of(1, 2, name="n"))), "'2.n' is new"),
        (L.Sequential(L.Linear(4, one_of(1, 2, 3, 4)), one_of(L.Tanh(), L.ReLU(), L.Identity())), r"was .*, is "),
    ],
    ids=["removed", "fewer options", "added", "reordered"],
)  # fmt: skip
def test_another_space_on_resume(tmp_path, space, words):
    """The space has changed when a study goes on → refused, and the difference is shown."""
    run(tmp_path / "s", score)
    with pytest.raises(UsageError, match=f"space has changed.*{words}"):
        resume(tmp_path / "s", space=Space(space), evaluate=score, trials=9)


# -- what else is the user's -----------------------------------------------------------------------------


class Breaks(Random):
    """Raises at its third proposal."""

    def ask(self, n=1):
        if self.draws == 2:
            raise IndexError("no idea left")
        return super().ask(n)


class Junk(Random):
    def ask(self, n=1):
        return ["anything"]


@pytest.mark.parametrize(
    ("name", "words", "kept"), [("Breaks", "IndexError: no idea left", 2), ("Junk", "must return a list", 0)]
)
def test_a_strategy_of_the_users(tmp_path, name, words, kept):
    """A strategy plug-in raises or returns junk → an error that names it; what was finished stays."""
    with pytest.raises(StudyFailedError, match=f"strategy {name}.*{words}"):
        run(tmp_path / "s", score, strategy=f"{__name__}:{name}")
    study = Study(tmp_path / "s")
    assert [t.state for t in study.trials if t.source is None] == [State.DONE] * kept
    assert study.report().exists()
    with pytest.raises(UsageError, match="name it again"):
        resume(tmp_path / "s", evaluate=score, space=SPACE)


def test_a_listener_that_raises(tmp_path, caplog):
    """A callback raises, whatever it is told → logged once, the search goes on and ends as usual."""

    class Bad(Observer):
        def _raise(self, _):
            raise RuntimeError("the screen is gone")

        plan = forecast = progress = message = end = _raise

    study = run(tmp_path / "s", score, observer=Bad(), finalize=True)
    assert study.meta["stopped"] == "trials"
    assert study.meta["finalised"]
    assert 1 <= sum("goes on" in r.message for r in caplog.records) <= 3


def test_a_changed_function_is_noted(tmp_path):
    """evaluate() was edited between two runs → a warning, and a note in the study."""
    heard = []

    class Ear(Observer):
        def message(self, text):
            heard.append(text)

    run(tmp_path / "s", score)
    study = resume(tmp_path / "s", evaluate=lambda model, trial: 1.0, space=SPACE, trials=6, observer=Ear())
    assert any("evaluate() has changed" in text for text in heard)
    assert sum(t.source is None for t in study.trials) == 6


def test_a_shape_is_remembered(tmp_path):
    """resume() without the `sample=` that search() had → it is in the study: same networks, same results."""
    space = Space(L.Sequential(L.LazyLinear(one_of(1, 2, 3, 4)), L.LazyLinear(one_of(1, 2, 3))))
    whole = run(tmp_path / "whole", score, space=space, trials=8)
    run(tmp_path / "part", score, space=space, trials=3)
    part = resume(tmp_path / "part", evaluate=score, trials=8)
    assert [(t.proposal, t.value("score")) for t in part.trials] == [
        (t.proposal, t.value("score")) for t in whole.trials
    ]


def test_other_data_on_resume(tmp_path):
    """The data file has changed between two runs → refused; `allow_data_change` goes on."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, 3)).astype(np.float32), np.arange(60) % 2
    file = tmp_path / "rows.npz"
    np.savez(file, x=x, y=y)
    space = Space(L.Sequential(L.LazyLinear(one_of(2, 4, 8)), L.ReLU(), L.LazyLinear(2)))
    options = {"data": str(file), "epochs": 1, "executor": "serial", "threads": 1, "finalize": False}
    search(space, path=tmp_path / "s", trials=1, **options)
    x[0, 0] += 1
    np.savez(file, x=x, y=y)
    with pytest.raises(StorageError, match=r"data have changed.*--allow-data-change"):
        resume(tmp_path / "s", trials=2)
    study = resume(tmp_path / "s", trials=2, allow_data_change=True)
    assert sum(t.source is None for t in study.trials) == 2
    with Store.open(tmp_path / "s") as store:
        assert any("data have changed" in note.body["text"] for note in store.notes("resume"))
    again = resume(tmp_path / "s", trials=3)  # allowed once: the study now knows these data
    assert sum(t.source is None for t in again.trials) == 3
