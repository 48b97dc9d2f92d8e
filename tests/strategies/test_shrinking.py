"""Shrinking: the test against enumeration and simulation, what counts as evidence, cuts that hold and come back."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import nchypergeom_fisher

from searchitect.errors import UsageError
from searchitect.records import Cause, Failure, Fidelity, Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import derive
from searchitect.space import Layer, Space, integer, one_of, real
from searchitect.strategies import Setting, Strategy, make_strategy
from searchitect.strategies.odds import (
    BEST,
    BLOCK,
    Counts,
    Evidence,
    Option,
    Parts,
    common_odds,
    log_evidence,
    log_ratio,
    upper_odds,
)
from searchitect.strategies.shrinking import Journal, Shrinking
from searchitect.testing.strategy import StrategyContract

SPACE = Space(Layer("toy.Net", {f"n{i}": one_of("a", "b", "c", "d", name=f"n{i}") for i in range(6)}))
BAD = Option("n0", 1, "b")


def worth(architecture) -> float:
    """ "b" in n0 costs as much as everything else together; the rest is of equal worth."""
    chance = derive(5, repr(sorted(architecture.decisions.items()))) % 10_000 / 10_000
    return chance - 1.0 * (architecture.decisions["n0"] == "b")


def done(number, proposal, value, **more) -> Trial:
    return Trial(number, proposal, State.DONE, Measurement({"score": value, **more}))


def played(strategy, trials, value=worth, begin=0) -> list[Trial]:
    """Ask and tell; the trials."""
    found = []
    for number in range(begin, begin + trials):
        (proposal,) = strategy.ask(1)
        found.append(done(number, proposal, value(proposal.architecture)))
        strategy.tell(found[-1])
    return found


def made(inner="random", space=SPACE, texts="max score", seed=0, **more) -> Shrinking:
    return Shrinking(Setting(space, objectives(texts), seed), inner, **more)


class TestShrinkingRandom(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return Shrinking(setting)


class TestShrinkingEvolution(StrategyContract):
    def make(self, setting: Setting) -> Strategy:
        return Shrinking(setting, "regularized-evolution", {"population": 6, "sample": 2})


# -- the test ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odds", [0.1, 0.5, 1.0, 3.0])
def test_the_ratio_is_that_of_fishers_noncentral_hypergeometric(odds):
    for own, both in ((3, 0), (7, 2), (12, 4)):
        expected = [nchypergeom_fisher(16, own, 4, w).pmf(both) for w in (odds, 1.0)]
        found = log_ratio(Counts(16, own, 4, both), odds)
        assert found == pytest.approx(math.log(expected[0] / expected[1]), abs=1e-9)


def test_the_ratio_counts_arrangements():
    """All ways to have 2 of 5 trials among the best; each weighs ω for every best one that has the option."""
    weights = Counter()
    for best in itertools.combinations(range(5), 2):
        weights[sum(i < 3 for i in best)] += 1  # the first three have the option
    total = sum(count * 0.25**x for x, count in weights.items())
    for x, count in weights.items():
        expected = math.log((count * 0.25**x / total) / (count / 10))
        assert log_ratio(Counts(5, 3, 2, x), 0.25) == pytest.approx(expected)


@pytest.mark.parametrize("odds", [1.0, 1.5, 4.0])
def test_evidence_has_a_mean_of_at_most_one_where_an_option_is_not_worse(odds):
    mean = 0.0
    for x in range(5):
        mean += nchypergeom_fisher(16, 6, 4, odds).pmf(x) * math.exp(log_evidence([Counts(16, 6, 4, x)]))
    assert mean <= 1 + 1e-12
    assert odds > 1 or mean == pytest.approx(1.0)


def test_equals_are_rarely_called_losers_however_often_one_looks():
    """600 options that are as good as the others, looked at after each of 40 blocks: Ville's bound is 5 %."""
    draws, crossed = np.random.default_rng(0), 0
    for _ in range(600):
        owns = draws.integers(2, 9, size=40)
        blocks = [Counts(16, int(own), 4, int(draws.hypergeometric(own, 16 - own, 4))) for own in owns]
        crossed += any(log_evidence(blocks[:k]) > math.log(20) for k in range(1, 41))
    assert crossed <= 0.05 * 600
    assert crossed > 0


def test_the_odds_of_one_table_and_of_equal_ones():
    """a·d / (b·c) of the table 1, 5 / 3, 7; the same again leaves it."""
    one = Counts(16, 6, 4, 1)
    assert common_odds([one]) == pytest.approx(1 * 7 / (5 * 3))
    assert common_odds([one, one, one]) == pytest.approx(7 / 15)
    assert common_odds([Counts(16, 16, 4, 4)]) == math.inf


def test_the_upper_bound_is_where_the_evidence_reaches_the_threshold():
    blocks = [Counts(16, 5, 4, 0)] * 9 + [Counts(16, 5, 4, 1)]
    bound = upper_odds(blocks, math.log(20))
    assert common_odds(blocks) < bound < 1
    assert log_evidence(blocks, bound) == pytest.approx(math.log(20), abs=1e-6)
    assert upper_odds(blocks, math.log(2000)) > bound


# -- what counts ---------------------------------------------------------------------------------------


def test_numbers_are_looked_at_in_four_parts():
    space = Space(Layer("toy.Net", {"w": integer(1, 10, name="w"), "p": real(0.001, 10.0, log=True, name="p"),
                                    "k": one_of(7, 3, 5, name="k")}))  # fmt: skip
    width, real_one, kernel = (Parts(space.by_name[n]) for n in ("w", "p", "k"))
    assert [o.text for o in width.options] == ["1 to 2", "3 to 5", "6 to 7", "8 to 10"]
    assert [width.of(v) for v in (1, 2, 3, 5, 6, 7, 8, 10)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [o.text for o in real_one.options] == ["0.001 to 0.01", "0.01 to 0.1", "0.1 to 1", "1 to 10"]
    assert [real_one.of(v) for v in (0.001, 0.02, 0.5, 10.0)] == [0, 1, 2, 3]
    assert [o.text for o in kernel.options] == ["7", "3", "5"]
    assert kernel.of(3) == 1
    many = Space(Layer("toy.Net", {"x": one_of(*"abcdefghijklmnop", name="x")}))
    assert Parts(many.decisions[0]).options == ()


def trial(number, value="a", parents=(), origin="mutate", score=0.0, other="a", **more):
    chosen = dict.fromkeys((f"n{i}" for i in range(6)), other) | {"n0": value}
    proposal = Proposal(SPACE.architecture(chosen), Fidelity(), number, parents, 0, origin)
    return done(number, proposal, score) if not more else Trial(number, proposal, **more)


def counted(evidence, name="n0") -> int:
    return sum(len(block) for (n, _), block in evidence.open.items() if n == name)


def test_only_values_drawn_by_chance_count_and_inherited_ones_do_not():
    evidence = Evidence(SPACE, objectives("max score"))
    evidence.tell(trial(0, origin="sample"))
    assert counted(evidence) == counted(evidence, "n1") == 1
    evidence.tell(trial(1, "b", (0,)))  # n0 was mutated, n1 inherited
    assert (counted(evidence), counted(evidence, "n1")) == (2, 1)
    for number, origin in enumerate(("model", "enqueued", "start", "promote", "control", "screen"), 2):
        evidence.tell(trial(number, "c", origin=origin, other="b"))
    evidence.tell(trial(9, "c", (99,)))  # of a parent that nobody told of
    evidence.tell(trial(1, "b", (0,)))  # once more
    crash = Failure(Cause.KILLED, "the machine")
    evidence.tell(trial(10, "d", (0,), state=State.FAILED, failure=crash))
    assert counted(evidence) == 2
    evidence.tell(trial(11, "d", (0,), state=State.FAILED, failure=Failure(Cause.MEMORY, "too large")))
    assert counted(evidence) == 3


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        ("max score", lambda i, bad: {"score": i - 100 * bad}),
        ("min score", lambda i, bad: {"score": 100 * bad - i}),
        (("max score", "cost < 5"), lambda i, bad: {"score": i + 100 * bad, "cost": 9.0 * bad}),
        (("max score", "min cost"), lambda i, bad: {"score": i % 3 - 10.0 * bad, "cost": i % 5 + 10.0 * bad}),
    ],
)
def test_goals_limits_and_directions_decide_who_is_best(texts, numbers):
    evidence, rows = Evidence(SPACE, objectives(texts)), [(i, "b" if i % 2 else "a") for i in range(BLOCK)]
    for i, value in rows:
        chosen = dict.fromkeys((f"n{k}" for k in range(6)), "abcd"[i % 4]) | {"n0": value, "n1": "abcd"[i // 4]}
        proposal = Proposal(SPACE.architecture(chosen), Fidelity(), i, (), 0, "sample")
        evidence.tell(Trial(i, proposal, State.DONE, Measurement(numbers(i, value == "b"))))
    assert evidence.blocks[BAD] == [Counts(BLOCK, 8, BEST, 0)]
    assert evidence.blocks[Option("n0", 0, "a")] == [Counts(BLOCK, 8, BEST, BEST)]


def test_decisions_that_are_not_active_say_nothing_and_fidelities_do_not_mix():
    kernel = one_of(3, 5, name="kernel")
    space = Space(Layer("toy.Net", {"op": one_of(conv=Layer("toy.Conv", {"k": kernel}), skip=Layer("toy.Skip", {}))}))
    evidence = Evidence(space, objectives("max score"))
    for number, (chosen, epochs) in enumerate([({"op": "skip"}, 1), ({"op": "conv", "op.conv.kernel": 3}, 1),
                                               ({"op": "conv", "op.conv.kernel": 5}, 3)]):  # fmt: skip
        proposal = Proposal(space.architecture(chosen), Fidelity("train", epochs), number, (), 0, "sample")
        evidence.tell(done(number, proposal, 1.0))
    assert {(name, f.epochs): len(b) for (name, f), b in evidence.open.items()} == {
        ("op", 1): 2, ("op.conv.kernel", 1): 1, ("op", 3): 1, ("op.conv.kernel", 3): 1,
    }  # fmt: skip


# -- cuts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inner", "trials"), [("random", 400), ("regularized-evolution", 1500), ("local-search", 900)])
def test_a_bad_option_is_cut_and_never_proposed_again(inner, trials):
    strategy = made(inner)
    found = played(strategy, trials)
    cuts = [c for c in strategy.changes if c.kind == "cut"]
    assert [c.option for c in cuts] == [BAD]
    assert cuts[0].odds < 0.5
    assert cuts[0].upper < 1
    after = [t for t in found if t.proposal.events >= cuts[0].event]
    assert len(after) > 50
    assert not any(t.architecture.decisions["n0"] == "b" for t in after)


def test_where_nothing_matters_nothing_is_cut():
    for seed in range(4):
        strategy = made(seed=seed)
        played(strategy, 300, lambda a: derive(7, repr(sorted(a.decisions.items()))) % 1000)
        assert strategy.changes == []


def test_a_small_space_keeps_its_options_and_the_users_architectures_are_not_touched():
    small = Space(Layer("toy.Net", {f"n{i}": one_of("a", "b", "c", "d", name=f"n{i}") for i in range(4)}))
    strategy = made(space=small)
    played(strategy, 400)
    assert strategy.changes == []  # 256 architectures, 192 would be left
    assert log_evidence(strategy.evidence.blocks[BAD]) > strategy.threshold
    strategy = made()
    played(strategy, 400)
    banned = SPACE.architecture(dict.fromkeys((f"n{i}" for i in range(6)), "b"))
    strategy.tell(done(400, Proposal(banned, origin="enqueued"), 1.0))
    assert len(played(strategy, 3, begin=401)) == 3


def test_a_replay_repeats_what_was_written_and_decides_nothing():
    strategy = made()
    found = played(strategy, 300)
    (change,) = strategy.changes
    later = change._replace(event=change.event + 50)  # as if it had been decided later
    for past, same in (([change], True), ([later], False)):
        again, proposals = made(journal=Journal(past, 2 * 300)), []
        for one in found[:200] if same else found[: change.event // 2 + 10]:
            proposals.append(again.ask(1)[0])
            again.tell(msg(one, proposals[-1]))
        assert (proposals == [t.proposal for t in found[: len(proposals)]]) == same
        assert again.changes == ([change] if same else [])


def msg(trial, proposal):
    return Trial(trial.number, proposal, trial.state, trial.measurement)


def test_what_the_user_takes_back_is_proposed_again_and_not_cut_anew():
    strategy = made()
    played(strategy, 300)
    (change,) = strategy.changes
    heard = []
    for wish in (("n0", "b"), None):
        again = made(journal=Journal([change], 600, {600: [wish]}, heard.append))
        played(again, 300)
        assert again.cut == {}
        assert [c.kind for c in again.changes] == ["cut", "back"]
        after = played(again, 200, begin=300)
        assert any(t.architecture.decisions["n0"] == "b" for t in after)
        assert (again.on, again.cut) == (wish is not None, {})
    assert [c.kind for c in heard] == ["cut", "back"] * 2


def test_when_nothing_new_is_left_all_comes_back(monkeypatch):
    monkeypatch.setattr("searchitect.strategies.shrinking.ROOM", 0)
    monkeypatch.setattr("searchitect.strategies.shrinking.EACH", 0)
    small = Space(Layer("toy.Net", {f"n{i}": one_of("a", "b", "c", "d", name=f"n{i}") for i in range(4)}))
    strategy = made("exhaustive", small)
    found = played(strategy, 200)
    assert strategy.cut == {"n0": frozenset({1})}
    with pytest.raises(Exception, match="exhausted"):
        found += played(strategy, 200, begin=200)
    assert [c.kind for c in strategy.changes] == ["cut", "back"]


def test_candidates_made_before_a_cut_are_let_go():
    """A strategy that has its proposals in store: those with the option are skipped, and counted by nobody."""
    strategy = made()
    strategy.inner = Stored(strategy.setting)
    strategy._apply(made_change())
    found = [strategy.ask(1)[0] for _ in range(20)]
    assert not any(p.architecture.decisions["n0"] == "b" for p in found)
    assert [p.draw for p in found] == list(range(20))
    assert strategy.inner.told == [State.PRUNED] * (strategy.inner.draws - 20)
    assert strategy.inner.told


def made_change():
    from searchitect.strategies.shrinking import Change

    return Change(0, "cut", BAD, 40, 0, 0.1, 0.9)


class Stored(Strategy):
    """Random draws that do not ask whether they are feasible."""

    def __init__(self, setting: Setting) -> None:
        self.other = make_strategy("random", setting._replace(feasible=None))
        self.told, self.draws = [], 0

    def ask(self, n=1):
        self.draws += n
        return self.other.ask(n)

    def tell(self, trial):
        self.told.append(trial.state)


def test_wrong_options_are_named():
    with pytest.raises(UsageError, match=r"confidence=1\.5"):
        made(confidence=1.5)
    with pytest.raises(UsageError, match="population_size"):
        made("regularized-evolution", inner_options={"population_size": 3})
    with pytest.raises(UsageError, match="whose space is to shrink"):
        made("searchitect.strategies.shrinking:Shrinking")
