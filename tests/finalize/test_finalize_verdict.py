"""The verdict: against scipy where it knows the answer, by simulation where nobody does, and in words."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from searchitect.errors import NotFiniteError, UsageError
from searchitect.finalize import intervals
from searchitect.finalize.verdict import Against, compare, compare_scores, compare_seeds

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "verdict.py"


def rng(seed=0):
    return np.random.default_rng(seed)


def seeded(seed, seeds=3, items=500, spread=0.02, centre=0.9, difficulty=None):
    """Losses of one network: item difficulty, a shift for each seed, chance."""
    r = rng(seed)
    base = r.normal(size=items) if difficulty is None else difficulty
    return centre + 0.3 * base + spread * r.normal(size=(seeds, 1)) + 0.1 * r.normal(size=(seeds, len(base)))


def test_items_alone_are_the_paired_t_test():
    d = rng(1).normal(size=50)
    w, b = np.tile(rng(2).normal(size=50) + d, (3, 1)), np.tile(rng(2).normal(size=50), (4, 1))
    verdict = compare(w, b, metric="loss", direction="min")
    reference = stats.ttest_rel(w[0], b[0]).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((reference.low, reference.high), rel=1e-9)
    assert verdict.difference == pytest.approx(d.mean())


def test_seeds_alone_are_welchs_t_test():
    w, b = np.array([0.91, 0.92, 0.935]), np.array([0.90, 0.87, 0.89, 0.885])
    items = np.linspace(-1, 1, 40)
    verdict = compare(w[:, None] + items, b[:, None] + items, metric="score", direction="max")
    reference = stats.ttest_ind(w, b, equal_var=False).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((reference.low, reference.high), rel=1e-6)


def test_one_number_a_seed_is_welchs_t_test():
    w, b = [0.91, 0.92, 0.935], [0.90, 0.87, 0.89, 0.885]
    verdict = compare_seeds(w, b, metric="accuracy", direction="max")
    reference = stats.ttest_ind(w, b, equal_var=False).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((reference.low, reference.high), rel=1e-9)
    assert (verdict.words, verdict.test_items) == ("better", 0)
    own = stats.t.interval(0.95, 2, np.mean(w), stats.sem(w))
    assert (verdict.winner.low, verdict.winner.high) == pytest.approx(own, rel=1e-9)
    assert verdict.winner.values == tuple(w)
    assert verdict.sentence == (
        "better than the baseline by 3.5 points (1.0 to 6.1); trained anew, it would be ahead 93 times in 100. "
        "Measured by your own function on your data, over 3 and 4 fresh seeds; the search chose by the same data, so "
        "this is no test on unread data"
    )
    assert verdict.method == "measured by your own function; Welch's t over 3 against 4 seeds"


def test_smaller_is_better_where_it_is_and_wide_intervals_cannot_tell():
    assert compare_seeds([1.0, 1.1], [2.0, 2.1], metric="loss", direction="min").words == "better"
    assert compare_seeds([2.0, 2.1], [1.0, 1.1], metric="loss", direction="min").words == "worse"
    unsure = compare_seeds([0.8, 0.9], [0.7, 0.9], metric="accuracy", direction="max")
    assert unsure.words == "cannot tell"
    assert "more seeds would be needed; trained anew, it would be ahead 59 times in 100. Measured" in unsure.sentence


def test_without_a_baseline_seeds_give_the_winners_own_interval():
    verdict = compare_seeds([0.8, 0.9, 0.85], None, metric="accuracy", direction="max")
    assert (verdict.words, verdict.baseline, verdict.difference) == ("no baseline", None, None)
    assert "accuracy 85.0 % (72.6 to 97.4); there is no baseline to compare with. Measured" in verdict.sentence


def test_a_function_that_ignores_its_seed_proves_nothing():
    verdict = compare_seeds([0.9] * 5, [0.8] * 5, metric="accuracy", direction="max")
    assert (verdict.words, verdict.low, verdict.high) == ("cannot tell", None, None)
    assert "10.0 points in accuracy, the same for every seed; does your function set a seed of its own?" in (
        verdict.sentence
    )
    assert compare_seeds([10.0] * 3, [20.0] * 3, metric="params", direction="min").words == "better", "costs are exact"


@pytest.mark.parametrize(("winner", "error", "text"), [
    ([], UsageError, "at least 2 seeds is needed, got 0"), ([0.5], UsageError, "one number says nothing about seeds"),
    ([0.5, float("nan")], NotFiniteError, "winner: a value of accuracy is NaN or infinite"),
])  # fmt: skip
def test_too_few_or_broken_numbers_a_seed_are_refused(winner, error, text):
    with pytest.raises(error, match=text):
        compare_seeds(winner, [0.1, 0.2], metric="accuracy", direction="max")


def test_chance_on_items_is_not_counted_twice():
    r = rng(3)
    w, b = (r.normal(size=(4, 4000)) for _ in range(2))  # no item part at all
    found = intervals.paired(w, b)
    assert found.items < 0.3 * found.seeds
    assert found.seeds == pytest.approx(w.mean(1).var(ddof=1) / 4 + b.mean(1).var(ddof=1) / 4)


def test_the_rest_is_what_two_way_analysis_of_variance_calls_so():
    values = rng(4).normal(size=(3, 20)) + rng(5).normal(size=20) + rng(6).normal(size=(3, 1))
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    assert intervals.side(values).rest == pytest.approx((rest**2).sum() / (2 * 19) / (3 * 20))


def test_own_interval_of_a_mean_with_equal_seeds_is_students():
    values = np.tile(rng(7).normal(size=30), (3, 1))
    score = compare(values, None, metric="loss", direction="min").winner
    reference = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert (score.low, score.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


def test_own_interval_of_a_share_is_wilsons_and_stays_inside():
    perfect = compare(np.ones((3, 360)), None, metric="accuracy", direction="max").winner
    t = stats.norm.ppf(0.975)
    assert perfect.mean == perfect.high == 1
    assert perfect.low == pytest.approx(stats.binomtest(360, 360).proportion_ci(method="wilson").low, abs=1e-4)
    assert perfect.low == pytest.approx(1 / (1 + t * t / 360), abs=1e-4)


def test_bootstrap_agrees_with_the_formula_for_a_mean():
    difficulty = rng(8).normal(size=400)
    w, b = seeded(9, difficulty=difficulty), seeded(10, centre=0.93, difficulty=difficulty)
    exact = compare(w, b, metric="loss", direction="min")
    drawn = compare_scores(w, b, np.zeros(400), lambda out, _: float(out.mean()), metric="loss", direction="min")
    assert drawn.difference == pytest.approx(exact.difference)
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.1 * (exact.high - exact.low))
    assert drawn.winner.low == pytest.approx(exact.winner.low, abs=0.1 * (exact.winner.high - exact.winner.low))
    assert drawn.method.startswith("items by paired bootstrap")


def test_bootstrap_agrees_with_scipy_for_a_ratio():
    r = rng(11)
    y = r.normal(size=300)
    outputs = y + 0.5 * r.normal(size=300)
    r2 = lambda out, true: 1 - ((out - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()  # noqa: E731
    own = compare_scores([outputs], None, y, r2, metric="r2", direction="max").winner
    peer = stats.bootstrap((outputs, y), r2, paired=True, vectorized=False, n_resamples=1000, rng=1)
    assert (own.high - own.low) / 2 == pytest.approx(1.96 * peer.standard_error, rel=0.12)


def test_bootstrap_is_the_same_for_the_same_seed():
    w, b, y = seeded(1, items=50), seeded(2, items=50), np.zeros(50)
    pair = [compare_scores(w, b, y, lambda o, _: np.median(o), metric="m", direction="max", seed=s) for s in (4, 4, 5)]
    assert pair[0] == pair[1]
    assert pair[0].low != pair[2].low


@pytest.mark.parametrize(("gain", "direction", "words"), [
    (0.3, "max", "better"), (-0.3, "max", "worse"), (0.3, "min", "worse"), (-0.3, "min", "better"),
    (0.0, "max", "cannot tell"), (0.0, "min", "cannot tell"),
])  # fmt: skip
def test_words_follow_the_direction(gain, direction, words):
    difficulty = rng(12).normal(size=500)
    w, b = seeded(13, centre=1 + gain, difficulty=difficulty), seeded(14, centre=1.0, difficulty=difficulty)
    verdict = compare(w, b, metric="quality", direction=direction)
    assert verdict.words == words
    assert verdict.low < verdict.difference < verdict.high
    assert verdict.test_items == 500
    if words != "cannot tell":
        assert ("higher" in verdict.sentence) == (gain > 0)
        assert verdict.sentence.startswith(f"{words} than the baseline: quality ")
        assert "-" not in verdict.sentence


def test_identical_networks_cannot_be_told_apart():
    right = rng(15).random((3, 360)) < 0.9
    right[1:] = right[0]
    verdict = compare(right, right, metric="accuracy", direction="max")
    assert verdict.words == "cannot tell"
    assert verdict.difference == 0
    assert verdict.low == -verdict.high < 0, "agreement on 360 items is no proof of agreement everywhere"
    assert verdict.sentence == (
        "cannot tell: 0.0 points (-0.8 to 0.8); more test items would be needed; "
        "trained anew, it would be ahead 50 times in 100"
    )


def test_constant_values_have_an_interval_without_width():
    verdict = compare(np.full((2, 9), 0.5), np.full((2, 9), 0.5), metric="loss", direction="min")
    assert (verdict.difference, verdict.low, verdict.high, verdict.words) == (0, 0, 0, "cannot tell")


def test_sentences_speak_of_points_for_shares():
    difficulty = rng(16).random(4000)
    w = np.stack([difficulty < 0.912 + shift for shift in (0, 0.001, -0.001)])
    b = np.stack([difficulty < 0.9 + shift for shift in (0, 0.001, -0.001)])
    verdict = compare(w, b, metric="accuracy", direction="max")
    number = f"{100 * verdict.difference:.1f}"
    assert verdict.sentence == (
        f"better than the baseline by {number} points ({100 * verdict.low:.1f} to {100 * verdict.high:.1f}); "
        "trained anew, it would be ahead over 99 times in 100"
    )
    assert compare(b, w, metric="accuracy", direction="max").sentence.startswith(
        f"worse than the baseline by {number} points"
    )
    alone = compare(w, None, metric="accuracy", direction="max")
    assert alone.words == "no baseline"
    assert alone.baseline is alone.difference is alone.low is None
    assert alone.sentence.startswith(f"accuracy {100 * alone.winner.mean:.1f} % (")


def test_a_small_bound_is_not_written_as_zero():
    items = np.linspace(0, 1, 100)
    w = items + np.array([[0.0010], [0.0011], [0.0012]])
    b = items + np.array([[0.0], [0.0001], [0.0002]])
    verdict = compare(w, b, metric="accuracy", direction="max")
    assert verdict.words == "better"
    assert "(0.0 " not in verdict.sentence


@pytest.mark.parametrize(("spread", "part"), [(0.2, "more seeds"), (0.04, "more seeds or test items"),
                                              (0.0, "more test items")])  # fmt: skip
def test_the_sentence_names_what_is_missing(spread, part):
    items = rng(17).normal(size=(2, 400))
    shifts = spread * np.array([[-1.0], [0.0], [1.0]])  # variance of the difference: 2 spread² / 3 by seeds
    verdict = compare(0.5 * items[:1] + shifts, 0.5 * items[1:] + shifts, metric="loss", direction="min")
    assert verdict.words == "cannot tell"
    assert f"; {part} would be needed" in verdict.sentence


def test_one_seed_a_side_cannot_tell_and_says_so():
    verdict = compare(seeded(1, seeds=1), seeded(2, seeds=1, centre=5), metric="loss", direction="min")
    assert verdict.words == "cannot tell"
    assert verdict.low is verdict.high is None
    assert verdict.difference == pytest.approx(-4.1, abs=0.2)
    assert "how much the seed matters is unknown" in verdict.sentence
    assert "the seed part is unknown" in verdict.method


def test_one_seed_on_one_side_takes_the_others_spread():
    scores, items = np.array([[0.90], [0.92], [0.935], [0.91]]), np.linspace(-1, 1, 300)
    verdict = compare(scores + items, 0.8 + items[None], metric="score", direction="max")
    half = stats.t.ppf(0.975, 3) * np.sqrt(scores.var(ddof=1) * (1 / 4 + 1))
    assert (verdict.high - verdict.low) / 2 == pytest.approx(half, rel=1e-6)
    assert "given the other's spread" in verdict.method
    turned = compare(0.8 + items[None], scores + items, metric="score", direction="max")
    assert turned.low == pytest.approx(-verdict.high)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    w = seeded(1)
    w[1, 7] = bad
    with pytest.raises(NotFiniteError, match=r"winner: 1 of 1,500 values of loss"):
        compare(w, seeded(2), metric="loss", direction="min")
    with pytest.raises(NotFiniteError, match="all test items"):
        compare_scores(w, None, np.zeros(500), lambda o, _: o.mean(), metric="m", direction="max")


def test_wrong_shapes_and_levels_are_refused():
    with pytest.raises(UsageError, match=r"500 test items, baseline 400"):
        compare(seeded(1), seeded(2, items=400), metric="loss", direction="min")
    with pytest.raises(UsageError, match=r"\(seeds, items\)"):
        compare(np.zeros(10), None, metric="loss", direction="min")
    with pytest.raises(UsageError, match="level=95"):
        compare(seeded(1), None, metric="loss", direction="min", against=Against(level=95))
    with pytest.raises(UsageError, match="there are 7 targets"):
        compare_scores([np.zeros(6)], None, np.zeros(7), lambda o, _: 0.0, metric="m", direction="max")


def test_resamples_without_a_score_are_left_out_and_too_many_are_an_error():
    def fails_below(bound):
        def score(out, y):
            if y.mean() < bound:
                raise ValueError("only one class")
            return out.mean()

        return score  # fmt: skip

    y = np.r_[np.ones(90), np.zeros(10)]
    kept = compare_scores([y, y + 1], None, y, fails_below(0.84), metric="m", direction="max")
    assert kept.winner.n == 2
    with pytest.raises(UsageError, match=r"test part is too small"):
        compare_scores([y], None, y, fails_below(0.895), metric="m", direction="max")


@pytest.mark.slow
def test_it_is_calibrated_where_nothing_differs_and_sees_a_true_point():
    """A part of `benchmarks/verdict.py`, whose full table holds 36 cells. Bounds: 6 % plus two standard errors."""
    rates = runpy.run_path(str(BENCHMARK))["rates"]
    for cell in (
        (360, 0.002, 3, "other"),
        (360, 0.008, 3, "same"),
        (2000, 0.004, 3, "other"),
        (2000, 0.008, 5, "other"),
    ):
        better, worse = rates(800, *cell)
        assert better + worse < 0.06 + 2 * 0.0077, cell
        assert better < 0.05, cell
        assert worse < 0.05, cell
    assert rates(300, 10_000, 0.0036, 5, "same", 0.01)[0] > 0.85
    assert rates(300, 10_000, 0.0036, 5, "other", -0.01)[1] > 0.8


def test_the_interval_of_a_share_near_one_is_sensible():
    """359 items and three seeds, one error each at another place, or at the same: not much wider than Wilson's own."""
    from scipy.stats import binomtest

    wilson = binomtest(358, 359).proportion_ci(method="wilson")
    apart, together = np.ones((3, 359)), np.ones((3, 359))
    apart[[0, 1, 2], [0, 1, 2]] = 0
    together[:, 0] = 0
    for values in (apart, together):
        own = compare(values, None, metric="accuracy", direction="max").winner
        assert own.mean == pytest.approx(358 / 359)
        assert own.low == pytest.approx(wilson.low, abs=1e-9), "seeds of equal score widen nothing"
        assert own.high == pytest.approx(wilson.high, abs=1e-9)
    uneven = np.ones((3, 359))
    uneven[0, :3] = 0  # three errors of one seed: t with 2 degrees of freedom on a standard error of 0.28 points
    own = compare(uneven, None, metric="accuracy", direction="max").winner
    error = np.std([3 / 359, 0, 0], ddof=1) / np.sqrt(3) * 4.302653
    assert own.low == pytest.approx(358 / 359 - np.hypot(358 / 359 - wilson.low, error), abs=1e-6)
    assert own.high == 1.0


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_the_interval_of_a_share_covers_its_truth(p):
    """Items and seeds drawn anew 400 times: the interval of one network holds the true share nearly always."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        shares = np.clip(p + rng.normal(0, 0.004, 3), 0, 1)
        values = (rng.random((3, 500)) < shares[:, None]).astype(float)
        own = compare(values, None, metric="accuracy", direction="max").winner
        hits += own.low <= p <= own.high
    assert hits >= 0.93 * 400
