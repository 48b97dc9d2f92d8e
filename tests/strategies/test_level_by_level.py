"""Level by level: turns, what is held in them, and what they find in a space with levels."""

import pytest

from searchitect.errors import UsageError
from searchitect.records import Measurement, Proposal, State, Trial, objectives
from searchitect.space import Layer, Space, named, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.testing.strategy import toy_space


def nested() -> Space:
    """Two macro decisions, two stages of two, and a cell of four in each."""

    def stage(name):
        cell = Layer("toy.Cell", {f"op{i}": one_of(*"abcd") for i in range(4)})
        inside = {"cell": named("cell", cell), "width": one_of(8, 16, 32), "stride": one_of(1, 2)}
        return named(name, Layer("toy.Stage", inside))

    macro = {"depth": one_of(1, 2, 3, 4), "act": one_of("relu", "gelu"), "s0": stage("s0"), "s1": stage("s1")}
    return Space(Layer("toy.Net", macro))


SPACE = nested()
BEST = {d.name: d.labels[-1] for d in SPACE.decisions}


def worth(architecture) -> float:
    return float(sum(BEST[name] == value for name, value in architecture.decisions.items()))


def made(space=SPACE, **options):
    return make_strategy("level-by-level", Setting(space, objectives("max score"), 0), options)


def played(strategy, trials, value=worth, turns=None):
    """Ask and tell; the proposals. `turns` gets the number of the turn of each."""
    proposals = []
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        proposals.append(proposal)
        if turns is not None:
            turns.append(-1 if strategy.turn is None else strategy.turn.number)
        strategy.tell(Trial(number, proposal, State.DONE, Measurement({"score": value(proposal.architecture)})))
    return proposals


def test_levels_follow_the_nesting_of_names_or_patterns():
    strategy = made()
    assert [sorted(level)[:2] for level in strategy.levels] == [
        ["act", "depth"], ["s0.stride", "s0.width"], ["s0.cell.op0", "s0.cell.op1"],
    ]  # fmt: skip
    mine = made(levels=[["*.op*"], ["depth", "*.width"], ["*"]], trials=[5, 7, 9])
    assert [len(level) for level in mine.levels] == [8, 3, 3]
    assert mine.trials == [5, 7, 9]


@pytest.mark.parametrize("inner", ["random", "local-search", "regularized-evolution"])
def test_in_a_turn_only_one_level_differs_from_the_best_at_its_beginning(inner):
    strategy, turns = made(inner=inner, initial=6, trials=[4, 5, 6]), []
    proposals = played(strategy, 51, turns=turns)
    assert {p.origin for p in proposals[:6]} == {"sample"}
    assert turns[:21] == [-1] * 6 + [0] * 4 + [1] * 5 + [2] * 6
    for turn in range(max(turns) + 1):
        begin = turns.index(turn) if turn in turns else 0
        best = max(proposals[:begin], key=lambda p: (worth(p.architecture), -p.draw), default=None)
        for proposal in (p for p, number in zip(proposals, turns, strict=True) if number == turn):
            changed = {n for n, v in proposal.architecture.decisions.items() if best.architecture.decisions[n] != v}
            assert changed <= strategy.levels[turn % 3]
    assert [p.draw for p in proposals] == list(range(51))


def test_a_separable_goal_is_found_level_by_level():
    """16 decisions, 4 · 2 · 6² · 4⁸ = 19 million architectures: the best one within 200 trials."""
    assert SPACE.size.finite == 4 * 2 * 6**2 * 4**8
    found = max(map(worth, (p.architecture for p in played(made(), 200))))
    assert found == len(SPACE.decisions) == 14


def test_the_inner_strategy_is_told_what_lies_in_its_part():
    strategy = made(inner="regularized-evolution", initial=5, trials=10)
    played(strategy, 5 + 10)
    strategy.ask(1)
    turn = strategy.turn
    inside = [t for t in strategy.told if turn.below(t.architecture) is not None]
    assert len(turn.inner.living) == min(len(inside), 10) > 0
    assert all(m.architecture.space == turn.part.fingerprint for m in turn.inner.living)
    stranger = turn.part.whole(turn.part.sample(9))
    strategy.tell(Trial(99, Proposal(stranger, origin="enqueued"), State.DONE, Measurement({"score": 1.0})))
    assert turn.inner.living[-1].number == 99


def test_decisions_that_become_active_are_free():
    """A level above may bring in decisions of a level below that the best architecture does not have."""
    space = toy_space(finite=True)
    strategy = make_strategy("level-by-level", Setting(space, objectives("max score"), 1), {"initial": 1, "trials": 40})
    for proposal in played(strategy, 160, lambda a: float(len(a.decisions))):
        space.validate(proposal.architecture)
    assert strategy.best[0][1] == (-max(float(len(a.decisions)) for a in space.enumerate()),)


def test_when_a_level_has_nothing_new_the_next_one_begins():
    strategy = made(inner="exhaustive", initial=2, trials=30)  # the first level has 8 architectures
    proposals = played(strategy, 60)
    assert strategy.turn.number % 3 == 2 or strategy.turns > 2
    assert len({p.architecture for p in proposals}) > 40


def test_wrong_options_are_named():
    for options, message in (
        ({"inner": "level-by-level"}, "name the strategy that searches a level"),
        ({"levels": [["depth"]]}, "is in none of them"),
        ({"levels": [["*"], ["nothing*"]]}, "fits no decision of this space"),
        ({"levels": "depth"}, "write a list of lists"),
        ({"trials": [3]}, "one for each of 3 levels"),
        ({"initial": 0}, "initial=0"),
        ({"inner_options": {"kik": 3}}, "kik"),
    ):
        with pytest.raises(UsageError, match=message):
            made(**options)


def test_a_level_that_was_searched_to_its_end_is_passed_by_until_another_is_best(monkeypatch):
    begun, small = [], Space(Layer("toy.Net", {"a": one_of(1, 2, 3), "in": Layer("toy.In", {"b": one_of(*range(9))})}))
    hold = Space.hold
    monkeypatch.setattr(Space, "hold", lambda space, held: begun.append(held) or hold(space, held))
    strategy = made(small, initial=2, trials=50)
    proposals = played(strategy, 60, lambda a: float(sum(a.decisions.values())))
    assert strategy.best[2].decisions == {"a": 3, "in.b": 8}
    assert len(begun) == len(strategy.dry) < 8
    assert {p.origin for p in proposals[40:]} == {"sample"}
