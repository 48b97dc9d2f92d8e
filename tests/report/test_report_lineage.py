"""Where the winner comes from: the chain of parents by hand, and that it can be drawn whatever a study holds."""

import msgspec
import report_fakes as fakes
from report_html import Page
from torch import nn

from searchitect.records import Fidelity, Measurement, Objective, Proposal, State, Trial
from searchitect.report import lineage, page
from searchitect.report.lineage import Change, ancestry, words
from searchitect.space import Architecture, Space, lazy, one_of
from searchitect.strategies import Setting, make_strategy

GOAL = (Objective("accuracy", "max"),)
EPOCHS = Fidelity("train", 5)


def trial(number, value, decisions, parents=(), origin="mutate", fidelity=EPOCHS):
    proposal = Proposal(Architecture("s", decisions), fidelity, number, parents, origin=origin)
    state = State.FAILED if value is None else State.DONE
    measured = None if value is None else Measurement({"accuracy": value}, 1.0)
    return Trial(number, proposal, state, measured, finished=1.7e9 + number)


FAMILY = [
    trial(0, 0.80, {"depth": 2, "block": "conv"}, origin="sample"),
    trial(1, 0.70, {"depth": 1, "block": "conv"}, origin="sample"),
    trial(2, 0.85, {"depth": 3, "block": "conv", "extra": 7}, (0,)),
    trial(3, 0.84, {"depth": 3, "block": "mixer"}, (1, 2), "cross"),
    trial(4, 0.90, {"depth": 3, "block": "mixer"}, (3,), "promote", Fidelity("train", 15)),
    trial(5, 0.92, {"depth": 4, "block": "mixer"}, (4,), "mutate", Fidelity("train", 15)),
    trial(6, 0.99, {"depth": 9, "block": "conv"}, origin="sample"),
]


def test_the_chain_by_hand():
    steps = ancestry(FAMILY, GOAL, 5)
    assert [s.trial for s in steps] == [0, 2, 3, 4, 5]
    assert [s.other for s in steps] == [None, None, 1, None, None], "a child of two follows the better one"
    assert [s.gain if s.gain is None else round(s.gain, 3) for s in steps] == [None, 0.05, -0.01, None, 0.02]
    assert steps[1].changes == (Change("depth", 2, 3), Change("extra", None, 7, new=True))
    assert steps[2].changes == (Change("block", "conv", "mixer"), Change("extra", 7, None, gone=True))
    assert steps[3].changes == (), "only trained further"
    assert words(steps[2].changes) == "block: conv → mixer, 1 decision gone"
    many = tuple(Change(f"d{i}", 0, i) for i in range(1, 8))
    assert words(many) == "d1: 0 → 1, d2: 0 → 2, d3: 0 → 3, d4: 0 → 4, 3 more changed"
    down = ancestry(FAMILY, (Objective("accuracy", "min"),), 2)
    assert round(down[1].gain, 3) == -0.05, "more is worse"


def test_what_has_no_ancestors_has_no_lineage():
    assert ancestry(FAMILY, GOAL, 6) == ancestry(FAMILY, GOAL, None) == ancestry(FAMILY, GOAL, 77) == []
    assert ancestry(FAMILY, GOAL, 4) != []
    alone = [FAMILY[0], trial(1, 0.9, FAMILY[0].architecture.decisions, (0,), "promote", Fidelity("train", 15))]
    assert ancestry(alone, GOAL, 1) == [], "nothing changed"
    circle = [trial(1, 0.5, {"a": 1}, (2,)), trial(2, 0.6, {"a": 2}, (1,))]
    assert [s.trial for s in ancestry(circle, GOAL, 2)] == [1, 2]
    failed = [trial(0, None, {"a": 1}), trial(1, 0.5, {"a": 0}), trial(2, 0.6, {"a": 2}, (0, 1), "cross")]
    assert [s.trial for s in ancestry(failed, GOAL, 2)] == [1, 2], "a parent with a value before one without"


def snapshot(trials=FAMILY, winner=5):
    about = fakes.finished_meta()
    return fakes.snapshot(about | {"winner": about["winner"] | {"trial": winner}}, trials)


def test_table_and_figure_say_the_same():
    found = lineage.content(snapshot())
    assert found["sentences"] == [
        "The winner, trial 5, descends from trial 0 by 4 steps; 2 of 3 that can be compared raised the value."
    ]
    rows = [[cell.text for cell in row] for row in found["table"].rows]
    assert rows[0] == ["0", "0", "drawn", "the beginning", "80.00 %", "", "5 epochs"]
    assert rows[2] == ["2", "3", "crossing with trial 1", "block: conv → mixer, 1 decision gone", "84.00 %",
                       "−1.00 points", "5 epochs"]  # fmt: skip
    assert rows[3][2:6] == ["trained further", "", "90.00 %", "–"]
    assert found["table"].classes[-1] == "winner"
    assert "trial 4 90.00 %; trial 5 92.00 %" in found["figure"], "only what was measured like the winner"
    assert found["figure"].count("<circle") == 2
    text = page.render(snapshot())
    assert "How it came about" in Page(text).text
    assert Page(text).faults == []
    assert "How it came about" not in page.render(snapshot(winner=6))


def test_long_lines_are_cut_and_hostile_names_escaped():
    trials = [trial(i, 0.5 + i / 1000, {"<b>x</b>": i}, (i - 1,) if i else ()) for i in range(100)]
    found = lineage.content(snapshot(trials, 99))
    assert len(found["table"].rows) == lineage.MOST
    assert found["sentences"][1] == "The latest 60 steps are shown."
    assert "<b>" not in page.render(snapshot(trials, 99))


def test_a_real_evolution_has_a_lineage_of_single_mutations():
    layer = lazy(nn).Linear
    space = Space(lazy(nn).Sequential(*(layer(1, one_of(1, 2, 3, 4, 5, name=f"d{i}")) for i in range(6))))
    setting = Setting(space, GOAL, 3)
    strategy, trials = make_strategy("regularized-evolution", setting, {"population": 8, "sample": 4}), []
    for number in range(120):
        (proposal,) = strategy.ask(1)
        value = sum(int(v) for v in proposal.architecture.decisions.values()) / 40
        done = Trial(number, msgspec.structs.replace(proposal, fidelity=EPOCHS), State.DONE,
                     Measurement({"accuracy": value}, 1.0), finished=1.7e9 + number)  # fmt: skip
        trials.append(done)
        strategy.tell(done)
    best = max(trials, key=lambda t: t.value("accuracy"))
    steps = ancestry(trials, GOAL, best.number)
    assert len(steps) > 3
    assert all(len(step.changes) == 1 for step in steps[1:]), "one decision a mutation"
    assert steps[0].origin == "sample"
    total = sum(step.gain for step in steps[1:])
    assert abs(total - best.value("accuracy") + steps[0].value) < 1e-9
