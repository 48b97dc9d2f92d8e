"""REINFORCE against its formula, and the rewards that policy-gradient strategies share."""

import math

import numpy as np
import pytest

from searchitect.errors import UsageError
from searchitect.records import Cause, Failure, Measurement, Objective, Proposal, State, Trial, objectives
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.rewards import Advantages, Average, Spread
from searchitect.testing.strategy import toy_space, toy_value

PLACE = "reinforce"


def two_by_three():
    return Space(Layer("toy.Net", {"a": one_of("x", "y"), "b": one_of(1, 2, 3)}))


def done(number, proposal, **metrics):
    return Trial(number, proposal, State.DONE, measurement=Measurement(metrics))


def failed(number, proposal, cause=Cause.USER_CODE, retryable=False):
    return Trial(number, proposal, State.FAILED, failure=Failure(cause, "broken", retryable=retryable))


def reinforce(space, texts="max score", seed=0, start=(), **options):
    items = texts if isinstance(texts, tuple) else objectives(texts)
    return make_strategy(PLACE, Setting(space, items, seed, start=start), options)


PERCENT = (Objective("score", "max", unit="%"),)


def test_the_logits_follow_the_published_update_written_out_by_hand():
    """theta += 0.5 (R - b) (onehot - softmax), with b the corrected moving average that contains R (decay 0.9)."""
    space = two_by_three()
    strategy = reinforce(space, PERCENT)
    theta = {"a": np.zeros(2), "b": np.zeros(3)}
    labels = {"a": ["x", "y"], "b": [1, 2, 3]}
    rewards = []
    for number, percent in enumerate((70.0, 90.0, 10.0, 85.0, 88.0)):
        (proposal,) = strategy.ask(1)
        strategy.tell(done(number, proposal, score=percent))
        rewards.append(percent / 100)
        weights = [0.9**age for age in range(len(rewards))][::-1]
        advantage = rewards[-1] - np.dot(weights, rewards) / sum(weights)
        for name, row in theta.items():
            chances = np.exp(row) / np.exp(row).sum()
            hit = np.array([float(label == proposal.architecture.decisions[name]) for label in labels[name]])
            theta[name] = row + 0.5 * advantage * (hit - chances)
    shown = strategy.policy.probabilities()
    for name, row in theta.items():
        expected = np.exp(row) / np.exp(row).sum()
        assert [shown[name][label] for label in labels[name]] == pytest.approx(expected.tolist(), abs=1e-12)
    assert max(map(abs, theta["b"])) > 0.01


def test_the_mean_step_is_the_gradient_of_the_expected_reward():
    """With decay 0 the baseline is the reward itself: nothing is learned. With a fixed one: the gradient by hand."""
    space = two_by_three()
    still = reinforce(space, baseline=0.0)
    for number in range(5):
        (proposal,) = still.ask(1)
        still.tell(done(number, proposal, score=float(number)))
    assert not still.policy.logits.any()
    # uniform start: grad of sum p R by logit_j is p_j (mean R given j - mean R)
    policy = reinforce(space).policy
    everything = list(space.enumerate())
    reward = {a: i * i / 25 for i, a in enumerate(everything)}
    mean = sum(reward.values()) / 6
    slope = policy.gradient([(a, (reward[a] - 0.3) / 6) for a in everything])["logits"]
    expected = [
        sum(r for a, r in reward.items() if a.decisions[name] == label) / (6 / n) / n - mean / n
        for name, n, label in [("a", 2, "x"), ("a", 2, "y"), ("b", 3, 1), ("b", 3, 2), ("b", 3, 3)]
    ]
    assert slope.tolist() == pytest.approx(expected, abs=1e-12)


def test_it_concentrates_on_the_best_and_beats_random_on_the_toy():
    def mean_of_last(name, seed):
        strategy = make_strategy(name, Setting(toy_space(), objectives("max score"), seed))
        values = []
        for number in range(300):
            (proposal,) = strategy.ask(1)
            values.append(toy_value(proposal.architecture))
            strategy.tell(done(number, proposal, score=values[-1]))
        return float(np.mean(values[-50:]))

    pairs = [(mean_of_last(PLACE, s), mean_of_last("random", s)) for s in range(8)]
    assert all(learned > drawn + 0.1 for learned, drawn in pairs), pairs


def test_the_moving_average_divides_out_the_missing_past():
    average = Average(0.9)
    assert average.add(4.0) == pytest.approx(4.0)
    assert average.add(1.0) == pytest.approx((0.9 * 4 + 1) / 1.9)
    assert average.add(2.0) == pytest.approx((0.81 * 4 + 0.9 * 1 + 2) / 2.71)


def test_the_spread_is_that_of_different_values_by_numpys_quartiles():
    values, spread = [3.0, 1.0, 1.0, 8.0, 1.0, 2.5, 2.5, 1e9], Spread()
    for i, value in enumerate(values):
        different = sorted(set(values[: i + 1]))
        expected = (np.quantile(different, 0.75) - np.quantile(different, 0.25)) / 1.349
        assert spread.add(value) == pytest.approx(expected)


def advantages_of(texts, tells, decay=0.5):
    space = two_by_three()
    fold = Advantages(texts if isinstance(texts, tuple) else objectives(texts), decay)
    proposal = Proposal(space.sample(0))
    return [
        fold.of(done(i, proposal, **t) if isinstance(t, dict) else failed(i, proposal, retryable=t == "machine"))
        for i, t in enumerate(tells)
    ]


def test_percent_shares_and_minimised_percents():
    # decay 0.5: the baseline after both is (0.5 · 0.8 + 0.5) / 1.5 = 0.6
    assert advantages_of(PERCENT, [{"score": 80.0}, {"score": 50.0}]) == pytest.approx([0.0, -0.1])
    shares = advantages_of("accuracy", [{"accuracy": 0.8}, {"accuracy": 0.5}])
    assert shares == pytest.approx([0.0, -0.1])
    errors = advantages_of((Objective("error", "min", unit="%"),), [{"error": 20.0}, {"error": 50.0}])
    assert errors == pytest.approx(shares)


def test_other_numbers_have_no_unit_and_no_place():
    """Scaling and shifting a metric, or turning it round, changes nothing; a huge loss moves no more than 1."""
    losses = [5.0, 3.0, 4.0, 9.0, 1.0, 2.0]
    plain = advantages_of("min cost", [{"cost": v} for v in losses])
    assert advantages_of("min cost", [{"cost": 1e4 * v + 7} for v in losses]) == pytest.approx(plain)
    assert advantages_of("max gain", [{"gain": -v} for v in losses]) == pytest.approx(plain)
    assert 0.01 < max(map(abs, plain)) < 0.5
    assert advantages_of("min cost", [*({"cost": v} for v in losses), {"cost": 1e12}])[-1] == -1.0
    assert advantages_of("min cost", [{"cost": 3.0}] * 4) == [0.0] * 4


def test_an_accuracy_told_in_percent_is_taken_for_a_number_without_unit():
    percents = [80.0, 50.0, 95.0, 60.0]
    found = advantages_of("accuracy", [{"accuracy": v} for v in percents])
    assert found == pytest.approx(advantages_of("max gain", [{"gain": v} for v in percents]))
    assert found[2] != advantages_of("accuracy", [{"accuracy": v / 100} for v in percents])[2]


def test_a_violation_is_taken_off_the_reward():
    texts = ["accuracy", "cost < 10"]
    kept, slightly, far = (
        advantages_of(texts, [{"accuracy": 0.5, "cost": 1.0}, {"accuracy": 0.5, "cost": c}])[1] for c in (9, 12, 900)
    )
    assert kept == 0.0
    assert slightly == pytest.approx(-0.2 * (1 - 1 / 1.5))
    assert far == pytest.approx(-1.0 * (1 - 1 / 1.5))


def test_several_goals_are_the_mean_of_their_advantages():
    tells = [{"accuracy": 0.8, "cost": 1.0}, {"accuracy": 0.5, "cost": 3.0}, {"accuracy": 0.9, "cost": 2.0}]
    both = advantages_of(["accuracy", "min cost"], tells)
    one, two = advantages_of("accuracy", tells), advantages_of("min cost", tells)
    assert both == pytest.approx([(a + b) / 2 for a, b in zip(one, two, strict=True)])


def test_failures_count_as_the_worst_so_far_and_faults_of_the_machine_not_at_all():
    tells = [
        "failed",
        {"accuracy": 0.8},
        {"accuracy": 0.2},
        {"accuracy": 0.6},
        "machine",
        "failed",
        {"accuracy": math.nan},
    ]
    found = advantages_of("accuracy", tells)
    assert found[0] is None  # nothing to compare with yet
    assert found[4] is None
    assert found[5] == pytest.approx(advantages_of("accuracy", [*tells[1:4], {"accuracy": 0.2}])[-1])
    assert found[6] < 0


def test_strangers_teach_and_the_start_is_proposed_first():
    space = two_by_three()
    best = space.architecture({"a": "y", "b": 3})
    strategy = reinforce(space, "accuracy", start=(best,))
    (first,) = strategy.ask(1)
    assert (first.architecture, first.origin, first.draw) == (best, "start", 0)
    strategy.tell(done(0, Proposal(space.architecture({"a": "x", "b": 1})), accuracy=0.1))
    strategy.tell(done(1, first, accuracy=0.9))
    assert strategy.policy.probabilities()["a"]["y"] > 0.5
    assert strategy.ask(1)[0].origin == "policy"


def test_an_infeasible_corner_is_left():
    """The policy sits on what the limit forbids: after 100 draws in a row the draw is uniform."""
    space = two_by_three()
    setting = Setting(space, objectives("accuracy"), 0, feasible=lambda a: a.decisions["a"] == "y")
    strategy = make_strategy(PLACE, setting)
    strategy.policy.ascend([(space.architecture({"a": "x", "b": 1}), 200.0)])
    assert strategy.policy.probabilities()["a"]["y"] < 1e-9
    assert [p.architecture.decisions["a"] for p in strategy.ask(3)] == ["y"] * 3


def test_the_lstm_learns_too_and_options_reach_it():
    space = two_by_three()
    strategy = reinforce(space, "accuracy", policy="lstm", hidden=8, temperature=2.0, tanh_constant=2.5)
    assert (strategy.policy.temperature, strategy.policy.tanh_constant, strategy.policy.cell.hidden_size) == (2, 2.5, 8)
    for number in range(150):
        (proposal,) = strategy.ask(1)
        strategy.tell(done(number, proposal, accuracy=float(proposal.architecture.decisions == {"a": "y", "b": 2})))
    (log,) = strategy.policy.log_probs([space.architecture({"a": "y", "b": 2})])
    assert math.exp(log) > 0.4
    # 2.5 tanh bounds each logit: no option of a pair can be likelier than e^5 to 1
    assert math.exp(log) < 1 / (1 + math.exp(-5)) / (1 + 2 * math.exp(-5))


def test_bad_options_are_named():
    space = two_by_three()
    for options, said in (
        ({"baseline": 1.0}, "got 1.0"), ({"entropy": -1}, "got -1"), ({"policy": "rnn"}, "'rnn'"),
        ({"hidden": 3}, "hidden"), ({"policy": "lstm", "temperature": 0}, "temperature=0"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            reinforce(space, **options)
