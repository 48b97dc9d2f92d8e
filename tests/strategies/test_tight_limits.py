"""Limits that hardly any random architecture keeps."""

import math

import pytest

from searchitect.errors import SpaceError
from searchitect.records import Fidelity, Measurement, State, Trial, objectives
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import STRATEGIES, Setting, make_strategy
from searchitect.strategies.base import DRAWS, led_to_limits
from searchitect.strategies.seen import Seen, unseen

WIDTHS = (1, 2, 4, 8, 16, 32)
SPACE = Space(Layer("torch.nn.Sequential", {"*": tuple(Layer("toy.A", {"w": one_of(*WIDTHS)}) for _ in range(20))}))


def weight(architecture):
    return sum(int(v) for v in architecture.decisions.values())


def setting(most, **more):
    """Architectures whose widths add up to at most `most`: of random ones (mean 210, deviation 48) none below 46."""
    excess = lambda a: max(0.0, weight(a) / most - 1)  # noqa: E731
    goals = objectives("max score")
    return Setting(SPACE, goals, 5, Fidelity("function", 1), lambda a: excess(a) == 0, excess=excess, **more)


def test_random_draws_find_none():
    assert min(weight(SPACE.sample(stream(0, i, "test"))) for i in range(3000)) > 45


# The one left out walks through the space, the other takes seconds for a proposal.
@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"exhaustive", "optuna-gp"}))
def test_every_strategy_proposes_what_keeps_them(name):
    strategy = make_strategy(name, setting(45))
    found = {p.architecture for p in strategy.ask(6)}
    assert all(weight(a) <= 45 for a in found)
    assert len(found) >= 4


def test_new_ones_are_found_again_and_again():
    seen, tight = Seen(SPACE, "identical"), setting(45)
    found = [unseen(tight, seen, stream(1, i, "test")) for i in range(30)]
    assert len(set(found)) == 30
    assert all(weight(a) <= 45 for a in found)


@pytest.mark.parametrize("name", ["gaussian-process", "bananas", "nas-bowl"])
def test_models_learn_where_only_mutations_find_what_keeps_them(name):
    strategy, found = make_strategy(name, setting(45), {"initial" if name[0] == "g" else "startup": 4}), []
    for number in range(8):
        (proposal,) = strategy.ask(1)
        found.append(proposal)
        values = {"score": -float(weight(proposal.architecture))}
        strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement(values)))
    assert {p.origin for p in found[4:]} == {"model"}
    assert all(weight(p.architecture) <= 45 for p in found)
    assert len({p.architecture for p in found}) == 8


def test_what_nothing_keeps_is_still_said():
    for name in ("random", "regularized-evolution", "gaussian-process"):
        with pytest.raises(SpaceError, match="almost empty"):
            make_strategy(name, setting(19)).ask(1)  # twenty widths of at least 1


def test_a_small_space_whose_few_feasible_ones_were_all_proposed_is_exhausted():
    """Five of 1,296 keep the limit: not empty, though random draws find nothing else than what breaks it."""
    edges = tuple(Layer("toy.A", {"w": one_of(*range(1, 7))}) for _ in range(4))
    space = Space(Layer("toy.Net", {"edges": edges}))
    some = Setting(space, objectives("max score"), 0, feasible=lambda a: weight(a) <= 5)
    strategy = make_strategy("random", some, {"replacement": False})
    assert len({p.architecture for p in strategy.ask(5)}) == 5
    with pytest.raises(SpaceError, match="exhausted: all"):
        strategy.ask(1)
    none = make_strategy("random", some._replace(feasible=lambda a: weight(a) < 4), {"replacement": False})
    with pytest.raises(SpaceError, match="almost empty"):
        none.ask(1)


def test_a_step_is_never_farther_from_the_limits(monkeypatch):
    changed = []
    mutate = Space.mutate

    def recorded(space, architecture, source):
        changed.append(weight(architecture))
        return mutate(space, architecture, source)

    monkeypatch.setattr(Space, "mutate", recorded)
    source = stream(3, 0, "test")
    found = led_to_limits(setting(40), source, SPACE.sample(source))
    assert weight(found) <= 40 < changed[-1]
    assert changed == sorted(changed, reverse=True)
    assert changed[0] > 3 * changed[-1]


def test_what_leads_nowhere_ends():
    source = stream(3, 0, "test")
    architecture = SPACE.sample(source)
    nothing = setting(40)._replace(feasible=lambda _: False, excess=lambda _: math.inf)
    assert led_to_limits(nothing, source, architecture) is None
    assert led_to_limits(setting(40)._replace(excess=None), source, architecture) is None
    single = Space(Layer("torch.nn.Identity", {}))
    alone = nothing._replace(space=single)
    assert led_to_limits(alone, source, single.sample(source)) is None


@pytest.mark.parametrize("name", ["random", "regularized-evolution", "local-search", "gaussian-process"])
def test_what_else_makes_an_architecture_infeasible_counts_beside_the_limits(name):
    """No distance to the limits is not enough: a screen, or a learned bound on memory, may refuse it all the same."""
    loose = setting(10_000)._replace(feasible=lambda a: a.decisions["0.w"] == 4)
    assert all(p.architecture.decisions["0.w"] == 4 for p in make_strategy(name, loose).ask(12))


def test_a_walk_may_go_sideways():
    """Two widths must both be 1, which no single mutation of the start gives."""
    start = SPACE.architecture(dict.fromkeys(SPACE.by_name, 32))
    first, second = [d.name for d in SPACE.decisions[:2]]
    apart = lambda a: float((a.decisions[first], a.decisions[second]) != (1, 1))  # noqa: E731
    both = Setting(SPACE, objectives("max score"), 0, feasible=lambda a: apart(a) == 0.0, excess=apart)
    assert led_to_limits(both, stream(2, 0, "test"), start) is not None


def test_the_nearest_of_the_draws_is_led():
    asked = []

    def excess(architecture):
        asked.append(weight(architecture))
        return max(0.0, asked[-1] / 45 - 1)

    made = Setting(SPACE, objectives("max score"), 0, feasible=lambda a: weight(a) <= 45, excess=excess)
    assert weight(make_strategy("random", made).ask(1)[0].architecture) <= 45
    assert asked[DRAWS] == min(asked[:DRAWS])


def test_what_the_walks_find_again_is_not_new():
    seen, single = Seen(SPACE, "identical"), setting(20)  # only twenty widths of 1
    assert weight(unseen(single, seen, stream(1, 0, "test"))) == 20
    with pytest.raises(SpaceError, match="exhausted: the last 260 random"):
        unseen(single, seen, stream(1, 1, "test"))
