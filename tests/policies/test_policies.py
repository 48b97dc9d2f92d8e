"""Both policies against enumeration of small spaces: probabilities, entropies, gradients, masks, draws."""

import math
import subprocess
import sys

import numpy as np
import pytest
from policy_spaces import SMALL, conditional_space, flat_space, shared_space, uneven

from searchitect.errors import ArchitectureError, UsageError
from searchitect.policies import POLICIES, make_policy
from searchitect.policies.categories import RECENT
from searchitect.seeds import stream
from searchitect.space import Architecture, Layer, Space, one_of

ENUMERABLE = {
    "flat": flat_space, "conditional": conditional_space, "shared": shared_space,
    "one": lambda: Space(Layer("toy.Net", {})),
}  # fmt: skip
WIDTH = "blocks.0.part.conv.width"  # tied: the width of every convolution
EACH = [(p, s) for p in POLICIES for s in ENUMERABLE]


@pytest.mark.parametrize(("name", "space"), EACH)
def test_the_probabilities_of_all_architectures_add_up_to_one(name, space):
    space = ENUMERABLE[space]()
    everything = list(space.enumerate())
    assert len(everything) == int(space.size)
    logs = uneven(name, space).log_probs(everything)
    assert math.fsum(np.exp(logs)) == pytest.approx(1.0, abs=1e-12)
    if len(everything) > 1:
        assert np.ptp(logs) > 1.0  # far from uniform, so the sum says something


@pytest.mark.parametrize(("name", "space"), EACH)
def test_the_mean_entropy_along_the_path_is_the_entropy(name, space):
    space = ENUMERABLE[space]()
    everything = list(space.enumerate())
    policy = uneven(name, space)
    logs = policy.log_probs(everything)
    chances, entropy = np.exp(logs), -math.fsum(np.exp(logs) * logs)
    assert math.fsum(chances * policy.entropies(everything)) == pytest.approx(entropy, abs=1e-12)
    if name == "factorised" and space.flat_total:
        assert policy.entropies(everything) == pytest.approx(np.full(len(everything), entropy))


@pytest.mark.parametrize(("name", "space"), EACH)
def test_draws_come_with_their_log_probability_and_as_often_as_it_says(name, space):
    space = ENUMERABLE[space]()
    policy = uneven(name, space)
    number = 3000 if name == "factorised" else 300
    seen = {}
    for i in range(number):
        sample = policy.sample(stream(1, i, "policy"))
        space.validate(sample.architecture)
        seen.setdefault(sample.architecture, []).append(sample.log_prob)
    for architecture, logs in seen.items():
        (again,) = policy.log_probs([architecture])
        assert logs == pytest.approx([again] * len(logs), abs=1e-12)
    everything = list(space.enumerate())
    chances = np.exp(policy.log_probs(everything))
    counts = np.array([len(seen.get(a, ())) for a in everything])
    off = np.abs(counts - number * chances) / np.sqrt(number * chances * (1 - chances) + 1.0)
    assert off.max() < 4.5


@pytest.mark.parametrize(("name", "space"), [(p, s) for p, s in EACH if s != "one"])
def test_the_policy_gradient_is_that_of_the_expected_reward(name, space):
    """sum_a p(a) R(a) grad log p(a), by enumeration, against differences of the exact sum_a p(a) R(a)."""
    space = ENUMERABLE[space]()
    everything = list(space.enumerate())
    policy = uneven(name, space)
    rewards = np.array([stream(7, i, "reward").normal() for i in range(len(everything))])
    chances = np.exp(policy.log_probs(everything))
    slopes = policy.gradient([(a, float(w)) for a, w in zip(everything, chances * rewards, strict=True)])
    start = policy.snapshot()

    def expected():
        return math.fsum(np.exp(policy.log_probs(everything)) * rewards)

    check_slopes(policy, start, slopes, expected)


@pytest.mark.parametrize(("name", "space"), [(p, s) for p, s in EACH if s != "one"])
def test_the_gradient_of_log_p_and_of_the_entropy_bonus(name, space):
    space = ENUMERABLE[space]()
    policy = uneven(name, space, seed=3)
    some = [(space.sample(stream(3, i, "s")), w) for i, w in enumerate((0.5, -2.0, 1.0))]
    slopes = policy.gradient(some, entropy=0.7)

    def value():
        chosen = [a for a, _ in some]
        return float(np.dot(policy.log_probs(chosen), [w for _, w in some]) + 0.7 * policy.entropies(chosen).mean())

    check_slopes(policy, policy.snapshot(), slopes, value)


def check_slopes(policy, start, slopes, value, step=1e-5):
    """Compare some entries of a gradient with central differences."""
    draws = stream(0, 0, "entries")
    moved = 0
    for name, slope in slopes.items():
        entries = list(np.ndindex(slope.shape))
        for entry in draws.sample(entries, min(len(entries), 6)):
            found = []
            for sign in (1, -1):
                shifted = {k: v.copy() for k, v in start.items()}
                shifted[name][entry] += sign * step
                policy.restore(shifted)
                found.append(value())
            policy.restore(start)
            assert (found[0] - found[1]) / (2 * step) == pytest.approx(slope[entry], abs=2e-7), (name, entry)
            moved += slope[entry] != 0
    assert moved >= 4


@pytest.mark.parametrize("name", POLICIES)
def test_a_masked_option_is_never_drawn_nor_learned(name):
    space = conditional_space()
    part = "blocks.0.part"
    allowed = {part: ["conv", "skip"], WIDTH: [16]}
    policy = uneven(name, space, scale=2.0, allowed=allowed)
    everything = list(space.enumerate())
    logs = policy.log_probs(everything)
    barred = [a.decisions.get(part) == "pool" or a.decisions.get(WIDTH) == 8 for a in everything]
    assert 0 < sum(barred) < len(barred)
    assert (logs == -math.inf).tolist() == barred
    assert math.fsum(np.exp(logs)) == pytest.approx(1.0)
    chances = np.where(np.isinf(logs), 0.0, np.exp(logs))
    entropy = -math.fsum(p * log for p, log in zip(chances, logs, strict=True) if p)
    assert math.fsum(chances * policy.entropies(everything)) == pytest.approx(entropy)
    out = [a for a, no in zip(everything, barred, strict=True) if no]
    assert not any(policy.sample(stream(0, i, "p")).architecture in out for i in range(100))
    before = policy.snapshot()
    policy.ascend([(out[0], 5.0)])
    assert all(np.array_equal(v, before[k]) for k, v in policy.snapshot().items() if not k.startswith("adam"))
    policy.ascend([(everything[barred.index(False)], 0.1), (out[1], 0.1)], entropy=0.1)
    assert np.isfinite(policy.log_probs([a for a, no in zip(everything, barred, strict=True) if not no])).all()


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_concentrates_on_what_is_rewarded(name):
    space = conditional_space()
    target = list(space.enumerate())[40]
    policy = make_policy(name, space, 0, {**SMALL[name], "lr": 0.5 if name == "factorised" else 0.03})
    before = policy.log_probs([target])[0]
    for i in range(300):
        sample = policy.sample(stream(0, i, "policy")).architecture
        shared = sum(sample.decisions.get(k) == v for k, v in target.decisions.items())
        policy.ascend([(sample, shared / len(target.decisions) - 0.5)])
    assert before < math.log(0.1)
    assert policy.log_probs([target])[0] > math.log(0.5)


@pytest.mark.parametrize("name", POLICIES)
def test_the_entropy_bonus_alone_makes_a_flat_policy_uniform(name):
    space = flat_space()
    policy = uneven(name, space, scale=0.5)
    anyone = space.sample(0)
    before = policy.entropies([anyone])[0]
    for i in range(120):
        policy.ascend([(policy.sample(stream(0, i, "p")).architecture, 0.0)], entropy=1.0)
    assert before < math.log(24) - 0.05
    assert policy.entropies([anyone])[0] > math.log(24) - 0.02


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_snapshot_brings_everything_back(name, optimizer):
    space = conditional_space()
    one = make_policy(name, space, 0, {**SMALL[name], "optimizer": optimizer})
    steps = [[(space.sample(i), 0.3), (space.sample(i + 50), -0.2)] for i in range(6)]
    for step in steps[:3]:
        one.ascend(step)
    shot = one.snapshot()
    kept = {k: v.copy() for k, v in shot.items()}
    for step in steps[3:]:
        one.ascend(step, 0.01)
    assert all(np.array_equal(shot[k], kept[k]) for k in kept)  # later steps do not reach into it
    two = make_policy(name, space, 9, {**SMALL[name], "optimizer": optimizer})
    two.restore(shot)
    for step in steps[3:]:
        two.ascend(step, 0.01)
    assert all(np.array_equal(v, two.snapshot()[k]) for k, v in one.snapshot().items())
    other = make_policy(name, flat_space(), 0, {**SMALL[name], "optimizer": optimizer})
    with pytest.raises(UsageError, match="same space"):
        other.restore(shot)


@pytest.mark.parametrize("name", POLICIES)
def test_drawing_changes_nothing_and_the_seed_decides(name):
    space = conditional_space()
    first, second = (make_policy(name, space, 4, SMALL[name]) for _ in range(2))
    for i in range(5):
        first.sample(stream(0, i, "p"))
    first.ascend([(space.sample(1), 0.2)])
    second.ascend([(space.sample(1), 0.2)])
    assert [first.sample(stream(0, i, "p")) for i in range(8)] == [second.sample(stream(0, i, "p")) for i in range(8)]


@pytest.mark.parametrize("name", POLICIES)
def test_wrong_input_is_named(name):
    space = conditional_space()
    with pytest.raises(UsageError, match=r"optimizer 'rmsprop'.*sgd, adam"):
        make_policy(name, space, 0, {"optimizer": "rmsprop"})
    with pytest.raises(UsageError, match="positive number, got lr=-1"):
        make_policy(name, space, 0, {"lr": -1})
    with pytest.raises(UsageError, match="depth"):
        make_policy(name, space, 0, {"depth": 3})
    with pytest.raises(UsageError, match="'no_such'"):
        make_policy(name, space, 0, {"allowed": {"no_such": [1]}})
    with pytest.raises(UsageError, match="cannot be 9"):
        make_policy(name, space, 0, {"allowed": {WIDTH: [9]}})
    with pytest.raises(UsageError, match="leaves nothing"):
        make_policy(name, space, 0, {"allowed": {WIDTH: []}})
    policy = make_policy(name, space, 0, SMALL[name])
    with pytest.raises(UsageError, match="finite"):
        policy.ascend([(space.sample(0), math.nan)])
    with pytest.raises(ArchitectureError, match="missing"):
        policy.log_probs([flat_space().sample(0)])


def test_an_unknown_policy_is_named():
    with pytest.raises(UsageError, match=r"'transformer'.*factorised, lstm"):
        make_policy("transformer", flat_space(), 0)


def test_torch_is_loaded_with_the_lstm_only():
    code = (
        "import sys; from searchitect.policies import make_policy; from searchitect.space import Layer, Space, one_of\n"
        "space = Space(Layer('toy.Net', {'a': one_of(1, 2)}))\n"
        "make_policy('factorised', space, 0); print('torch' in sys.modules)\n"
        "make_policy('lstm', space, 0); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_places_are_remembered_for_objects_not_for_what_looks_equal():
    """`1` and `True` are equal to Python, but only one of them is an option."""
    space = Space(Layer("toy.Net", {"width": one_of(1, 2, 3)}))
    policy = make_policy("factorised", space, 0)
    good = Architecture(space.fingerprint, {"width": 1})
    assert policy.log_probs([good, good]) == pytest.approx([-math.log(3)] * 2)
    with pytest.raises(ArchitectureError, match="True"):
        policy.log_probs([Architecture(space.fingerprint, {"width": True})])


def test_more_architectures_than_are_remembered_are_scored_right():
    space = flat_space()
    policy = uneven("factorised", space)
    everything = list(space.enumerate())
    many = [Architecture(space.fingerprint, dict(a.decisions)) for a in everything * (2200 // len(everything) + 1)]
    assert len(many) > 2 * RECENT
    expected = dict(zip(everything, (float(policy.log_probs([a])[0]) for a in everything), strict=True))
    assert policy.log_probs(many) == pytest.approx([expected[a] for a in many])
    assert len(policy.categories._recent) <= RECENT
