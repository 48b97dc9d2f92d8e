"""NSGA-II: who survives, who is drawn, what children are; and that it finds fronts."""

import pytest

from searchitect.errors import UsageError
from searchitect.records import Measurement, Proposal, State, Trial, objectives
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.pareto import best_first, hypervolume, ranks
from searchitect.testing.strategy import toy_space

TWO = ("min a", "min b")


def digits(n=8):
    return Space(Layer("toy.Net", {f"x{i}": one_of(0, 1, 2, 3) for i in range(n)}))


def made(space, texts=TWO, seed=0, start=(), **options):
    return make_strategy("nsga2", Setting(space, objectives(texts), seed, start=start), options)


def told(number, space, **metrics):
    return Trial(number, Proposal(space.sample(number)), State.DONE, measurement=Measurement(metrics))


def two_goals(architecture):
    """Many threes are good for a, many zeros for b; the rest is bad for both."""
    values = list(architecture.decisions.values())
    a, b = sum((v - 3) ** 2 for v in values), sum(v**2 for v in values)
    return {"a": float(a), "b": float(b + 5 * values.count(1))}


def run(strategy, rounds, measure=two_goals):
    trials = []
    for number in range(rounds):
        (proposal,) = strategy.ask(1)
        trials.append(
            Trial(number, proposal, State.DONE, measurement=Measurement(measure(proposal.architecture)))
        )  # fmt: skip
        strategy.tell(trials[-1])
    return trials


def test_the_best_of_parents_and_children_live_on():
    """In generations: after each, exactly the first by front and crowding of parents and children together."""
    space = digits()
    strategy = made(space, population=6, children=5)
    pool, source = [], stream(0, 0, "values")
    for number in range(60):
        trial = told(number, space, a=float(source.below(50)), b=float(source.below(50)))
        strategy.tell(trial)
        pool.append((number, (0.0, (trial.value("a"), trial.value("b")))))
        if number % 5 == 4:
            pool = [pool[i] for i in best_first([fitness for _, fitness in pool])[:6]]
            assert [m.number for m in strategy.parents] == [n for n, _ in pool]
            assert [place[0] for place in strategy.places] == sorted(ranks([f for _, f in pool]))


def test_steady_state_drops_the_worst_of_the_last_front_one_by_one():
    space = digits()
    strategy, again = made(space, population=5), []
    source = stream(1, 0, "values")
    for number in range(80):
        trial = told(number, space, a=float(source.below(30)), b=float(source.below(30)))
        strategy.tell(trial)
        again.append((number, (0.0, (trial.value("a"), trial.value("b")))))
        fronts = ranks([fitness for _, fitness in again])
        order = best_first([fitness for _, fitness in again])
        again = [again[i] for i in order[:5]]
        kept = {m.number for m in strategy.parents}
        # the shortcut for a child behind the last front leaves crowding as it was; the fronts are the same
        assert len(kept) == len(again)
        if max(fronts) == 0 or number < 5:
            again = [(m.number, m.fitness) for m in strategy.parents]
        assert sorted(ranks([m.fitness for m in strategy.parents])) == sorted(ranks([f for _, f in again]))
        again = [(m.number, m.fitness) for m in strategy.parents]


def test_a_feasible_member_outlives_every_infeasible_one():
    space = digits()
    strategy = made(space, (*TWO, "c < 10"), population=3)
    for number, (a, b, c) in enumerate([(0, 0, 12), (9, 9, 1), (0, 0, 11), (8, 9, 1), (0, 0, 50), (9, 8, 1)]):
        strategy.tell(told(number, space, a=float(a), b=float(b), c=float(c)))
    assert {m.number for m in strategy.parents} == {3, 5, 2} or {m.number for m in strategy.parents} == {1, 3, 5}
    assert all(m.fitness[0] == 0 for m in strategy.parents)


def test_the_tournament_is_binary():
    """With n members the best wins unless it is not drawn: 1 - (1 - 1/n)²."""
    space = digits()
    strategy = made(space, ("max score",), population=10)
    for number in range(10):
        strategy.tell(told(number, space, score=float(number)))
    wins = sum(strategy._tournament(stream(0, i, "t")).number == 9 for i in range(4000))
    chance = 1 - 0.9**2
    assert abs(wins / 4000 - chance) < 4 * (chance * (1 - chance) / 4000) ** 0.5


@pytest.mark.parametrize("crossover", ["uniform", "one-point", "two-point"])
def test_children_take_their_decisions_from_their_parents(crossover):
    trials = run(made(digits(12), crossover=crossover, population=8, cross=1.0, mutation=0.0), 150)
    crossed = [t for t in trials if t.proposal.origin == "cross"]
    assert len(crossed) > 100
    foreign = []
    for trial in crossed:
        a, b = (trials[i].architecture.decisions for i in trial.proposal.parents)
        foreign.append(sum(value not in (a[n], b[n]) for n, value in trial.architecture.decisions.items()))
    assert max(foreign) <= 3  # mutated where the mixture was not new
    assert foreign.count(0) > len(foreign) / 2


def test_nothing_is_proposed_twice_while_something_new_is_left():
    space = digits(4)  # 256 architectures
    found = [t.architecture for t in run(made(space, population=10), 256)]
    assert len(set(found)) == 256
    repeated = [t.architecture for t in run(made(space, population=10, distinct="off"), 256)]
    assert len(set(repeated)) < 256


def test_the_start_is_part_of_the_first_population():
    space = digits()
    start = tuple(space.sample(i) for i in range(3))
    trials = run(made(space, start=start, population=6), 12)
    assert [t.proposal.origin for t in trials[:6]] == ["start"] * 3 + ["sample"] * 3
    assert {t.proposal.origin for t in trials[6:]} <= {"cross", "mutate"}


@pytest.mark.parametrize("texts", [TWO, (*TWO, "c < 12")])
def test_it_covers_more_of_the_front_than_random_search(texts):
    def measure(architecture):
        values = list(architecture.decisions.values())
        return two_goals(architecture) | {"c": float(sum(values))}

    def volume(name, seed):
        setting = Setting(digits(), objectives(texts), seed)
        trials = run(make_strategy(name, setting), 150, measure)
        kept = [t for t in trials if t.value("c") < 12 or len(texts) == 2]
        return hypervolume([(t.value("a"), t.value("b")) for t in kept], (80.0, 90.0))

    pairs = [(volume("nsga2", seed), volume("random", seed)) for seed in range(12)]
    assert sum(ours > theirs for ours, theirs in pairs) >= 11


def test_one_goal_works_too():
    trials = run(made(digits(), ("max score",)), 200, lambda a: {"score": float(sum(a.decisions.values()))})
    assert max(t.value("score") for t in trials) >= 23


def test_bad_options_are_named():
    for options, words in [
        ({"population": 1}, "population >= 2"), ({"children": 0}, "children >= 1"), ({"cross": 1.5}, "from 0 to 1"),
        ({"crossover": "three-point"}, "uniform, one-point, two-point"), ({"distinct": "same"}, "'identical'"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=words):
            made(toy_space(), **options)
