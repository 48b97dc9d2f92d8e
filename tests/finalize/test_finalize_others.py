"""Other metrics beside the verdict's, and the front against the baseline: by hand, and over made-up outputs."""

from types import SimpleNamespace

import numpy as np
import pytest

from searchitect.evaluators.base import Outcome
from searchitect.finalize.blocks import by_groups
from searchitect.finalize.context import FinalResult
from searchitect.finalize.items import item_values
from searchitect.finalize.others import Also, front_facts, other_metrics
from searchitect.finalize.verdict import compare, compare_scores, compare_seeds
from searchitect.records import Fidelity, Measurement, Objective, Proposal, State, Trial, objectives
from searchitect.space import Architecture


def outputs(seed, quality, y):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, len(y), 2))
    logits[:, np.arange(len(y)), y] += quality
    return list(logits)


Y = np.random.default_rng(0).integers(0, 2, 300)
SIDES = {"winner": outputs(1, 2.0, Y), "baseline": outputs(2, 1.0, Y)}


def mean_margin(out, y):
    return float(np.take_along_axis(out, y[:, None], 1).mean())


def context(also, **changes):
    given = {
        "also": also, "own_data": False, "blocks": None, "targets": lambda: Y, "seed": 3, "left": lambda: None,
    }  # fmt: skip
    return SimpleNamespace(**given | changes)


def result(**changes):
    found = FinalResult([], 3)
    found.outputs = dict(SIDES)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


LOSS = Also("loss", "min", item_values("loss", "classification"), lambda out, y: 0.0)
MARGIN = Also("margin", "max", None, mean_margin)


def test_each_metric_has_the_comparison_that_it_would_have_as_the_goal():
    found = other_metrics(context((LOSS, MARGIN)), result())
    losses = [np.stack([LOSS.items(out, Y) for out in SIDES[side]]) for side in ("winner", "baseline")]
    assert found["loss"] == compare(*losses, metric="loss", direction="min")
    assert found["loss"].words == "better"
    assert found["margin"] == compare_scores(
        SIDES["winner"], SIDES["baseline"], Y, mean_margin, metric="margin", direction="max", seed=3
    )


def test_blocks_of_items_count_for_every_metric():
    groups = by_groups(np.arange(300) // 30)
    found = other_metrics(context((LOSS, MARGIN), blocks=groups), result())
    assert all("by 10 groups" in verdict.method for verdict in found.values())


def test_without_a_baseline_and_for_the_baseline_itself():
    alone = other_metrics(context((LOSS,)), result(outputs={"winner": SIDES["winner"]}))
    assert alone["loss"].words == "no baseline"
    same = other_metrics(context((LOSS,)), result(outputs=dict.fromkeys(SIDES, SIDES["winner"]), same=True))
    assert (same["loss"].difference, same["loss"].low, same["loss"].superiority) == (0.0, 0.0, 0.5)


def test_what_cannot_be_computed_is_a_note():
    def fails(out, y):
        raise ValueError("one class")

    nan = Also("odd", "max", None, lambda out, y: float("nan"))
    found = result()
    assert list(other_metrics(context((nan, LOSS)), found)) == ["loss"]
    assert "odd on test data: odd: the score of a network on all test items is nan" in found.notes[0]


def test_resamples_that_would_take_too_long_are_left_out():
    def slow(out, y):
        sum(range(400_000))
        return mean_margin(out, y)

    found = result()
    assert other_metrics(context((Also("slow", "max", None, slow), LOSS), left=lambda: 0.0), found).keys() == {"loss"}
    assert found.notes == ["slow on test data: no time was left for its interval"]


def test_the_users_own_function_gives_other_numbers_too():
    runs = {
        side: [Outcome({"score": 1.0, "right": value}, 1.0) for value in values]
        for side, values in (("winner", (0.8, 0.82, 0.81)), ("baseline", (0.7, 0.72, 0.74)))
    }
    also = (Also("right", "max", None, mean_margin), Also("missing", "max", None, mean_margin))
    found = other_metrics(context(also, own_data=True), result(runs=runs))
    assert found == {"right": compare_seeds((0.8, 0.82, 0.81), (0.7, 0.72, 0.74), metric="right", direction="max")}


# -- front -----------------------------------------------------------------------------------------------

AIMS = objectives(["accuracy", "params"])


def trial(number, accuracy, params, state=State.DONE):
    proposal = Proposal(Architecture("s", {"n": number}), Fidelity("train", 3))
    return Trial(number, proposal, state, Measurement({"accuracy": accuracy, "params": params}, 1.0))


TRIALS = [trial(0, 0.80, 50.0), trial(1, 0.90, 100.0), trial(2, 0.85, 40.0), trial(3, 0.70, 10.0), trial(4, 0.6, 60.0)]


def test_who_beats_the_baseline_in_every_goal():
    found = front_facts(TRIALS, AIMS, TRIALS[0].architecture)
    assert [point["trial"] for point in found["front"]] == [1, 2, 3]
    assert found["better"] == [2]
    assert found["baseline"] == {"trial": 0, "accuracy": 0.80, "params": 50.0}
    assert found["goals"] == ["accuracy", "params"]
    assert found["sentence"].startswith(
        "1 of 3 networks on the front are no worse than the baseline in accuracy and params and better in one of them"
    )


def test_hypervolumes_are_those_of_counting_points_of_the_box():
    found = front_facts(TRIALS, AIMS, TRIALS[0].architecture)["hypervolume"]
    points = np.array([[-t.value("accuracy"), t.value("params")] for t in (*TRIALS[1:4], TRIALS[0])])
    unit = (points - points.min(0)) / np.ptp(points, axis=0)
    box = 1.1 * np.random.default_rng(0).random((200_000, 2))
    beaten = np.array([(unit[i] <= box).all(1) for i in range(4)])
    assert found["front"] == pytest.approx(beaten.any(0).mean(), abs=0.004)
    assert found["baseline"] == pytest.approx(beaten[3].mean(), abs=0.004)
    assert found["gained"] == found["front"] - found["baseline"] > 0


def test_a_baseline_on_the_front_gains_nothing_by_itself():
    found = front_facts([TRIALS[0]], AIMS, TRIALS[0].architecture)
    assert (found["better"], found["hypervolume"]["gained"]) == ([], 0.0)


def test_a_baseline_that_breaks_a_limit_is_still_the_point_to_beat():
    aims = objectives(["accuracy", "params", "params < 45"])
    found = front_facts(TRIALS, aims, TRIALS[0].architecture)
    assert (found["better"], found["baseline"]["trial"]) == ([2], 0)


def test_one_goal_has_no_front_and_a_network_of_the_users_was_not_measured():
    assert front_facts(TRIALS, (Objective("accuracy", "max"),), TRIALS[0].architecture) is None
    for baseline in (None, Architecture("s", {"n": 9})):
        assert front_facts(TRIALS, AIMS, baseline)["skipped"] == "the baseline was not measured in the search"
    failed = [trial(0, float("nan"), 50.0), *TRIALS[1:]]
    assert "skipped" in front_facts(failed, AIMS, TRIALS[0].architecture)
