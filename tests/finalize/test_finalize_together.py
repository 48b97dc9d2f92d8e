"""A teacher and an ensemble in the final stages, without any training: who is trained on what, and what is compared."""

import dataclasses

import numpy as np
import pytest
import torch
from test_finalize_stages import TRIALS, Lab, Tunable, plan
from torch import nn

from searchitect.errors import UsageError
from searchitect.evaluators.base import Soft
from searchitect.finalize.planning import Means, Together, Wishes, makespan, plan_finals
from searchitect.finalize.stages import run_stages
from searchitect.finalize.together import ensemble_outputs
from searchitect.finalize.tuning import distributions
from searchitect.nets import Ensemble
from searchitect.session import budget
from searchitect.session.timeplan import more_finals
from searchitect.settings import Settings

SOFT = Soft("answers", 0.5, 4.0)


def lab_that_teaches(tmp_path, kind=Lab, **changes):
    lab = kind(tmp_path, **changes)
    lab.taught = []

    def soften(networks):
        lab.taught += [network.width for network in networks]
        return SOFT

    lab.context = dataclasses.replace(lab.context, soften=soften)
    return lab


def together(members=0, teachers=0, **options):
    return plan(together=Together(members, teachers), **options)


def test_winner_and_baseline_have_one_teacher_and_the_rest_has_none(tmp_path):
    lab = lab_that_teaches(tmp_path)
    result = run_stages(lab.context, together(teachers=2))
    assert lab.taught == [1, 2], "the best finalists by validation"
    teachers, finals = lab.tasks[9:11], lab.tasks[11:]
    assert [(t.number, t.rows, t.epochs, t.recipe, t.soft) for t in teachers] == [
        (1, "all", 4, {}, None), (2, "all", 4, {}, None)]  # fmt: skip
    others = {t.seed for t in lab.tasks if t not in teachers}
    assert not {t.seed for t in teachers} & others
    assert [(t.number, t.soft) for t in finals[:3]] == [(1, SOFT), (1, None), (-1, SOFT)]
    assert "untuned" in result.comparisons, "what the teacher was worth"
    assert result.teachers == [1, 2]
    assert ("teacher", {"trials": [1, 2], "weight": 0.5, "temperature": 4.0}) in lab.notes
    assert lab.log.index("teacher") < lab.log.index("test_read")
    assert lab.log.count("test_read") == 1


def test_tuned_recipes_and_a_teacher_go_together(tmp_path):
    lab = lab_that_teaches(tmp_path, Tunable)
    result = run_stages(lab.context, dataclasses.replace(together(teachers=3), tuned=8))
    assert result.recipes["winner"]
    taught = [t for t in lab.tasks if t.soft is not None]
    assert len(taught) == 6
    assert all(t.recipe and t.rows == "all" for t in taught)
    assert lab.taught == [1, 2, 0]


@pytest.mark.parametrize(("fails", "taught"), [({2: 99}, [1, 0]), ({1: 0}, [1, 2])])
def test_finalists_that_fail_do_not_teach(tmp_path, fails, taught):
    lab = lab_that_teaches(tmp_path, fails=fails)
    result = run_stages(lab.context, together(teachers=2))
    assert lab.taught == taught
    assert result.finalised


def test_no_teacher_is_said(tmp_path):
    lab = lab_that_teaches(tmp_path)
    run = lab.context.run
    broken = dataclasses.replace(lab.context, run=lambda tasks: [
        type("Failed", (), {"cause": "killed", "message": "gone"}) if t.save and "final-teacher" in t.save else o
        for t, o in zip(tasks, run(tasks), strict=True)])  # fmt: skip
    result = run_stages(broken, together(teachers=2))
    assert result.soft is None
    assert "there is no teacher: it failed when it was trained: killed: gone" in result.notes
    assert not any(t.soft for t in lab.tasks)
    assert "untuned" not in result.comparisons
    assert result.finalised


def test_a_teacher_is_shortened_with_stage_b(tmp_path):
    """Stage A took 1 s by the clock of the lab and was planned for 0.5: half as fast, half the epochs."""
    made = together(teachers=2, seconds_per_run=lambda *_: 0.1)
    whole = made.stage_seconds[1] + made.teacher_seconds
    lab = lab_that_teaches(tmp_path, left=lambda: whole)
    run_stages(lab.context, made)
    assert {t.epochs for t in lab.tasks if t.save and "final-teacher" in t.save} == {2}


def test_an_ensemble_of_the_best_finalists_is_compared_with_both(tmp_path):
    lab = Lab(tmp_path, usual_recipe={"task": "classification"})
    result = run_stages(lab.context, together(members=2))
    finals = lab.tasks[9:]
    assert [t.number for t in finals] == [1, -1, 2, 0] * 3
    assert len({t.seed for t in finals}) == 3, "all networks of one ensemble have one seed"
    assert [(side, t.number) for side, t in result.members] == [("winner", 1), ("member2", 2), ("member0", 0)]
    assert lab.texts[1] == "stage B: the winner, the baseline and 2 more for the ensemble, 3 seeds, 4 epochs"
    assert lab.log.count("test_read") == 1
    votes = np.stack([result.outputs[side][1] for side in ("winner", "member2", "member0")])
    shares = np.exp(votes) / np.exp(votes).sum(-1, keepdims=True)
    np.testing.assert_allclose(np.exp(result.outputs["ensemble"][1]), shares.mean(0), atol=1e-12)
    ensemble, alone = result.comparisons["ensemble"], result.comparisons["alone"]
    right = [(o.argmax(1) == lab.y).mean() for o in result.outputs["ensemble"]]
    assert ensemble.winner.values == pytest.approx(tuple(right))
    assert ensemble.baseline == result.verdict.baseline
    assert alone.baseline == result.verdict.winner, "the verdict is on the winner alone"
    assert ensemble.sentence.startswith("an ensemble of 3 networks is better than the single baseline by")
    assert "an ensemble of 3 networks" in alone.sentence
    assert "the winner alone" in alone.sentence


def test_a_baseline_among_the_members_is_not_trained_twice(tmp_path):
    lab = Lab(tmp_path, is_baseline=lambda trial: trial.number == 2, usual_recipe={"task": "classification"})
    result = run_stages(lab.context, together(members=1))
    assert [t.number for t in lab.tasks[9:]] == [1, -1] * 3
    assert [side for side, _ in result.members] == ["winner", "baseline"]
    assert {"ensemble", "alone"} <= set(result.comparisons)
    taught = lab_that_teaches(tmp_path, is_baseline=lambda trial: trial.number == 2)
    found = run_stages(taught.context, together(members=1, teachers=1))
    assert [side for side, _ in found.members] == ["winner", "member2"], "its teacher makes it another network"


def test_a_member_that_fails_is_left_out_and_said(tmp_path):
    lab = Lab(tmp_path, usual_recipe={"task": "classification"})
    run = lab.context.run
    fails = dataclasses.replace(lab.context, run=lambda tasks: [
        type("Failed", (), {"cause": "killed", "message": "gone"}) if t.save and t.number == 2 else o
        for t, o in zip(tasks, run(tasks), strict=True)])  # fmt: skip
    result = run_stages(fails, together(members=2))
    assert [t.number for _, t in result.members] == [1, 0]
    assert "the ensemble has 2 instead of 3 networks; one failed: killed: gone" in result.notes
    assert result.comparisons["ensemble"].sentence.startswith("an ensemble of 2 networks")


def test_a_winner_that_fails_gives_way_and_its_follower_is_not_trained_again(tmp_path):
    lab = Lab(tmp_path, usual_recipe={"task": "classification"})
    run = lab.context.run
    fails = dataclasses.replace(lab.context, run=lambda tasks: [
        type("Failed", (), {"cause": "killed", "message": "gone"}) if t.save and t.number == 1 else o
        for t, o in zip(tasks, run(tasks), strict=True)])  # fmt: skip
    result = run_stages(fails, together(members=1))
    assert result.winner.number == 2
    assert [(side, t.number) for side, t in result.members] == [("winner", 2), ("member0", 0)]
    assert "ensemble" in result.comparisons


def test_what_was_tuned_is_not_compared_with_the_next_winner(tmp_path):
    lab = Tunable(tmp_path)
    run = lab.context.run
    fails = dataclasses.replace(lab.context, run=lambda tasks: [
        type("Failed", (), {"cause": "killed", "message": "gone"}) if t.save and t.recipe and t.number == 1 else o
        for t, o in zip(tasks, run(tasks), strict=True)])  # fmt: skip
    result = run_stages(fails, plan(tuned=8))
    assert result.winner.number == 2
    assert "untuned" not in result.comparisons, "it was the network of trial 1"


@pytest.mark.parametrize("classes", [True, False])
def test_test_outputs_are_put_together_as_the_bundle_does(classes):
    draws = np.random.default_rng(0).normal(size=(3, 50, 4)) * 30
    model = Ensemble(*[nn.Identity() for _ in range(3)], classes=classes)
    for index, member in enumerate(model.members):
        member.register_forward_hook(lambda _m, _x, _y, i=index: torch.tensor(draws[i]))
    found = ensemble_outputs(list(draws), "classification" if classes else "regression")
    np.testing.assert_allclose(found, model(torch.zeros(50, 4)).numpy(), atol=1e-9)


def test_the_plan_knows_teacher_and_members():
    means, wishes = Means(None, lambda *_: 1.0, 2), Wishes(4, most=3, together=Together(2, 3))
    usual, made = (plan_finals(TRIALS[:3], means, one) for one in (Wishes(4, most=3), wishes))
    assert (made.members, made.teachers, made.teacher_seconds) == (2, 3, 2.0)
    # stage B: winner, the winner by the usual recipe, two members, the baseline; three seeds each
    assert made.stage_seconds[1] == makespan([1.0] * 15, 2) == 8.0
    assert made.forecast_seconds == usual.stage_seconds[0] + 8.0 + 2.0
    few = plan_finals(TRIALS[:2], means, wishes)
    assert (few.members, few.teachers) == (1, 2)
    assert "the ensemble has 2 instead of 3 networks: there are no more finalists" in few.notes
    expected = made.stage_seconds[1]
    assert made.in_time(made.stage_seconds[0], expected * 4 / 5, 4) == (made.stage_b_seeds, 1.0)
    assert made.in_time(made.stage_seconds[0], expected / 2)[1] == pytest.approx(0.5)


def test_the_budget_keeps_time_for_them():
    more = more_finals(Settings(distill=0.5, ensemble=3))
    assert more == budget.More(False, False, 2, 3)
    seconds = budget.final_seconds(1.0, 1.0, 1, 1, seeds=3, more=more) - budget.final_seconds(1.0, 1.0, 1, 1, seeds=3)
    # two members and the winner without a teacher, three seeds each; a teacher of three networks
    assert seconds == pytest.approx((3 * 3 + 3) * budget.MORE_ROWS)


@pytest.mark.parametrize(("options", "message"), [
    ({"ensemble": 1}, "ensemble = 1"), ({"ensemble": 6}, "ensemble = 6"), ({"distill": 0.0}, "distill = 0"),
    ({"distill": 1.5}, "distill = 1.5"), ({"temperature": 0.0}, "temperature = 0"),
    ({"ensemble": 3, "finalize": False}, "ensemble = 3 is for the final trainings, but finalize is off"),
    ({"distill": 0.5, "finalize": False}, r"distill = 0.5 is for the final trainings, but finalize is off"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Settings(**options)


def test_dropout_is_tuned_only_where_a_network_has_it(tmp_path):
    usual = {"lr": 0.01, "task": "classification"}
    assert "dropout" in distributions(usual, (4,))
    assert set(distributions(usual, (1, 8, 8), dropout=False)) == {
        "lr", "weight_decay", "schedule", "epochs", "label_smoothing", "augment"}  # fmt: skip
    lab = Tunable(tmp_path, dropouts=lambda network, decisions: decisions["width"] == 99)
    result = run_stages(lab.context, plan(tuned=6))
    assert not any("dropout" in row["recipe"] for row in result.tuning["winner"])
    assert all("dropout" in row["recipe"] for row in result.tuning["baseline"][1:])


def test_members_that_there_are_not_cost_no_time():
    means = Means(100.0, lambda t, epochs, every: 1.0 if t else 0.0, 1)
    asked, there = (plan_finals(TRIALS[:2], means, Wishes(4, together=Together(n))) for n in (4, 1))
    assert asked.members == there.members == 1
    assert asked.stage_seconds == there.stage_seconds == (6.0, 6.0)
    assert asked.in_time(6.0, 6.0) == there.in_time(6.0, 6.0)
