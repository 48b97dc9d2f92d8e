"""What a study's trials say about its winner, held against enumeration, additive functions and counting by hand."""

import itertools
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from torch import nn

from searchitect import search
from searchitect.finalize import FinalResult, bundle, explaining
from searchitect.finalize.explaining import (
    explained,
    gap,
    losses_by_fidelity,
    only_difference,
    rung_agreement,
    search_agreement,
    telling_fidelity,
    winner_decisions,
)
from searchitect.finalize.importance import (
    CELLS,
    MANY,
    _columns,
    _forest,
    axis_of,
    importance,
    tree_shares,
    without_outliers,
)
from searchitect.finalize.standings import Standing
from searchitect.records import Fidelity, Measurement, Objective, Proposal, Score, State, Trial, Verdict
from searchitect.space import OUTPUTS, Space, integer, lazy, one_of, real, repeat
from searchitect.store import Store

L = lazy(nn)
FIVE = Fidelity("train", 5)
WIDTHS = (4, 16, 32, 64)
FLAT = Space(
    L.Sequential(
        L.LazyLinear(one_of(*WIDTHS, name="width")), one_of(L.ReLU(), L.Tanh(), L.Sigmoid(), name="act"),
        L.Dropout(real(0.0, 0.8, name="p")), L.LazyLinear(integer(1, 99, name="many")),
        one_of(L.Identity(), L.LazyBatchNorm1d(), name="norm"), L.LazyLinear(OUTPUTS),
    )
)  # fmt: skip
DEEP = Space(
    L.Sequential(
        repeat(lambda: one_of(L.Identity(), L.LazyLinear(one_of(8, 16))), 1, 3, name="deep"), L.LazyLinear(OUTPUTS)
    )
)


def points(space, value, count, seed=0):
    found = {space.sample(seed + i): None for i in range(count)}
    return [(a, float(value(a.decisions))) for a in found]


def name(space, part):
    return next(d.name for d in space.decisions if d.name.endswith(part))


def by_name(found):
    return {s.name: s.share for s in found.shares}


def test_an_additive_function_gives_its_own_shares():
    """Var of 0..3 is 1.25, of 2 with probability 1/3 is 8/9, of 4p with p uniform on [0, 0.8] is 16 · 0.64 / 12."""
    width, act, p = name(FLAT, "width"), name(FLAT, "act"), name(FLAT, "p")
    rows = points(FLAT, lambda d: WIDTHS.index(d[width]) + 2 * (d[act] == "Tanh") + 4 * d[p], 900)
    found = importance(FLAT.decisions, rows)
    parts = {width: 1.25, act: 8 / 9, p: 16 * 0.64 / 12}
    shares = by_name(found)
    for part, variance in parts.items():
        assert shares[part] == pytest.approx(variance / sum(parts.values()), abs=0.04)
    assert found.together > 0.9
    assert found.explains > 0.95
    assert [s.name for s in found.shares[:3]] == sorted(parts, key=lambda n: -parts[n])
    assert all(s.low <= s.share <= s.high for s in found.shares[:3])
    assert sum(shares[n] for n in shares.keys() - parts.keys()) < 0.02


def test_what_acts_only_together_is_nobodys_alone():
    """x · y with both ±1: each single mean is 0, so all variance is the pair's."""
    act, norm = name(FLAT, "act"), name(FLAT, "norm")
    signs = {"ReLU": 1, "Tanh": -1, "Sigmoid": 0}
    rows = points(FLAT, lambda d: signs[d[act]] * (1 if d[norm] == "Identity" else -1), 600)
    found = importance(FLAT.decisions, rows)
    assert found.together < 0.1
    assert found.explains > 0.8


def brute_shares(tree, axes, owners):
    """Var over a decision of the weighted mean of predictions, by listing every combination of cells."""
    grids = [range(len(a.weights)) for a in axes]
    cells = list(itertools.product(*grids))
    rows = np.array([[c[at] if o < 0 else c[at] == o for at, o in owners] for c in cells], dtype=np.float32)
    values = tree.predict(rows)[:, 0]
    weights = np.array([math.prod(a.weights[i] for a, i in zip(axes, c, strict=True)) for c in cells])
    mean = weights @ values
    found = []
    for at, axis in enumerate(axes):
        means = [
            sum(w * v for c, w, v in zip(cells, weights, values, strict=True) if c[at] == i) / axis.weights[i]
            for i in range(len(axis.weights))
        ]
        found.append(sum(w * (m - mean) ** 2 for w, m in zip(axis.weights, means, strict=True)))
    return np.array(found) / (weights @ (values - mean) ** 2)


def test_a_trees_shares_are_those_of_listing_every_combination():
    draws = np.random.default_rng(3)
    space = Space(
        L.Sequential(
            L.LazyLinear(integer(2, 64, name="w", log=True)), one_of(L.ReLU(), L.Tanh(), L.Sigmoid(), name="act"),
            L.LazyLinear(one_of(8, 16, 24, name="k")), L.LazyLinear(OUTPUTS),
        )
    )  # fmt: skip
    rows = points(space, lambda _: draws.normal(), 120)
    axes = [axis_of(d, [a.decisions[d.name] for a, _ in rows]) for d in space.decisions]
    columns, owners = _columns(axes, [a for a, _ in rows], draws)
    forest = _forest(0).fit(columns, [v for _, v in rows])
    for estimator in forest.estimators_[:5]:
        mine = tree_shares(estimator.tree_, axes, owners)
        assert mine == pytest.approx(brute_shares(estimator.tree_, axes, owners), abs=1e-9)
        assert 0 < mine.sum() <= 1


def test_a_decision_counts_where_it_is_used():
    """One to three blocks; the option of the third, there in a third of the draws, is worth 3. Enumerated by hand."""
    space = Space(
        L.Sequential(
            repeat(lambda: one_of(L.Identity(), L.ReLU()), 1, 3, name="deep"), L.Dropout(real(0, 1, name="p")),
            L.LazyLinear(OUTPUTS),
        )
    )  # fmt: skip
    rows = points(space, lambda d: d["deep"] + 3 * (d.get("deep.2") == "ReLU"), 500)
    found = by_name(importance(space.decisions, rows))
    listed = {(n, o): n + 3 * (n == 3) * o for n in (1, 2, 3) for o in (0, 1)}
    whole = np.var(list(listed.values()))
    assert found["deep"] == pytest.approx(np.var([1, 2, (3 + 6) / 2]) / whole, abs=0.05)
    assert found["deep.2"] == pytest.approx(np.var([2, 3]) / whole, abs=0.03)
    assert found["deep.1"] < 0.01


@pytest.mark.parametrize(("count", "needed"), [(12, 20), (19, 20)])
def test_few_trials_give_words_and_no_numbers(count, needed):
    found = importance(FLAT.decisions, points(FLAT, lambda d: d[name(FLAT, "p")], count))
    assert found.shares == ()
    assert found.skipped.startswith("too few trials to tell")
    assert f"{needed} are needed" in found.skipped


def test_noise_gives_words_and_no_numbers():
    draws = np.random.default_rng(1)
    found = importance(FLAT.decisions, points(FLAT, lambda _: draws.normal(), 60))
    assert found.shares == ()
    assert found.skipped.startswith("too noisy to tell")


def test_equal_values_give_words():
    assert importance(FLAT.decisions, points(FLAT, lambda _: 0.5, 60)).skipped == "all trials came out the same"


def test_no_time_gives_words():
    rows = points(FLAT, lambda d: d[name(FLAT, "p")], 60)
    assert importance(FLAT.decisions, rows, seconds=0.0).skipped == "it would have taken too long"


def test_the_same_study_gives_the_same_shares():
    rows = points(FLAT, lambda d: d[name(FLAT, "p")], 60)
    assert importance(FLAT.decisions, rows, seed=1) == importance(FLAT.decisions, rows, seed=1)
    assert importance(FLAT.decisions, rows, seed=1) != importance(FLAT.decisions, rows, seed=2)


def test_a_diverged_training_is_not_all_of_the_variance():
    p = name(FLAT, "p")
    rows = points(FLAT, lambda d: d[p], 200)
    rows[5] = rows[5][0], 1e9
    found = importance(FLAT.decisions, rows)
    assert found.cut == 1
    assert by_name(found)[p] > 0.8
    values, cut = without_outliers(np.array([1.0, 2, 3, 4, 5, 100]))
    assert (cut, values.max()) == (1, 4.75 + 3 * 2.5)  # quartiles 2.25 and 4.75


def test_cells_have_the_probabilities_of_the_moves():
    space = Space(
        L.Sequential(
            L.LazyLinear(integer(1, 6, name="few", log=True)), L.LazyLinear(integer(1, 500, name="log", log=True)),
            L.Dropout(real(0.001, 0.9, name="p", log=True)), L.LazyLinear(one_of(*range(1, 30), name="numbers")),
            L.LazyLinear(integer(1, 99, name="whole")),
            L.LazyLinear(OUTPUTS),
        )
    )  # fmt: skip
    drawn = [space.sample(i).decisions for i in range(3000)]
    for decision in space.decisions:
        axis = axis_of(decision, [d[decision.name] for d in drawn])
        assert axis.weights.sum() == pytest.approx(1)
        assert len(axis.weights) <= CELLS
        if decision.name.endswith("log"):
            continue  # whole numbers make the lowest of its cells uneven
        counts = np.bincount([axis.cell(d[decision.name]) for d in drawn], minlength=len(axis.weights))
        assert counts / len(drawn) == pytest.approx(axis.weights, abs=0.03)


def test_many_options_are_told_apart_where_seen():
    space = Space(
        L.Sequential(one_of(**{f"o{i}": L.LazyLinear(i + 1) for i in range(MANY + 8)}), L.LazyLinear(OUTPUTS))
    )
    axis = axis_of(space.decisions[0], ["o3", "o7", "o3"])
    assert axis.weights == pytest.approx([1 / (MANY + 8), 1 / (MANY + 8), (MANY + 6) / (MANY + 8)])
    assert (axis.cell("o3"), axis.cell("o7")) == (0, 1)


@pytest.mark.slow
def test_five_hundred_trials_of_24_decisions_take_less_than_two_seconds():
    space = Space(
        L.Sequential(*(one_of(L.ReLU(), L.Tanh(), L.Sigmoid(), L.Identity(), name=f"a{i}") for i in range(24)),
                     L.LazyLinear(OUTPUTS))
    )  # fmt: skip
    draws = np.random.default_rng(0)
    rows = points(space, lambda d: (d["a3"] == "Tanh") + 0.3 * draws.normal(), 500)
    began = time.process_time()
    found = importance(space.decisions, rows)
    assert time.process_time() - began < 2
    assert found.shares[0].name == "a3"


# -- neighbours ------------------------------------------------------------------------------------------


def trial(number, architecture, value, fidelity=FIVE, **more):
    measured = Measurement({"accuracy": value}) if value is not None else None
    return Trial(number, Proposal(architecture, fidelity), State.DONE, measured, **more)


def changed(space, architecture, **changes):
    decisions = dict(architecture.decisions)
    for part, value in changes.items():
        decisions[name(space, part)] = value
    return space.architecture(decisions)


WINNER = changed(FLAT, FLAT.sample(0), width=16, act="ReLU", norm="Identity")


def test_neighbours_differ_in_one_decision_alone():
    trials = [
        trial(0, WINNER, 0.9),
        trial(1, changed(FLAT, WINNER, width=4), 0.7),
        trial(2, changed(FLAT, WINNER, width=64), 0.8),
        trial(3, changed(FLAT, WINNER, act="Tanh", width=4), 0.1),
        trial(4, WINNER, 0.5),  # the same again: the first counts
    ]
    losses = losses_by_fidelity(trials, "accuracy", -1.0)[Fidelity("train", 5)]
    rows = {row["name"]: row for row in winner_decisions(FLAT, trials[0], losses)}
    width = rows[name(FLAT, "width")]
    assert (width["neighbours"], width["value"]) == (2, 16)
    assert width["lost"] == pytest.approx(0.15)  # 0.2 and 0.1
    assert (width["least"], width["most"]) == (pytest.approx(0.1), pytest.approx(0.2))
    act = rows[name(FLAT, "act")]
    assert (act["neighbours"], act["lost"]) == (0, None)
    assert (act["same"], act["others"]) == (3, 1)
    assert act["apart"] == pytest.approx((0.9 + 0.7 + 0.8) / 3 - 0.1)
    assert rows[name(FLAT, "norm")]["apart"] is None


def test_what_an_option_brings_in_is_no_second_difference():
    archs = list(DEEP.enumerate())
    deep = name(DEEP, "deep")
    one = next(a for a in archs if a.decisions[deep] == 2)
    longer = next(a for a in archs if a.decisions.items() >= (one.decisions | {deep: 3}).items())
    assert only_difference(DEEP, one, longer) == deep
    assert only_difference(DEEP, longer, one) == deep
    assert only_difference(DEEP, one, one) is None


def test_neighbours_of_an_enumerated_space_are_its_own():
    """Every pair with one difference is among the space's own one-step neighbours."""
    archs = list(DEEP.enumerate())
    for one in archs[:20]:
        near = set(DEEP.neighbours(one))
        found = {other for other in archs if only_difference(DEEP, one, other)}
        assert near <= found


# -- signals ---------------------------------------------------------------------------------------------


def standing(number, value, means, fidelity=FIVE, chosen=False):
    return Standing(trial(number, FLAT.sample(number), value, fidelity), tuple(means), chosen=chosen)


def result(standings, control=(), **more):
    best = next((s.trial for s in standings if s.chosen), standings[0].trial)
    return FinalResult(list(standings), 5, list(control), winner=best, finalised=True, **more)


def test_search_and_retraining_are_ranked_over_all_finalists():
    values = [0.9, 0.8, 0.7, 0.6, 0.5]
    means = [0.85, 0.86, 0.7, 0.5, 0.55]
    own = [standing(i, v, [m, m]) for i, (v, m) in enumerate(zip(values[:3], means[:3], strict=True))]
    beside = [standing(i + 3, v, [m]) for i, (v, m) in enumerate(zip(values[3:], means[3:], strict=True))]
    other = standing(9, 0.1, [0.99], Fidelity("train", 1))
    (row,) = search_agreement(result([*own, other], beside), "accuracy", 0)
    assert (row["n"], row["second"]) == (5, "retrained")
    assert row["tau"] == pytest.approx(stats.kendalltau(values, means).statistic)
    assert row["tau"] == pytest.approx((8 - 2) / 10)  # two of ten pairs the wrong way round
    assert -1 <= row["low"] <= row["tau"] <= row["high"] <= 1


def test_three_finalists_are_too_few():
    (row,) = search_agreement(result([standing(i, i / 10, [i / 10]) for i in range(3)]), "accuracy", 0)
    assert row["n"] == 3
    assert row["tau"] is None
    assert search_agreement(result([standing(0, None, [0.9])]), "accuracy", 0) == []


def test_rungs_are_compared_over_what_both_have():
    low, high = Fidelity("train", 1), Fidelity("train", 9)
    archs = [FLAT.sample(i) for i in range(8)]
    trials = [trial(i, a, i / 10, low) for i, a in enumerate(archs)]
    trials += [trial(10 + i, a, 1 - i / 10, high) for i, a in enumerate(archs[:5])]
    (row,) = rung_agreement(losses_by_fidelity(trials, "accuracy", -1.0), 0)
    assert (row["n"], row["tau"]) == (5, pytest.approx(-1.0))
    assert (row["first"]["epochs"], row["second"]["epochs"]) == (1, 9)


def test_the_fidelity_is_the_most_thorough_with_enough_trials():
    low, high = Fidelity("train", 1), Fidelity("train", 9)
    archs = [FLAT.sample(i) for i in range(40)]
    few = {low: dict.fromkeys(archs, 0.0), high: dict.fromkeys(archs[:5], 0.0)}
    assert telling_fidelity(few) == low
    assert telling_fidelity({low: dict.fromkeys(archs, 0.0), high: dict.fromkeys(archs[:20], 0.0)}) == high
    assert telling_fidelity({}) is None


def context(**more):
    notes = []
    plain = {"metric": "accuracy", "direction": "max", "seed": 0, "own_data": False}
    return SimpleNamespace(note=lambda kind, body: notes.append((kind, body)), notes=notes, **plain | more)


def test_looks_are_counted_and_values_are_set_side_by_side():
    score = Score(0.8, 0.7, 0.9, 3)
    verdict = Verdict("accuracy", score, None, None, None, None, "no baseline", 100)
    trials = [trial(i, FLAT.sample(i), 0.5) for i in range(7)] + [trial(8, FLAT.sample(8), 0.5, source=3)]
    tuning = {"winner": [{"recipe": {}, "validation": [0.9, 0.8]}, {"recipe": {"lr": 1}, "validation": [0.7]}]}
    done = result([standing(0, 0.95, [0.9, 0.8], chosen=True), standing(1, 0.9, [0.7, 0.7])], [standing(2, 0.5, [0.1])],
                  verdict=verdict, tuning=tuning)  # fmt: skip
    found = gap(context(), done, trials)
    assert found["looks"] == {"trials": 7, "retrainings": 5, "recipes": 3}
    assert (found["search"], found["test"]) == (0.95, 0.8)
    assert found["retrained"] == pytest.approx(0.85)


def test_all_of_it_is_plain_data_and_nothing_in_it_can_cost_the_result(monkeypatch):
    archs = [FLAT.sample(i) for i in range(40)]
    trials = [trial(i, a, a.decisions[name(FLAT, "p")]) for i, a in enumerate(archs)]
    done = result([Standing(trials[0], (0.5,), chosen=True)])
    found = explained(context(), done, trials, FLAT)
    assert found["importance"]["shares"][0]["name"] == name(FLAT, "p")
    assert found["importance"]["fidelity"]["epochs"] == 5
    assert len(found["decisions"]) == len(trials[0].architecture.decisions)
    late = explained(context(), done, trials, FLAT, end=time.monotonic() + 1.6)
    assert late["importance"] == {"skipped": "no time of the budget was left to work it out"}
    assert (late["gap"], late["decisions"]) == (found["gap"], found["decisions"])
    monkeypatch.setattr(explaining, "importance", lambda *_, **__: 1 / 0)
    broken = context()
    assert explained(broken, done, trials, FLAT)["skipped"].startswith("it failed: ZeroDivisionError")
    assert broken.notes[0][0] == "finalize"


def test_costs_are_explained_the_right_way_round():
    assert losses_by_fidelity([trial(0, WINNER, 0.3)], "accuracy", 1.0) == {Fidelity("train", 5): {WINNER: 0.3}}
    assert Objective("accuracy", "max").loss(0.3) == -0.3
    assert losses_by_fidelity([trial(0, WINNER, math.nan), trial(1, WINNER, None)], "accuracy", -1.0) == {}


# -- in real studies -------------------------------------------------------------------------------------

TINY = Space(
    L.Sequential(
        L.Flatten(), L.LazyLinear(one_of(2, 8, 32, name="width")), one_of(L.ReLU(), L.Tanh(), name="act"),
        L.Dropout(one_of(0.0, 0.5, name="drop")), L.LazyLinear(OUTPUTS),
    ),
    name="tiny",
)  # fmt: skip


def by_rule(model, _trial):
    """A function whose value depends on the width alone: 1 for the widest."""
    return {"score": sum(p.numel() for p in model.parameters() if p.dim() == 2) / 3000}


@pytest.fixture
def unchecked(monkeypatch):
    """Leaves out the bundle's check in a fresh interpreter, which takes seconds."""
    monkeypatch.setattr(bundle, "check_bundle", lambda *_, **__: [])


def stored(study):
    with Store.open(study.path) as store:
        return store.meta["explained"]


def test_a_study_by_a_function_keeps_why_its_winner_won(tmp_path, unchecked):
    flat = Space(L.Sequential(L.LazyLinear(one_of(*range(2, 60, 2), name="width")),
                              one_of(L.ReLU(), L.Tanh(), name="act"), L.LazyLinear(OUTPUTS)))  # fmt: skip
    study = search(flat, evaluate=by_rule, sample=(4,), outputs=2, objectives=["max score"], trials=40,
                   executor="serial", strategy="random", path=str(tmp_path / "own"))  # fmt: skip
    found = study.importance()
    assert found["shares"][0]["name"].endswith("width")
    assert found["shares"][0]["share"] > 0.9
    told = stored(study)
    assert told["metric"] == "score"
    assert told["gap"]["own_data"] is True
    assert 0 < told["gap"]["looks"]["trials"] <= 40
    assert sum(row["neighbours"] for row in told["decisions"]) > 0
    assert all(row["lost"] is None or row["lost"] >= 0 for row in told["decisions"])  # nothing beats the widest
    page = (study.path / "report.html").read_text()
    assert 'id="why"' in page
    assert 'id="checklist"' in page


@pytest.mark.slow
def test_a_study_by_our_training_keeps_it_too(tmp_path, unchecked):
    study = search(TINY, data="digits", limit_train=300, trials=8, epochs=2, executor="serial", seeds=3,
                   control="random", path=str(tmp_path / "digits"))  # fmt: skip
    assert study.importance()["skipped"].startswith("too few trials to tell")
    told = stored(study)
    assert told["gap"]["test"] == study.verdict.winner.mean
    assert told["gap"]["looks"]["retrainings"] >= 3
    assert told["agreement"][0]["second"] == "retrained"
    assert {row["name"] for row in told["decisions"]} <= {d.name for d in TINY.decisions}


def test_a_study_that_is_not_finalised_explains_nothing(tmp_path):
    study = search(TINY, evaluate=by_rule, sample=(4,), outputs=2, objectives=["max score"], trials=2,
                   executor="serial", finalize=False, path=str(tmp_path / "open"))  # fmt: skip
    assert study.importance() == {}
