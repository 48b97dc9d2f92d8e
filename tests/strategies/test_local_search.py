"""Local search against its definition, on landscapes small enough to be walked by hand."""

import pytest

from searchitect.errors import SpaceError, UsageError
from searchitect.records import Cause, Failure, Measurement, Proposal, State, Trial, objectives
from searchitect.space import Layer, Space, integer, lazy, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.testing.strategy import toy_space, toy_value


def line(n=20):
    """A row of numbers; neighbours are one step apart."""
    return Space(Layer("toy.Net", {"x": integer(0, n - 1), "y": one_of("a", "b")}))


def grid():
    """Five decisions of four options without an order: 15 neighbours each."""
    return Space(Layer("toy.Net", {f"x{i}": one_of("a", "b", "c", "d") for i in range(5)}))


def made(space, texts="max score", seed=0, **options):
    setting = {k: options.pop(k) for k in ("start", "feasible") if k in options}
    return make_strategy("local-search", Setting(space, objectives(texts), seed, **setting), options)


def run(strategy, rounds, score):
    trials = []
    for number in range(rounds):
        (proposal,) = strategy.ask(1)
        measured = Measurement({"score": float(score(proposal.architecture.decisions))})
        trials.append(Trial(number, proposal, State.DONE, measurement=measured))
        strategy.tell(trials[-1])
    return trials


def differ(a, b):
    return sum(a.decisions[n] != b.decisions[n] for n in a.decisions)


def total(decisions):
    return sum("abcd".index(value) for value in decisions.values())


def test_first_improvement_moves_at_once():
    trials = run(made(grid(), distinct="identical"), 200, total)
    for trial in trials:
        if trial.proposal.origin != "neighbour":
            continue
        (parent,) = trial.proposal.parents
        assert differ(trial.architecture, trials[parent].architecture) == 1
    second = next(t.number for t in trials[1:] if t.proposal.origin == "sample")
    centre = 0
    for trial in trials[1:second]:
        if trial.proposal.parents != (centre,):  # moved: to the one that was better
            assert trials[trial.proposal.parents[0]].value("score") > trials[centre].value("score")
            centre = trial.proposal.parents[0]
    assert trials[centre].value("score") == 15  # the only local optimum of a sum
    first = next(t.number for t in trials[1:] if t.value("score") > trials[0].value("score"))
    assert trials[first + 1].proposal.parents == (first,)


def test_best_improvement_looks_at_the_whole_neighbourhood_first():
    trials = run(made(grid(), move="best", distinct="identical"), 60, total)
    around = [t for t in trials[1:] if t.proposal.parents == (0,)]
    assert len(around) == 15  # 5 decisions, 3 other values each
    assert [t.number for t in around] == list(range(1, 16))
    best = max(around, key=lambda t: (t.value("score"), -t.number))
    assert trials[16].proposal.parents == (best.number,)


def test_a_walk_ends_at_a_local_optimum_and_another_begins():
    trials = run(made(line(), distinct="identical"), 38, lambda d: -abs(d["x"] - 7) % 13)
    restarts = [t.number for t in trials if t.proposal.origin == "sample"]
    assert len(restarts) > 1
    for number in restarts[1:]:
        began = restarts[restarts.index(number) - 1]
        centre = max(trials[began:number], key=lambda t: t.value("score"))
        known = {t.architecture for t in trials[:number]}
        assert all(a in known for a in line().neighbours(centre.architecture))


@pytest.mark.parametrize("move", ["first", "best"])
def test_nothing_is_proposed_twice_and_the_end_is_said(move):
    strategy = made(line(), move=move, distinct="identical")
    trials = run(strategy, 40, lambda d: d["x"] * 7 % 5)
    assert len({t.architecture for t in trials}) == 40
    with pytest.raises(SpaceError, match="exhausted"):
        strategy.ask(1)


def test_an_equivalent_is_not_proposed_but_walked_through():
    """A sum of three parts: only which activations occur how often matters: 10 functions of 27 architectures."""
    import torch.nn

    from searchitect import nets

    L, M = lazy(torch.nn), lazy(nets)
    space = Space(M.Branches(*[one_of(L.ReLU(), L.Tanh(), L.Sigmoid()) for _ in range(3)]))
    strategy = made(space)
    trials = run(strategy, 10, lambda d: list(d.values()).count("Tanh"))
    assert len({space.key(t.architecture) for t in trials}) == 10
    with pytest.raises(SpaceError, match="exhausted"):
        strategy.ask(1)


def test_a_known_better_neighbour_moves_the_walk_without_being_asked_again():
    space = line()
    strategy = made(space, distinct="identical", start=(space.architecture({"x": 5, "y": "a"}),))
    better = space.architecture({"x": 6, "y": "a"})
    strategy.tell(Trial(0, Proposal(better), State.DONE, measurement=Measurement({"score": 6.0})))
    (start,) = strategy.ask(1)
    strategy.tell(Trial(1, start, State.DONE, measurement=Measurement({"score": 5.0})))
    (following,) = strategy.ask(1)
    assert following.parents == (0,)
    assert differ(following.architecture, better) == 1
    assert following.architecture != start.architecture


def test_several_in_flight_begin_more_walks_and_late_answers_still_count():
    space = grid()
    strategy = made(space, distinct="identical")
    out = strategy.ask(4)
    assert [p.origin for p in out] == ["sample"] * 4  # nobody knows a centre yet
    for number in (2, 0, 3):
        score = float(total(out[number].architecture.decisions))
        strategy.tell(Trial(number, out[number], State.DONE, measurement=Measurement({"score": score})))
    best = max((0, 2, 3), key=lambda i: total(out[i].architecture.decisions))
    more = strategy.ask(15)
    assert {p.parents for p in more} == {(best,)}
    strategy.tell(Trial(1, out[1], State.DONE, measurement=Measurement({"score": 99.0})))
    assert strategy.ask(1)[0].parents == (1,)


def test_a_failed_neighbour_is_passed_over():
    space = line()
    strategy = made(space, distinct="identical")
    (start,) = strategy.ask(1)
    strategy.tell(Trial(0, start, State.DONE, measurement=Measurement({"score": 0.0})))
    for number in range(1, 4):
        (proposal,) = strategy.ask(1)
        if proposal.origin == "sample":
            break
        assert proposal.parents == (0,)
        strategy.tell(Trial(number, proposal, State.FAILED, failure=Failure(Cause.MEMORY, "too large")))
    else:
        assert strategy.ask(1)[0].origin == "sample"


def test_perturbation_begins_near_the_best():
    space = Space(Layer("toy.Net", {f"x{i}": one_of("a", "b", "c", "d") for i in range(12)}))
    trials = run(made(space, restart="perturb", kick=2, distinct="identical"), 400, total)
    kicked = [t for t in trials if t.proposal.origin == "perturb"]
    assert kicked
    for trial in kicked:
        (best,) = trial.proposal.parents
        before = trials[: trial.number]
        assert trials[best].value("score") == max(t.value("score") for t in before)
        assert differ(trial.architecture, trials[best].architecture) <= 8


def test_limits_come_first():
    space, texts = grid(), ("max score", "cost < 6")
    strategy = made(space, texts, distinct="identical")
    for number in range(120):
        (proposal,) = strategy.ask(1)
        value = float(total(proposal.architecture.decisions))
        metrics = {"score": value, "cost": value}
        strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement(metrics)))
    assert strategy.best.fitness == (0.0, (-5.0,))


def test_with_several_goals_walks_have_different_weights():
    strategy, weights = made(grid(), ("max score", "min cost"), distinct="identical"), []
    for number in range(150):
        (proposal,) = strategy.ask(1)
        values = ["abcd".index(v) for v in proposal.architecture.decisions.values()]
        metrics = {"score": float(sum(values)), "cost": float(sum(v * v for v in values))}
        strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement(metrics)))
        if proposal.origin == "sample":
            weights.append(strategy.climbs[-1].weights)
    assert len(set(weights)) == len(weights) > 1
    assert all(sum(w) == pytest.approx(1.0) for w in weights)


def test_it_beats_random_search_on_the_toy():
    def best_of(name, seed):
        strategy, best = make_strategy(name, Setting(toy_space(), objectives("max score"), seed)), -1.0
        for number in range(60):
            (proposal,) = strategy.ask(1)
            value = toy_value(proposal.architecture)
            best = max(best, value)
            strategy.tell(Trial(number, proposal, State.DONE, measurement=Measurement({"score": value})))
        return best

    pairs = [(best_of("local-search", s), best_of("random", s)) for s in range(20)]
    assert sum(a > b for a, b in pairs) >= sum(a < b for a, b in pairs) + 8


def test_bad_options_are_named():
    for options in ({"move": "any"}, {"restart": "never"}, {"kick": 0}):
        with pytest.raises(UsageError, match="local search: move is"):
            made(grid(), **options)
