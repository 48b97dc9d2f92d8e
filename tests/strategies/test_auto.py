"""`auto` chooses by the size of the space, the number of trials and the goals, and says why."""

import pytest

from searchitect.records import objectives
from searchitect.space import Layer, Space, one_of, real
from searchitect.strategies import Setting, make_strategy
from searchitect.strategies.auto import choose

ONE, TWO = objectives("accuracy"), objectives(["accuracy", "params", "latency_ms < 2"])


def space(decisions, options=5, **more):
    kinds = {f"d{i}": one_of(*(f"o{j}" for j in range(options))) for i in range(decisions)}
    return Space(Layer("t.Net", {**kinds, **more}))


@pytest.mark.parametrize(
    ("architectures", "trials", "goals", "name", "said"),
    [
        (space(6), 100, ONE, "gaussian-process", "about 100 trials"),
        (space(6), None, ONE, "gaussian-process", "an unknown number"),
        (space(6), 3_000, (), "gaussian-process", "one goal"),
        (space(6), 8, ONE, "random", "too few"),
        (space(1), None, ONE, "exhaustive", "only 5"),
        (space(3), 200, TWO, "exhaustive", "only 125"),
        (space(3), 100, ONE, "gaussian-process", "3 decisions"),
        (space(3, rate=real(0.0, 1.0)), 200, ONE, "gaussian-process", "4 decisions"),
        (space(6), 100, TWO, "gaussian-process", "2 goals"),
        (space(6), 400, TWO, "nsga2", "2 goals"),
        (space(6), 20_000, ONE, "regularized-evolution", "20,000"),
    ],
)
def test_it_chooses_and_says_why(architectures, trials, goals, name, said):
    found, options, why = choose(architectures, trials, goals)
    assert found == name
    assert said in why
    assert "\n" not in why
    made = make_strategy(found, Setting(architectures, goals or ONE, 0), options)
    architectures.validate(made.ask(1)[0].architecture)


def test_few_trials_leave_some_to_learn():
    assert choose(space(6), 16, ONE)[1] == {"initial": 4}
    assert choose(space(6), 200, ONE)[1] == {"initial": 10}
