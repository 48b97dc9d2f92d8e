"""Whatever a candidate does to its process costs itself alone."""

import ctypes
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn as nn

from searchitect import Space, lazy, one_of, search
from searchitect.errors import StudyFailedError
from searchitect.records import State

L = lazy(nn)
EXPECTED = {
    "raises in __init__": "invalid architecture", "raises in forward": "user code", "raises in evaluate": "user code",
    "not finite": "not finite", "memory": "out of memory", "hangs": "time limit", "exits": "killed",
    "segfaults": "killed", "leaves a grandchild": None, "floods the log": None,
}  # fmt: skip


class Net(nn.Module):
    def __init__(self, how, width):
        super().__init__()
        if how == "raises in __init__":
            raise ValueError("cannot be built like this")
        self.how = how
        self.inner = nn.Linear(4, width)

    def forward(self, x):
        if self.how == "raises in forward":
            raise KeyError("no such layer")
        return self.inner(x)


def evaluate(model, trial):
    model(torch.zeros(8, 4))
    how = model.how
    time.sleep(0.03)
    if how == "raises in evaluate":
        raise RuntimeError("my training broke")
    if how == "not finite":
        return float("nan")
    if how == "memory":
        return float(torch.ones(2_000_000_000).sum())
    while how == "hangs":
        pass
    if how == "exits":
        os._exit(3)
    if how == "segfaults":
        ctypes.string_at(0)
    if how == "leaves a grandchild":
        child = subprocess.Popen(
            [sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '77']).wait()"],
            start_new_session=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (trial.folder / "child.txt").write_text(str(child.pid))
    if how == "floods the log":
        for _ in range(100):
            print("x" * 100_000)
    return trial.architecture.decisions["width"]


def mixed(how, widths=(1, 2, 3, 4)):
    return Space(lazy(Net)(how=one_of(*how), width=one_of(*widths)))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """All of them in one study, between healthy ones."""
    space = mixed(["fine", *EXPECTED], range(1, 21))
    wanted = []
    for i, how in enumerate(EXPECTED):
        wanted += [space.architecture({"how": h, "width": i + 1}) for h in ("fine", how)]
    return search(
        space, evaluate=evaluate, sample=(4,), objectives="max score", enqueue=wanted, trials=len(wanted), workers=2,
        threads=1, memory_mb=600, time_limit=1.5, finalize=False, path=tmp_path_factory.mktemp("mixed") / "s",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", EXPECTED)
def test_it_fails_alone_with_its_cause(study, how):
    """A candidate raises (built, forward, training), returns NaN, eats memory, hangs, exits, crashes, leaves processes
    or floods its log → FAILED with its cause, or done where no harm came of it."""
    (trial,) = [t for t in study.trials if t.architecture.decisions["how"] == how]
    cause = EXPECTED[how]
    assert trial.state is (State.DONE if cause is None else State.FAILED), trial.failure
    if cause:
        assert trial.failure.cause == cause
        assert trial.failure.message
        assert trial.attempts == 1  # its own fault: not tried again


@pytest.mark.slow
def test_the_others_are_done(study):
    """Healthy candidates between ten that break everything → all done, at the first attempt."""
    fine = [t for t in study.trials if t.architecture.decisions["how"] == "fine"]
    assert len(fine) == len(EXPECTED)
    assert {(t.state, t.attempts) for t in fine} == {(State.DONE, 1)}
    assert study.best.value("score") == 10
    assert study.meta["stopped"] == "trials"


@pytest.mark.slow
def test_nothing_of_them_stays(study):
    """A grandchild left running, a log of 10 MB → killed with its trial; the log is cut at 2 MB."""
    pid = int((study.path / "child.txt").read_text())
    assert not os.path.exists(f"/proc/{pid}")
    sizes = [p.stat().st_size for p in (study.path / "logs").iterdir()]
    assert 1_000_000 < max(sizes) < 2_200_000


class Odd(nn.Module):
    """Part of a network of the project's own training."""

    def __init__(self, how):
        super().__init__()
        self.how, self.scale = how, nn.Parameter(torch.ones(()))

    def forward(self, x):
        if self.how == "raises" and self.training and len(x) > 4:
            raise ValueError("not with this batch")
        return x * (self.scale * float("nan") if self.how == "nan" and len(x) > 4 else self.scale)


def test_a_loss_that_is_not_a_number(tmp_path):
    """The loss becomes NaN in the project's own training, or forward raises → that trial alone is FAILED("not finite"
    or "user code"); the rest is searched."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(90, 5)), np.arange(90) % 3
    parts = one_of(L.LazyLinear(4), L.LazyLinear(8), lazy(Odd)("nan"), lazy(Odd)("raises"))
    space = Space(L.Sequential(parts, L.ReLU(), L.LazyLinear(3)))
    study = search(
        space, (x, y), trials=9, epochs=3, executor="serial", threads=1, finalize=False, path=tmp_path / "s", seed=1
    )
    causes = {t.failure.cause.value for t in study.trials if t.failure}
    assert causes == {"not finite", "user code"}
    assert study.best.state is State.DONE
    assert 0 < study.best.value("accuracy") <= 1


def test_three_alike_at_the_start(tmp_path):
    """The first three trials fail in one way → the study stops with that one traceback."""
    with pytest.raises(StudyFailedError, match=r"(?s)first 3 trials.*user code.*my training broke") as caught:
        search(
            mixed(["raises in evaluate"]), evaluate=evaluate, sample=(4,), objectives="max score", trials=20,
            executor="serial", finalize=False, path=tmp_path / "s",
        )  # fmt: skip
    assert str(caught.value).count("Traceback") == 1
