"""Test items that are not independent, and the probability of superiority: against scipy, brute force, simulation."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from searchitect.errors import UsageError
from searchitect.finalize import intervals
from searchitect.finalize.blocks import by_groups, drawn, in_time, pseudo_values
from searchitect.finalize.verdict import Against, compare, compare_scores, compare_seeds

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "verdict.py"


def rng(seed=0):
    return np.random.default_rng(seed)


# -- blocks ----------------------------------------------------------------------------------------------


def test_groups_of_equal_size_are_the_paired_t_test_of_their_means():
    d, groups = rng(1).normal(size=60), rng(2).permutation(np.repeat(["a", "b", "c", "d", "e", "f"], 10))
    w, b = np.tile(rng(3).normal(size=60) + d, (3, 1)), np.tile(rng(3).normal(size=60), (3, 1))
    verdict = compare(w, b, metric="loss", direction="min", against=Against(blocks=by_groups(groups)))
    means = np.array([[side[0][groups == name].mean() for name in "abcdef"] for side in (w, b)])
    reference = stats.ttest_rel(*means).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((reference.low, reference.high), rel=1e-9)
    assert verdict.method.startswith("items paired by 6 groups, 3 against 3 seeds")
    own = stats.t.interval(0.95, 5, means[0].mean(), stats.sem(means[0]))
    assert (verdict.winner.low, verdict.winner.high) == pytest.approx(own, rel=1e-9)


def test_the_variance_over_uneven_groups_is_that_of_leaving_out_each_in_turn():
    values, groups = rng(4).normal(size=50), rng(5).integers(0, 7, 50)
    without = np.array([values[groups != g].mean() for g in range(7)])
    jackknife = 6 / 7 * ((without - without.mean()) ** 2).sum()
    assert pseudo_values(values, by_groups(groups)).var(ddof=1) / 7 == pytest.approx(jackknife, rel=1e-12)
    single = pseudo_values(values, by_groups(np.arange(50)[::-1]))
    assert single == pytest.approx(values[::-1]), "blocks of one item are the items"


def test_seeds_that_differ_by_group_are_not_counted_twice():
    """Each seed has its own strength in each group: all of that is in the spread of the seeds already."""
    groups = np.repeat(np.arange(40), 25)
    w, b = (rng(s).normal(size=(4, 40))[:, groups] for s in (6, 7))
    found = intervals.paired(w, b, blocks=by_groups(groups))
    assert found.seeds == pytest.approx(w.mean(1).var(ddof=1) / 4 + b.mean(1).var(ddof=1) / 4)
    assert found.items < 0.5 * found.seeds


def test_items_that_agree_within_groups_say_less_than_they_are():
    groups = np.repeat(np.arange(20), 50)
    right = (rng(8).random(20) < 0.8)[groups] * np.ones((3, 1))
    apart, together = (
        compare(right, None, metric="accuracy", direction="max", against=Against(blocks=blocks)).winner
        for blocks in (None, by_groups(groups))
    )
    p = apart.mean
    wilson = stats.binomtest(round(20 * p), 20).proportion_ci(method="wilson")
    assert apart.high - apart.low < 0.06
    assert together.low < wilson.low + 0.01, "twenty groups are twenty items at most, and Student's t is wider"
    assert p < together.high <= 1


def test_bootstrap_over_groups_agrees_with_the_formula_for_a_mean():
    groups = rng(9).integers(0, 25, 400)
    base = rng(10).normal(size=25)[groups]
    w, b = (base + 0.2 * rng(s).normal(size=25)[groups] + 0.1 * rng(s + 9).normal(size=(3, 400)) for s in (11, 12))
    blocks = by_groups(groups)
    exact = compare(w, b, metric="loss", direction="min", against=Against(blocks=blocks))
    score = lambda out, _: float(out.mean())  # noqa: E731
    drawn_ = compare_scores(w, b, np.zeros(400), score, metric="loss", direction="min", against=Against(blocks=blocks))
    width = exact.high - exact.low
    assert width > 1.5 * np.subtract(*[getattr(compare(w, b, metric="l", direction="min"), e) for e in ("high", "low")])
    assert (drawn_.low, drawn_.high) == pytest.approx((exact.low, exact.high), abs=0.12 * width)
    assert drawn_.method.startswith("items by 25 groups by paired bootstrap")


def test_resamples_take_whole_groups():
    blocks = by_groups(np.array([3, 1, 1, 2, 3, 3]))
    for seed in range(20):
        counts = np.bincount(drawn(rng(seed), 6, blocks), minlength=6)
        assert counts[1] == counts[2]
        assert counts[0] == counts[4] == counts[5]
        assert counts[0] + counts[1] + counts[3] == 3
    assert len(drawn(rng(), 6, None)) == 6


def test_time_is_cut_into_ten_stretches_or_fewer():
    blocks = in_time(1003)
    assert (blocks.count, blocks.name) == (10, "stretches of time")
    sizes = np.bincount(blocks.codes)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(blocks.codes) >= 0).all()
    assert [in_time(n).count for n in (3, 7, 8, 23, 39, 40)] == [1, 1, 2, 5, 9, 10]


def test_one_group_says_nothing_about_others():
    w, b = rng(13).normal(size=(3, 30)), rng(14).normal(size=(3, 30)) + 9
    one = by_groups(np.zeros(30))
    for verdict in (
        compare(w, b, metric="loss", direction="min", against=Against(blocks=one)),
        compare_scores(
            w,
            b,
            np.zeros(30),
            lambda o, _: float(o.mean()),
            metric="loss",
            direction="min",
            against=Against(blocks=one),
        ),
    ):
        assert (verdict.words, verdict.low, verdict.high, verdict.superiority) == ("cannot tell", None, None, None)
        assert "on test items that all belong together, which says nothing about others" in verdict.sentence
        assert " by 1 group" in verdict.method
        assert np.isfinite([verdict.winner.low, verdict.winner.high]).all()


def test_what_is_missing_is_named_and_wrong_lengths_are_refused():
    items = rng(15).normal(size=(2, 400))
    verdict = compare(
        items[:1].repeat(3, 0),
        items[1:].repeat(3, 0),
        metric="loss",
        direction="min",
        against=Against(blocks=in_time(400)),
    )
    assert "; more stretches of time to test on would be needed" in verdict.sentence
    with pytest.raises(UsageError, match="blocks of 399 test items, there are 400"):
        compare(items, None, metric="loss", direction="min", against=Against(blocks=in_time(399)))


def errors_over_groups(repeats, count, per_group, icc, uneven, seed):
    """How often a difference is seen where none is: item values share a part within each group, on both sides apart."""
    r = rng(seed)
    wrong = np.zeros(2)
    for _ in range(repeats):
        sizes = r.integers(1, 2 * per_group, count) if uneven else np.full(count, per_group)
        groups = np.repeat(np.arange(count), sizes)
        w, b = (
            np.sqrt(icc) * r.normal(size=count)[groups]
            + np.sqrt(1 - icc) * r.normal(size=len(groups)) + 0.2 * r.normal(size=(3, len(groups)))
            for _ in range(2)
        )  # fmt: skip
        for i, blocks in enumerate((None, by_groups(groups))):
            found = intervals.paired(w, b, blocks=blocks)
            wrong[i] += found.low > 0 or found.high < 0
    return wrong / repeats


@pytest.mark.slow
def test_groups_keep_the_level_where_items_alone_do_not():
    for count, uneven in ((6, False), (12, True), (40, True)):
        alone, grouped = errors_over_groups(600, count, 20, 0.3, uneven, count)
        assert alone > 0.2, "what happens to a user who does not tell the groups"
        assert grouped < 0.06 + 2 * 0.0089


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_stretches_of_time_keep_the_level_where_items_remember(memory):
    from scipy.signal import lfilter

    noise = rng(16).normal(size=(600, 2, 1, 500))
    series = lfilter([1], [1, -memory], noise, axis=-1)[..., 100:]
    w, b = (series[:, i] + 0.1 * rng(17 + i).normal(size=(600, 3, 400)) for i in (0, 1))
    rates = []
    for blocks in (None, in_time(400)):
        found = intervals.paired(w, b, blocks=blocks)
        rates.append(((found.low > 0) | (found.high < 0)).mean())
    assert rates[1] < 0.06 + 2 * 0.0089
    assert (rates[0] > 0.3) == (memory > 0.5)


# -- superiority -----------------------------------------------------------------------------------------


def test_superiority_over_seeds_is_student_on_the_difference_of_two_new_trainings():
    w, b = np.array([0.91, 0.92, 0.935]), np.array([0.90, 0.87, 0.89, 0.885])
    parts = [(v.var(ddof=1) * (1 / len(v) + 1), len(v) - 1) for v in (w, b)]
    total = sum(p for p, _ in parts)
    df = total**2 / sum(p**2 / n for p, n in parts)
    expected = stats.t.cdf((w.mean() - b.mean()) / np.sqrt(total), df)
    assert compare_seeds(w, b, metric="accuracy", direction="max").superiority == pytest.approx(expected, rel=1e-9)
    assert compare_seeds(w, b, metric="loss", direction="min").superiority == pytest.approx(1 - expected, rel=1e-9)
    items = np.linspace(-1, 1, 40)
    shifted = compare(w[:, None] + items, b[:, None] + items, metric="score", direction="max")
    assert shifted.superiority == pytest.approx(expected, rel=1e-6)


def test_where_seeds_rule_superiority_is_the_share_of_pairs_that_are_won():
    """Four hundred seeds a side: nearly the normal P(X > Y), and nearly the count of all pairs (Mann and Whitney)."""
    w, b = rng(20).normal(0.1, 0.2, 400), rng(21).normal(0.0, 0.1, 400)
    found = compare_seeds(w, b, metric="accuracy", direction="max").superiority
    counted = stats.mannwhitneyu(w, b).statistic / 400**2
    assert found == pytest.approx(stats.norm.cdf((w.mean() - b.mean()) / np.hypot(w.std(), b.std())), abs=0.01)
    assert found == pytest.approx(counted, abs=0.02)


def test_chance_on_items_is_no_difference_between_trainings():
    """Equal seeds in truth: what seeds seem to differ by is chance on items, which a new training would not repeat."""
    w, b = rng(22).normal(0.003, 1, (5, 40_000)), rng(23).normal(0, 1, (5, 40_000))
    verdict = compare(w, b, metric="quality", direction="max")
    by_scores = compare_seeds(w.mean(1), b.mean(1), metric="quality", direction="max")
    assert verdict.difference == pytest.approx(by_scores.difference)
    assert 0.999 > verdict.superiority > by_scores.superiority + 0.02


def test_superiority_is_half_without_a_difference_and_told_in_words():
    same = np.ones((3, 20)) * np.array([[0.1], [0.2], [0.3]])
    verdict = compare(same, same, metric="loss", direction="min")
    assert verdict.superiority == 0.5
    assert verdict.sentence.endswith("trained anew, it would be ahead 50 times in 100")
    constant = compare(np.full((2, 9), 0.6), np.full((2, 9), 0.5), metric="score", direction="max")
    assert (constant.superiority, constant.words) == (1.0, "better")
    assert "ahead over 99 times in 100" in constant.sentence
    assert compare(same[:1], same[:1], metric="loss", direction="min").superiority is None


@pytest.mark.slow
def test_superiority_is_as_frequent_as_it_says():
    """True gains of all sizes, four thousand comparisons of binary items: sorted by what was said, the share in which
    a new training of the winner was truly better is what was said."""
    superiority = runpy.run_path(str(BENCHMARK))["superiority"]
    said, came = superiority(4_000, 1_000, 0.008, 3, "other")
    for low, high in ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0)):
        inside = (said >= low) & (said < high)
        error = 3 * np.sqrt(0.25 / inside.sum())
        assert abs(said[inside].mean() - came[inside].mean()) < 0.03 + error, (low, inside.sum())


def test_uneven_groups_are_worth_fewer():
    assert by_groups(np.repeat(np.arange(8), 5)).df == 7
    assert by_groups(np.array([0] * 8 + [1] * 2 + [2] * 2)).df == pytest.approx(144 / 72 - 1)
    assert by_groups(np.array([0] * 99 + [1])).df == 1, "never less than one"
    groups = np.repeat(np.arange(4), [30, 5, 5, 5])
    d = rng(30).normal(size=45)
    found = intervals.paired(np.tile(d, (3, 1)), np.zeros((3, 45)), blocks=by_groups(groups))
    df = 45**2 / (30**2 + 3 * 25) - 1
    half = stats.t.ppf(0.975, df) * np.sqrt(pseudo_values(d, by_groups(groups)).var(ddof=1) / 4)
    assert (found.high - found.low) / 2 == pytest.approx(half)


def test_a_bootstrap_of_few_blocks_is_as_wide_as_the_jackknife():
    blocks = by_groups(np.repeat(np.arange(4), 10))
    values = np.random.default_rng(1).normal(size=(1, 40)) + np.repeat([0.0, 1.0, 3.0, 4.0], 10)
    usual = {"metric": "mae", "direction": "min", "against": Against(blocks=blocks)}
    known = compare(values, None, **usual).winner
    found = compare_scores(list(values), None, np.zeros(40), lambda out, y: float((out - y).mean()), **usual).winner
    assert found.high - found.low == pytest.approx(known.high - known.low, rel=0.07), "3/4 of the variance is 13 % less"
