"""Successive halving and Hyperband: sizes, the order of rungs, and that nothing ever waits in vain."""

from collections import Counter

import pytest
from curves import FULL, best_full, failed, measured, search, table_space

from searchitect.errors import SpaceError, UsageError
from searchitect.records import PROMOTE, Fidelity, State, objectives
from searchitect.seeds import stream
from searchitect.strategies import Setting, Strategy, make_strategy
from searchitect.strategies.rungs import bracket_sizes


def setting(seed=0, fidelity=FULL, texts="max score"):
    return Setting(table_space(), objectives(texts), seed, fidelity)


def halving(seed=0, **options):
    return make_strategy("successive-halving", setting(seed), options)


def hyperband(seed=0, fidelity=FULL, **options):
    return make_strategy("hyperband", setting(seed, fidelity), options)


def test_the_brackets_are_those_of_table_1():
    """R = 81, eta = 3: n_i by Algorithm 1 of Li et al. 2017; r_i = 1, 3, 9, 27, 81 from the right."""
    assert [bracket_sizes(5, 3, s) for s in (4, 3, 2, 1, 0)] == [
        [81, 27, 9, 3, 1],
        [34, 11, 3, 1],
        [15, 5, 1],
        [8, 2],
        [5],
    ]


def test_one_turn_of_hyperband_proposes_table_1():
    strategy = hyperband(fidelity=Fidelity("table", 81))
    trials = []
    while strategy.brackets.begun < 6:
        (proposal,) = strategy.ask(1)
        trials.append(measured(len(trials), proposal))
        strategy.tell(trials[-1])
    trials.pop()  # the first of the next turn
    begun = Counter(t.proposal.fidelity.epochs for t in trials if t.proposal.origin != PROMOTE)
    promoted = Counter(t.proposal.fidelity.epochs for t in trials if t.proposal.origin == PROMOTE)
    assert begun == {1: 81, 3: 34, 9: 15, 27: 8, 81: 5}
    assert promoted == {3: 27, 9: 9 + 11, 27: 3 + 3 + 5, 81: 1 + 1 + 1 + 2}
    assert all(t.proposal.fidelity.horizon == (0 if t.proposal.fidelity.epochs == 81 else 81) for t in trials)


def test_a_rung_is_the_best_third_of_the_one_below_in_their_order():
    trials = search(halving(), epochs=27 + 18 + 18 + 18)
    assert [t.proposal.fidelity.epochs for t in trials] == [1] * 27 + [3] * 9 + [9] * 3 + [27]
    for epochs, count in ((1, 9), (3, 3), (9, 1)):
        here = [t for t in trials if t.proposal.fidelity.epochs == epochs]
        best = sorted(here, key=lambda t: (-t.value("score"), t.number))[:count]
        above = [t for t in trials if t.proposal.fidelity.epochs == epochs * 3]
        assert [t.proposal.parents for t in above] == [(t.number,) for t in best]
        assert [t.architecture for t in above] == [t.architecture for t in best]


@pytest.mark.parametrize("name", ["successive-halving", "hyperband"])
@pytest.mark.parametrize("workers", [1, 7, 50])
def test_failures_hold_nobody_up(name, workers):
    """Half of the trials fail, in the order of their ends: every bracket ends, and the top is reached."""
    strategy = make_strategy(name, setting())
    trials = search(strategy, epochs=3000, workers=workers, broken=lambda n: stream(0, n, "broken").below(2) == 0)
    top = [t for t in trials if t.proposal.fidelity.epochs == 27 and t.state is State.DONE]
    assert len(top) > 5
    running = [b for b in strategy.brackets.open if b.stage > 0 or b.issued == b.sizes[0]]
    assert all(b.queue or b.open for b in running)  # nobody waits for what has ended
    assert not strategy.brackets.owner


def test_a_bracket_of_failures_alone_is_over():
    strategy = halving()
    for number in range(27):
        (proposal,) = strategy.ask(1)
        strategy.tell(failed(number, proposal))
    assert strategy.brackets.open == []
    (proposal,) = strategy.ask(1)
    assert (proposal.origin, proposal.fidelity.epochs, strategy.brackets.begun) == ("sample", 1, 2)


def test_a_free_worker_gets_the_next_bracket_and_older_ones_go_first():
    strategy = halving()
    proposals = strategy.ask(40)  # 27 of one bracket, 13 of the next
    assert strategy.brackets.begun == 2
    for number, proposal in enumerate(proposals[:27]):
        strategy.tell(measured(number, proposal))
    following = strategy.ask(10)
    assert [p.origin for p in following] == [PROMOTE] * 9 + ["sample"]


def test_equivalents_in_a_rung_count_once():
    strategy = halving()
    proposals = strategy.ask(27)
    for number, proposal in enumerate(proposals):
        strategy.tell(measured(number, proposal, source=0 if number else None))
    promoted = [p for p in strategy.ask(9) if p.origin == PROMOTE]
    assert [p.parents for p in promoted] == [(0,)]


def test_what_the_inner_strategy_cannot_give_does_not_stop_the_rest():
    """An inner strategy that ends after ten: the bracket goes on with a third of those, then the error is raised."""
    strategy = halving(inner=f"{__name__}:Ten")
    trials = []
    with pytest.raises(SpaceError, match="no more"):
        strategy.ask(11)
    strategy = halving(inner=f"{__name__}:Ten")
    flying = strategy.ask(10)
    for number, proposal in enumerate(flying):
        trials.append(measured(number, proposal))
        strategy.tell(trials[-1])
        if number < 9:  # some have not ended: nothing can be said yet, and saying so changes nothing
            with pytest.raises(SpaceError, match="no more"):
                strategy.ask(1)
    for number in range(10, 17):
        (proposal,) = strategy.ask(1)
        trials.append(measured(number, proposal))
        strategy.tell(trials[-1])
    with pytest.raises(SpaceError, match="no more"):
        strategy.ask(1)
    assert [t.proposal.fidelity.epochs for t in trials] == [1] * 10 + [3] * 3 + [9] * 3 + [27]


class Ten(Strategy):
    def __init__(self, setting):
        self.random, self.asked = make_strategy("random", setting), 0

    def ask(self, n=1):
        if self.asked == 10:
            raise SpaceError("no more")
        self.asked += 1
        return self.random.ask(n)

    def tell(self, trial):
        self.random.tell(trial)


def test_brackets_of_hyperband_draw_different_architectures():
    strategy = hyperband()
    drawn = {rung: [p.architecture for p in inner.ask(5)] for rung, inner in strategy.brackets.inner.strategies.items()}
    assert len({tuple(a.to_json() for a in some) for some in drawn.values()}) == 4
    plain = make_strategy("random", setting())
    assert drawn[0] == [p.architecture for p in plain.ask(5)]  # the first begins with what random search would


@pytest.mark.parametrize("name", ["successive-halving", "hyperband"])
def test_it_finds_better_architectures_than_full_trainings_for_the_same_epochs(name):
    wins = 0
    for seed in range(20):
        plain = search(make_strategy("random", setting(seed)), epochs=810)
        mine = search(make_strategy(name, setting(seed)), epochs=810)
        wins += best_full(mine, 27) > best_full(plain, 27)
    assert wins >= 14, wins


def test_bad_options_are_named():
    for name in ("successive-halving", "hyperband"):
        with pytest.raises(UsageError, match="eta=0"):
            make_strategy(name, setting(), {"eta": 0})
        with pytest.raises(UsageError, match="brackets"):
            make_strategy(name, setting(), {"brackets": 2})
