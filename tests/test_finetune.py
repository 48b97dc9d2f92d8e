"""One real study with all that can be done to a winner: tuned, averaged, taught, and shipped with others."""

import json

import numpy as np
import pytest
from torch import nn

from searchitect import SearchRegressor, search
from searchitect.errors import UsageError
from searchitect.finalize import read_bundle, rebuild, run_bundle
from searchitect.report import text_summary

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(150, 4)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


class Mine(nn.Module):
    """The user's network."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))

    def forward(self, x):
        return self.body(x)


@pytest.mark.slow
def test_a_winner_is_tuned_averaged_taught_and_shipped_with_others(tmp_path):
    study = search(
        "mlp", (X, Y), trials=4, epochs=2, executor="serial", baseline=Mine, seed=1, tune=4, distill=0.4,
        temperature=3.0, ensemble=2, recipe={"average": "ema", "average_decay": 0.9}, path=tmp_path / "study",
        selftest=False,
    )  # fmt: skip
    meta = study.meta
    assert meta["evaluator"]["recipe"]["average"] == "ema"
    assert len(meta["teachers"]) == 3
    assert {"ensemble", "alone", "untuned"} <= set(study.summary()["comparisons"])
    assert "an ensemble of 2 networks" in study.summary()["comparisons"]["ensemble"]["sentence"]
    assert "dropout" not in {name for row in meta["tuning"]["baseline"] for name in row["recipe"]}, "it has none"
    trials = meta["ensemble"]["trials"]
    assert trials[0] == meta["winner"]["trial"]
    assert meta["ensemble"]["params"] == sum(study.trials[n].value("params") for n in trials)
    assert meta["baseline"]["drawing"].startswith("Mine(")
    assert not list((tmp_path / "study" / "checkpoints").rglob("final-*")), "what was only for the stages is gone"

    bundle = read_bundle(tmp_path / "study" / "best")
    assert [dict(a.decisions) for a in bundle.members] == [dict(study.trials[n].architecture.decisions) for n in trials]
    module, again = run_bundle(bundle.path, run_its_code=True), rebuild(bundle)
    shares = module.predict_proba(X)
    np.testing.assert_allclose(shares, again(module.preprocess(X)).softmax(1).detach(), atol=1e-6)
    card = (bundle.path / "card.md").read_text()
    for part in ("An ensemble of 2 networks for classification", "| this ensemble |", "| the winner alone |",
                 "average ema", "teacher trials", "## Limits", "| goals and limits | accuracy |",
                 f"| parameters | {meta['ensemble']['params']:,.0f} |"):  # fmt: skip
        assert part in card, part
    text, page = text_summary(study.path), (study.path / "report.html").read_text()
    assert "Is the ensemble worth its cost?" in text
    for part in ("Were tuning and the teacher worth it?", "The ensemble", "(40% of the loss, temperature 3)", "Mine("):
        assert part in page, part


@pytest.mark.slow
def test_numbers_are_taught_and_averaged_too(tmp_path):
    y = X[:, 0] * 40 + 1000
    options = {"distill": 0.5, "ensemble": 2}
    model = SearchRegressor(trials=3, epochs=2, finalize=True, executor="serial", verbose=False, options=options,
                            path=tmp_path / "study").fit(X, y)  # fmt: skip
    assert "an ensemble of 2 networks" in model.study_.summary()["comparisons"]["ensemble"]["sentence"]
    module = run_bundle(model.export(tmp_path / "out"), run_its_code=True)
    np.testing.assert_allclose(module.predict(X), model.predict(X), rtol=1e-4)
    assert json.loads((tmp_path / "out" / "members.json").read_text())["classes"] is False


def evaluate(model, trial):
    return 0.5


def loss(outputs, y):
    return nn.functional.cross_entropy(outputs, y)


@pytest.mark.parametrize(("given", "message"), [
    ({"evaluate": evaluate, "ensemble": 2}, "ensemble= is for our own training; with evaluate= yours is used"),
    ({"evaluate": evaluate, "distill": 0.5}, "distill= is for our own training"),
    ({"data": (X, Y), "loss": loss, "distill": 0.5}, "distill= adds to our own loss; with loss= yours is used"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_before_anything_is_trained(tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        search("mlp", trials=2, sample=(4,), outputs=2, path=tmp_path / "study", **given)
    assert not (tmp_path / "study").exists()
