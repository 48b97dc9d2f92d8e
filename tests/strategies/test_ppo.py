"""PPO's objective against autograd, its batches, and what it does with old draws."""

import math

import numpy as np
import pytest
import torch

from searchitect.errors import UsageError
from searchitect.records import Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.ppo import Experience, slope
from searchitect.testing.strategy import toy_space, toy_value

PLACE = "ppo"


def two_by_three():
    return Space(Layer("toy.Net", {"a": one_of("x", "y"), "b": one_of(1, 2, 3)}))


def done(number, proposal, **metrics):
    return Trial(number, proposal, State.DONE, measurement=Measurement(metrics))


def ppo(space, texts="accuracy", seed=0, start=(), **options):
    return make_strategy(PLACE, Setting(space, objectives(texts), seed, start=start), options)


def reference(theta, old, chosen, advantages, clip, entropy):
    """Equation 7 of the paper with the entropy bonus, by autograd: the gradient by the logits of (2, 3) options."""
    theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    rows = [torch.log_softmax(theta[:2], 0), torch.log_softmax(theta[2:], 0)]
    logs = torch.stack([rows[0][i] + rows[1][j] for i, j in chosen])
    ratio = torch.exp(logs - torch.tensor(old, dtype=torch.float64))
    gain = torch.tensor(advantages, dtype=torch.float64)
    value = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
    value = value + entropy * sum(-(row.exp() * row).sum() for row in rows)
    value.backward()
    return theta.grad.numpy()


@pytest.mark.parametrize("turn", range(6))
def test_each_epoch_climbs_the_clipped_objective(turn):
    """Plain steps of size 1: what the logits move by is the gradient of the reference, epoch after epoch."""
    draws = stream(turn, 0, "case")
    space = two_by_three()
    everything = list(space.enumerate())
    strategy = ppo(space, batch=6, epochs=3, lr=1.0, optimizer="sgd", entropy=0.05 * (turn % 2))
    strategy.policy.restore({"logits": np.array([draws.normal() for _ in range(5)])})
    picks = [draws.below(6) for _ in range(6)]
    olds = [math.log(draws.uniform(0.05, 0.5)) for _ in picks]
    gains = [draws.normal() for _ in picks]
    size = math.sqrt(sum(g * g for g in gains) / 6)
    theta = strategy.policy.logits.copy()
    clipped = 0
    for _ in range(3):
        row = [theta[:2] - np.log(np.exp(theta[:2]).sum()), theta[2:] - np.log(np.exp(theta[2:]).sum())]
        ratios = [math.exp(row[0][p // 3] + row[1][p % 3] - old) for p, old in zip(picks, olds, strict=True)]
        clipped += sum((r > 1.2) if g > 0 else (r < 0.8) for r, g in zip(ratios, gains, strict=True))
        normal = [g / size for g in gains]
        theta = theta + reference(theta, olds, [(p // 3, p % 3) for p in picks], normal, 0.2, strategy.entropy)
    assert 0 < clipped < 18
    strategy.waiting = [Experience(everything[p], g, old) for p, g, old in zip(picks, gains, olds, strict=True)]
    strategy._learn()
    assert strategy.policy.logits == pytest.approx(theta, abs=1e-12)


def test_the_slope_of_one_experience_at_the_clip():
    space = two_by_three()
    for gain, ratio, expected in (
        (2, 1.1, 2.2),
        (2, 1.3, 0),
        (2, 0.1, 0.2),
        (-2, 0.7, 0),
        (-2, 0.9, -1.8),
        (-2, 5, -10),
    ):
        assert slope(Experience(space.sample(0), gain, -1.0), -1.0 + math.log(ratio), 0.2) == pytest.approx(expected)
    assert math.isfinite(slope(Experience(space.sample(0), -1.0, -2000.0), 0.0, 0.2))


def test_it_learns_once_per_batch_of_told_trials():
    space = two_by_three()
    strategy = ppo(space, batch=4)
    for number in range(9):
        before = strategy.policy.logits.copy()
        (proposal,) = strategy.ask(1)
        strategy.tell(done(number, proposal, accuracy=stream(0, number, "r").unit()))
        assert (strategy.policy.logits != before).any() == (number % 4 == 3)
    assert not strategy.drawn


def test_old_draws_keep_the_probability_they_had():
    """Trials of a first policy told after an update: the ratio is against the probability at the draw."""
    space = two_by_three()
    strategy = ppo(space, batch=2, lr=0.5, optimizer="sgd")
    proposals = strategy.ask(4)
    uniform = math.log(1 / 6)
    for number, proposal in enumerate(proposals[:3]):
        strategy.tell(done(number, proposal, accuracy=(0.2, 0.9, 0.5)[number]))
    (now,) = strategy.policy.log_probs([proposals[2].architecture])
    assert strategy.waiting[0].log_prob == pytest.approx(uniform)
    assert abs(now - uniform) > 1e-3
    # a stranger, and another's architecture under a draw of ours, come with the probability at their tell
    stranger = next(a for a in space.enumerate() if a != proposals[3].architecture)
    strategy.tell(done(3, Proposal(stranger, draw=3), accuracy=0.6))
    strategy.tell(done(4, Proposal(stranger), accuracy=0.6))
    assert strategy.waiting[0].log_prob == pytest.approx(float(strategy.policy.log_probs([stranger])[0]))


def test_equal_rewards_teach_nothing():
    space = two_by_three()
    strategy = ppo(space, batch=3)
    for number in range(6):
        (proposal,) = strategy.ask(1)
        strategy.tell(done(number, proposal, accuracy=0.5))
    assert not strategy.policy.logits.any()


def test_it_concentrates_and_beats_random_on_the_toy():
    def mean_of_last(name, seed):
        strategy = make_strategy(name, Setting(toy_space(), objectives("max score"), seed))
        values = []
        for number in range(200):
            (proposal,) = strategy.ask(1)
            values.append(toy_value(proposal.architecture))
            strategy.tell(done(number, proposal, score=values[-1]))
        return float(np.mean(values[-50:]))

    pairs = [(mean_of_last(PLACE, s), mean_of_last("random", s)) for s in range(8)]
    assert all(learned > drawn + 0.2 for learned, drawn in pairs), pairs


def test_the_start_is_proposed_first():
    space = two_by_three()
    best = space.architecture({"a": "y", "b": 3})
    first, second = ppo(space, start=(best,)).ask(2)
    assert (first.architecture, first.origin, second.origin) == (best, "start", "policy")


def test_bad_options_are_named():
    for options, said in (
        ({"batch": 0}, "batch=0"), ({"epochs": 0}, "epochs=0"), ({"clip": 0.0}, "clip=0.0"), ({"baseline": 2}, "got 2"),
        ({"policy": "mlp"}, "'mlp'"), ({"hidden": 2}, "hidden"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            ppo(two_by_three(), **options)
