"""The two stages without any training: who is told what, in which order, and what a failure costs."""

import dataclasses
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import UsageError
from searchitect.evaluators.base import Outcome
from searchitect.finalize import planning
from searchitect.finalize.context import FinalContext
from searchitect.finalize.items import item_values
from searchitect.finalize.planning import MOST_SEEDS, Means, Wishes, makespan, plan_finals
from searchitect.finalize.stages import run_stages
from searchitect.records import Fidelity, Measurement, Proposal, State, Trial
from searchitect.space import Architecture
from searchitect.training.meters import score


def trial(number, width=None, accuracy=0.9, source=None, key=""):
    architecture = Architecture("s", {"width": number if width is None else width})
    proposal, measured = Proposal(architecture, Fidelity("train", 3)), Measurement({"accuracy": accuracy}, 1.0)
    return Trial(number, proposal, State.DONE, measured, source=source, key=key)


TRIALS = [trial(n) for n in range(6)]


def plan(count=3, **options):
    there = {name: options.pop(name) for name in ("seed", "control") if name in options}
    means = Means(options.pop("seconds_left", None), options.pop("seconds_per_run", lambda *_: 1.0), 2)
    return plan_finals(TRIALS, means, Wishes(**{"epochs": 4, "most": count} | options), **there)


class Lab:
    """Plays executor, weights and test part. `quality` of a width decides validation and test."""

    def __init__(self, tmp_path, quality=None, fails=(), baseline=("architecture", {"width": 99}), **changes):
        self.quality = quality or {0: 0.80, 1: 0.86, 2: 0.83, 99: 0.75}
        self.fails = dict(fails)  # width → how many of its next runs fail
        self.log, self.tasks, self.notes, self.texts = [], [], [], []
        self.y = np.random.default_rng(0).integers(0, 2, 1000)
        self.stopping = False
        self.time = 0.0
        self.context = FinalContext(
            seed=1, metric="accuracy", direction="max", folder=tmp_path, run=self.run, load=self.load,
            predict_test=self.predict, targets=self.targets, score=lambda out, y: float((out.argmax(1) == y).mean()),
            note=lambda kind, body: (self.notes.append((kind, body)), self.log.append(kind)), baseline=baseline,
            items=item_values("accuracy", "classification"), progress=self.texts.append,
            should_stop=lambda: self.stopping, clock=self.clock,
        )  # fmt: skip
        self.context = dataclasses.replace(self.context, **changes)

    def clock(self):
        self.time += 1.0
        return self.time

    def run(self, tasks):
        self.tasks += tasks
        self.log.append(f"train {tasks[0].rows}")
        return [self.one(task) for task in tasks]

    def one(self, task):
        width = task.decisions.get("width", 99)
        if self.fails.get(width, 0) > 0:
            self.fails[width] -= 1
            return SimpleNamespace(cause="out of memory", message=f"width {width}")
        wobble = (task.seed % 1000 - 500) / 1e5
        metrics = {"accuracy": self.quality[width] + wobble} if task.rows == "train" else {}
        return Outcome(metrics, 1.0, task.epochs)

    def load(self, network, decisions, path):
        self.log.append(f"load {network}")
        module = nn.Identity()
        module.width, module.path = decisions.get("width", 99), path
        return module

    def predict(self, model):
        self.log.append("predict")
        rng = np.random.default_rng([model.width, int(model.path.stem[-1])])
        right = rng.random(len(self.y)) < self.quality[model.width]
        return np.eye(2)[np.where(right, self.y, 1 - self.y)]

    def targets(self):
        self.log.append("targets")
        return self.y


def test_validation_chooses_and_the_test_is_read_once_at_the_end(tmp_path):
    lab = Lab(tmp_path)
    result = run_stages(lab.context, plan())
    assert result.finalised
    assert result.winner.number == 1
    assert [s.chosen for s in result.standings] == [False, True, False]
    assert result.standings[1].mean == pytest.approx(0.86, abs=0.01)
    assert result.verdict.words == "better"
    assert result.verdict.winner.n == result.verdict.baseline.n == 3
    assert lab.log == [
        "train train",
        "winner",
        "train all",
        "test_read",
        *["load architecture", "predict"] * 6,
        "targets",
    ]
    assert lab.notes[0][1] == {"trial": 1, "decisions": {"width": 1}, "epochs": 4,
                               "validation": list(result.standings[1].validation)}  # fmt: skip
    assert lab.notes[1][1] == {"who": "finalize", "read": 1, "trial": 1}
    assert result.seconds == {"stage_a": 1.0, "stage_b": 1.0, "test": 1.0}
    assert lab.texts[0] == "stage A: 3 finalists, 3 seeds each"


def test_the_hand_made_network_is_kept_without_evidence(tmp_path):
    lab = Lab(tmp_path, {0: 0.80, 1: 0.80, 2: 0.7, 99: 0.8}, is_baseline=lambda t: t.number == 0)
    same_for_all = lab.one

    def uneven(task):
        outcome = same_for_all(task)
        if task.decisions.get("width") == 1 and task.rows == "train":
            outcome.metrics["accuracy"] += (0.02, -0.01, 0.0)[task.fold]
        return outcome

    lab.one = uneven
    result = run_stages(lab.context, plan())
    assert result.winner.number == 0
    assert result.same
    assert any(note.startswith("the hand-made network is kept: trial 1") for note in result.notes)
    assert result.verdict.difference == 0.0


def test_tasks_say_what_is_trained_on_what(tmp_path):
    lab = Lab(tmp_path)
    result = run_stages(lab.context, plan())
    stage_a, stage_b = lab.tasks[:9], lab.tasks[9:]
    assert [t.number for t in stage_a[:3]] == [0, 1, 2], "everyone's first seed comes first"
    assert all((t.rows, t.save, t.epochs) == ("train", None, 4) for t in stage_a)
    assert len({t.seed for t in stage_a}) == 3
    assert [t.fold for t in stage_a] == [0, 0, 0, 1, 1, 1, 2, 2, 2], "each seed holds out other rows"
    assert all((t.rows, t.epochs, t.data) == ("all", 4, 1.0) for t in stage_b)
    assert [t.number for t in stage_b] == [1, -1] * 3
    assert len({t.save for t in stage_b}) == 6
    assert not {t.seed for t in stage_a} & {t.seed for t in stage_b}
    assert str(result.weights) == stage_b[0].save, "no validation rows are left to choose by: the first seed"
    assert [o.epochs for o in result.runs["baseline"]] == [4, 4, 4]
    assert len(result.outputs["winner"]) == 3


def test_the_same_seed_gives_the_same_result(tmp_path):
    first, second = (Lab(tmp_path) for _ in range(2))
    results = [run_stages(lab.context, plan()) for lab in (first, second)]
    assert results[0].verdict == results[1].verdict
    assert first.tasks == second.tasks
    assert plan(seed=1).stage_a_seeds != plan(seed=2).stage_a_seeds


def test_minimised_metrics_choose_the_smallest(tmp_path):
    lab = Lab(tmp_path, direction="min", items=None)
    assert run_stages(lab.context, plan()).winner.number == 0


def test_ties_go_to_the_earlier_trial(tmp_path):
    lab = Lab(tmp_path, quality={0: 0.8, 1: 0.8, 2: 0.8, 99: 0.8})
    reordered = dataclasses.replace(plan(), finalists=(TRIALS[2], TRIALS[0], TRIALS[1]))
    assert run_stages(lab.context, reordered).winner.number == 0


@pytest.mark.parametrize(("losses", "winner"), [((0.5, 0.3, 0.4), 1), ((0.5, float("nan"), 0.4), 2)])
def test_among_equal_scores_the_loss_decides(tmp_path, losses, winner):
    lab = Lab(tmp_path)

    def even(tasks):
        if tasks[0].rows == "all":
            return lab.run(tasks)
        return [Outcome({"accuracy": 0.8, "loss": losses[t.number]}, 1.0, t.epochs) for t in tasks]

    assert run_stages(dataclasses.replace(lab.context, run=even), plan()).winner.number == winner


def test_metrics_that_are_no_mean_go_through_the_bootstrap(tmp_path):
    result = run_stages(Lab(tmp_path, items=None).context, plan())
    assert "bootstrap" in result.verdict.method
    assert result.verdict.words == "better"


def test_one_failure_is_repeated_with_another_seed(tmp_path):
    lab = Lab(tmp_path, fails={1: 1})
    result = run_stages(lab.context, plan())
    assert result.winner.number == 1
    assert len(lab.tasks) == 9 + 1 + 6
    assert lab.tasks[9].seed not in {t.seed for t in lab.tasks[:9]}
    assert lab.tasks[9] == msgspec.structs.replace(lab.tasks[1], seed=lab.tasks[9].seed)


def test_a_finalist_that_fails_again_is_dropped(tmp_path):
    result = run_stages(Lab(tmp_path, fails={1: 99}).context, plan())
    assert result.winner.number == 2
    assert result.standings[1].dropped == "out of memory: width 1"
    assert result.standings[1].mean is None
    assert "finalist of trial 1 was dropped: out of memory: width 1" in result.notes


def test_numbers_that_are_not_finite_are_failures(tmp_path):
    lab = Lab(tmp_path, quality={0: 0.8, 1: float("nan"), 2: 0.83, 99: 0.7})
    result = run_stages(lab.context, plan())
    assert result.winner.number == 2
    assert result.standings[1].dropped == "not finite: accuracy is nan"


def test_a_winner_that_fails_in_stage_b_gives_way(tmp_path):
    lab = Lab(tmp_path)
    run = lab.context.run
    fails = dataclasses.replace(lab.context, run=lambda tasks: [
        SimpleNamespace(cause="killed", message="gone") if t.rows == "all" and t.number == 1 else o
        for t, o in zip(tasks, run(tasks), strict=True)])  # fmt: skip
    result = run_stages(fails, plan())
    assert result.winner.number == 2
    assert [s.chosen for s in result.standings] == [False, False, True]
    assert sum(t.number == -1 for t in lab.tasks) == 3, "the baseline is not trained again"
    assert lab.log.count("test_read") == 1
    assert result.weights.name == "final-winner1-0.safetensors"
    assert [body["trial"] for kind, body in lab.notes if kind == "winner"] == [1, 2]


def test_nothing_is_finalised_when_everything_fails(tmp_path):
    lab = Lab(tmp_path, fails={0: 99, 1: 99, 2: 99})
    result = run_stages(lab.context, plan())
    assert not result.finalised
    assert result.winner is result.verdict is result.weights is None
    assert "every finalist failed" in result.reason
    assert "test_read" not in lab.log


def test_a_baseline_that_fails_leaves_a_verdict_without_one(tmp_path):
    result = run_stages(Lab(tmp_path, fails={99: 99}).context, plan())
    assert result.finalised
    assert result.verdict.words == "no baseline"
    assert result.no_baseline == "the baseline failed when it was trained: out of memory: width 99"
    assert result.verdict.sentence.endswith("); the baseline failed when it was trained: out of memory: width 99")


def test_a_factory_that_cannot_be_loaded_leaves_a_verdict_without_one(tmp_path):
    lab = Lab(tmp_path, baseline=("baseline", {}))

    def load(network, decisions, path):
        if network == "baseline":
            raise RuntimeError("another network each time")
        return lab.load(network, decisions, path)

    result = run_stages(dataclasses.replace(lab.context, load=load), plan())
    assert result.verdict.words == "no baseline"
    assert "RuntimeError: another network each time" in result.no_baseline
    whole = run_stages(Lab(tmp_path, baseline=("baseline", {})).context, plan())
    assert whole.verdict.words == "better"


def test_without_a_baseline_only_the_winner_is_trained(tmp_path):
    lab = Lab(tmp_path, baseline=None)
    result = run_stages(lab.context, plan())
    assert len(lab.tasks) == 9 + 3
    assert result.verdict.words == "no baseline"
    assert result.no_baseline == "there is no hand-made network to compare with"


@pytest.mark.parametrize("own_data", [False, True])
def test_a_winner_that_is_the_baseline_is_trained_once_and_no_difference_is_claimed(tmp_path, own_data):
    lab = Lab(tmp_path, is_baseline=lambda trial: trial.number == 1, own_data=own_data)
    result = run_stages(lab.context, plan())
    assert len(lab.tasks) == 9 + 3
    verdict = result.verdict
    assert (verdict.words, verdict.difference, verdict.low, verdict.high) == ("cannot tell", 0.0, 0.0, 0.0)
    assert verdict.baseline == verdict.winner
    assert "nothing found was clearly better than the baseline, which is kept: accuracy 8" in verdict.sentence
    assert ("over 3 fresh seeds; the search chose" in verdict.sentence) == own_data


def test_one_network_alone_gets_the_time_of_both(tmp_path):
    lab = Lab(tmp_path, is_baseline=lambda trial: trial.number == 1)
    limited = plan(seconds_left=100.0)
    result = run_stages(lab.context, limited)
    assert len(lab.tasks) == 9 + MOST_SEEDS
    assert result.verdict.winner.n == MOST_SEEDS
    assert limited.alone_seeds[:3] == limited.stage_b_seeds
    assert len(plan(seconds_left=100.0, seeds=7).alone_seeds) == 10
    assert plan().alone_seeds == plan().stage_b_seeds, "without a limit nobody waits for more than was asked for"


def test_what_a_slow_stage_a_leaves_to_stage_b():
    """Two workers, runs of one second: stage A takes 5 s, stage B 3 s."""
    limited = plan(seconds_left=100.0)
    three, six = limited.stage_b_seeds, limited.alone_seeds[:6]
    assert limited.stage_seconds == (5.0, 3.0)
    assert limited.in_time(5.0, 3.0) == (three, 1.0)
    assert limited.in_time(2.0, 3.0) == (three, 1.0), "a quick stage A promises nothing"
    assert limited.in_time(10.0, 3.0) == (three, 0.5), "half as fast: half the epochs"
    assert limited.in_time(5.0, 3.0, 1) == (six, 1.0)
    assert limited.in_time(7.5, 3.0, 1) == (six[:4], 1.0), "additional seeds go first"
    assert limited.in_time(20.0, 3.0, 1) == (three, 0.5)
    assert limited.in_time(20.0, None) == (three, 1.0)
    assert limited.in_time(5.0, 4.0) == (six[:4], 1.0), "time that is left buys seeds"
    assert limited.in_time(5.0, 99.0) == (limited.alone_seeds, 1.0)
    assert len(limited.alone_seeds) == MOST_SEEDS
    assert limited.in_time(5.0, 1.5, epochs=2) == (three, 1.0), "stage A has halved the epochs already"
    assert plan(count=1).in_time(0.0, None) == (plan().stage_b_seeds, 1.0)
    tuned = plan(seconds_left=100.0, tuned=5)
    expected = tuned.stage_seconds[1]
    assert tuned.in_time(5.0, expected * 2 / 3)[1] == pytest.approx(2 / 3), "three networks in the time of two"
    assert tuned.in_time(5.0, expected * 2 / 3, 2) == (tuned.stage_b_seeds, 1.0), "nothing was tuned"


def with_time(tmp_path, seconds, **changes):
    """A lab whose trainings of stage B take a second each, one after the other, of the seconds that are left."""
    lab = Lab(tmp_path, **changes)
    lab.time, lab.used = 0.0, 0.0
    lab.clock = lambda: lab.used
    train = lab.run

    def run(tasks):
        lab.used += len(tasks) * (tasks[0].rows == "all")
        return train(tasks)

    lab.context = dataclasses.replace(lab.context, run=run, clock=lab.clock, left=lambda: seconds - lab.used)
    return lab


@pytest.mark.parametrize(("seconds", "seeds"), [(20.0, 8), (6.0, 3), (8.0, 3), (8.5, 4), (90.0, MOST_SEEDS)])
def test_time_that_is_left_after_stage_b_buys_seeds_for_all(tmp_path, seconds, seeds):
    """The plan expects stage B to take 30 s for three seeds; a seed takes 2 s, and gets 1.2 times that."""
    limited = dataclasses.replace(plan(seconds_left=100.0), stage_seconds=(0.0, 3 * seconds))
    lab = with_time(tmp_path, seconds)
    result = run_stages(lab.context, limited)
    assert result.finalised
    assert result.verdict.winner.n == result.verdict.baseline.n == seeds
    finals = [t for t in lab.tasks if t.rows == "all"]
    assert len({t.seed for t in finals}) == seeds
    assert len({t.save for t in finals}) == 2 * seeds, "each has a file of its own"
    assert lab.used <= seconds + 1e-9
    assert result.weights == tmp_path / "final-winner-0.safetensors"


def test_a_further_seed_that_fails_takes_nothing_away(tmp_path):
    """The baseline alone fails with seeds beyond the planned ones: the winner keeps as few."""
    limited = dataclasses.replace(plan(seconds_left=100.0), stage_seconds=(0.0, 60.0))
    lab = with_time(tmp_path, 20.0)
    usual = lab.one

    def one(task):
        late = task.rows == "all" and task.number == -1 and task.seed not in limited.stage_b_seeds
        return SimpleNamespace(cause="out of memory", message="late") if late else usual(task)

    lab.one = one
    result = run_stages(lab.context, limited)
    assert result.finalised
    assert result.verdict.winner.n == result.verdict.baseline.n == 3
    assert [len(result.files[side]) for side in ("winner", "baseline")] == [3, 3]
    assert any("more seeds were left out: out of memory: late" in note for note in result.notes)


def test_short_of_time_after_stage_a(tmp_path):
    """The clock of the lab says that stage A took 1 s; it was planned for 0.5."""
    lab = Lab(tmp_path, left=lambda: 0.3)
    result = run_stages(lab.context, plan(seconds_per_run=lambda *_: 0.1))
    assert result.epochs == 2
    assert {t.epochs for t in lab.tasks if t.rows == "all"} == {2}
    assert result.finalised
    assert "short of time: stage A was slower than planned, so the final trainings take 2 instead of 4 epochs" in (
        result.notes
    )
    assert lab.notes[0][1]["epochs"] == 2


def test_a_baseline_that_fails_as_the_winner_is_no_baseline_for_the_next(tmp_path):
    lab = Lab(tmp_path, is_baseline=lambda trial: trial.number == 1)
    run = lab.context.run

    def fails(tasks):
        return [SimpleNamespace(cause="killed", message="gone") if t.save and t.number == 1 else o
                for t, o in zip(tasks, run(tasks), strict=True)]  # fmt: skip

    result = run_stages(dataclasses.replace(lab.context, run=fails), plan())
    assert result.winner.number == 2
    assert result.verdict.words == "no baseline"
    assert result.no_baseline == "the baseline failed when it was trained: killed: gone"
    assert lab.tasks[-1].number == 2


def test_outputs_that_are_not_finite_give_no_verdict_but_the_winner(tmp_path):
    lab = Lab(tmp_path, items=lambda out, y: np.full(len(y), np.nan))
    result = run_stages(lab.context, plan())
    assert result.finalised
    assert result.verdict is None
    assert any(note.startswith("there is no verdict: winner: 3,000 of 3,000") for note in result.notes)


def test_a_second_read_of_the_test_part_is_said(tmp_path):
    lab = Lab(tmp_path, reads_before=2)
    result = run_stages(lab.context, plan())
    assert lab.notes[-1][1]["read"] == 3
    assert any("read 2 times before" in note for note in result.notes)
    assert "read 2 times before in this study, so this is no independent verdict" in result.verdict.sentence
    assert not any("read" in note for note in run_stages(Lab(tmp_path).context, plan()).notes)


def test_the_users_own_function_measures_the_verdict_where_there_is_no_test_part(tmp_path):
    lab = Lab(tmp_path)
    context = dataclasses.replace(lab.context, own_data=True)
    result = run_stages(context, plan())
    stage_a, stage_b = lab.tasks[:9], lab.tasks[9:]
    assert {t.rows for t in lab.tasks} == {"train"}, "the function knows of no other rows"
    assert not {t.seed for t in stage_a} & {t.seed for t in stage_b}, "seeds that nobody chose by"
    assert all(t.save for t in stage_b)
    assert result.weights.name == "final-winner-0.safetensors"
    assert lab.log == ["train train", "winner", "train train"], "no test part is read, nor noted"
    verdict = result.verdict
    assert (verdict.words, verdict.test_items, verdict.winner.n) == ("better", 0, 3)
    measured = [lab.one(t).metrics["accuracy"] for t in stage_b if t.number == 1]
    assert verdict.winner.values == tuple(measured)
    assert "no test on unread data" in verdict.sentence


@pytest.mark.parametrize(("fails", "why"), [({99: 99}, "the baseline failed when it was trained"), ({}, "no baseline")])
def test_the_users_own_function_without_a_baseline_to_measure(tmp_path, fails, why):
    lab = Lab(tmp_path, fails=fails, own_data=True, **({} if fails else {"baseline": None}))
    result = run_stages(lab.context, plan())
    assert result.finalised
    assert result.verdict.words == "no baseline"
    assert why in result.verdict.sentence


def test_a_number_of_the_users_function_that_is_missing_in_the_end_is_a_failure(tmp_path):
    lab = Lab(tmp_path, own_data=True)
    run = lab.context.run

    def silent(tasks):
        return [Outcome({}, 1.0, 1) if t.save and t.number == 1 else o for t, o in zip(tasks, run(tasks), strict=True)]

    result = run_stages(dataclasses.replace(lab.context, run=silent), plan())
    assert result.winner.number == 2
    assert "not finite: accuracy is missing" in result.standings[1].dropped


def test_one_finalist_goes_straight_to_stage_b(tmp_path):
    lab = Lab(tmp_path)
    result = run_stages(lab.context, plan(1))
    assert result.winner.number == 0
    assert result.standings[0].validation == ()
    assert result.standings[0].plain()["mean"] is None
    assert [t.rows for t in lab.tasks] == ["all"] * 6


@pytest.mark.parametrize("when", ["before", "stage A", "stage B"])
def test_an_interruption_leaves_what_is_known(tmp_path, when):
    lab = Lab(tmp_path)
    run = lab.context.run
    lab.stopping = when == "before"

    def interrupted(tasks):
        found = list(run(tasks))
        if when == ("stage A" if tasks[0].rows == "train" else "stage B"):
            lab.stopping = True
            found[-1] = SimpleNamespace(cause="killed", message="the user")
        return found

    result = run_stages(dataclasses.replace(lab.context, run=interrupted), plan())
    assert not result.finalised
    assert result.reason == "interrupted"
    assert result.verdict is None
    assert "test_read" not in lab.log
    assert "not finalised: interrupted" in result.notes
    if when == "stage B":
        assert result.winner.number == 1
        assert result.weights.name == "final-winner-0.safetensors"
    else:
        assert result.winner is result.weights is None


def test_an_interruption_after_the_last_training_still_gives_the_verdict(tmp_path):
    lab = Lab(tmp_path)
    run = lab.context.run

    def last(tasks):
        found = run(tasks)
        lab.stopping = tasks[0].rows == "all"
        return found

    assert run_stages(dataclasses.replace(lab.context, run=last), plan()).finalised


def test_early_stopping_in_stage_a_fixes_the_epochs_of_stage_b(tmp_path):
    lab = Lab(tmp_path)
    run = lab.context.run
    lengths = iter([3, 2, 9, 3, 2, 9, 4, 4, 9])

    def early(tasks):
        found = run(tasks)
        return (
            [Outcome(o.metrics, 1.0, next(lengths), stopped=True) for o in found] if tasks[0].rows == "train" else found
        )

    result = run_stages(dataclasses.replace(lab.context, run=early), plan())
    assert result.epochs == 2, "the middle one of the winner's"
    assert {t.epochs for t in lab.tasks[9:]} == {2}


# -- planning ------------------------------------------------------------------------------------------


def seconds(trial, epochs, all_rows):
    return epochs * (2.0 if trial is not None else 1.0) * (1.25 if all_rows else 1.0)


@pytest.mark.parametrize(("left", "finalists", "epochs", "notes"), [
    (None, 5, 10, 0), (300, 5, 10, 0), (180, 3, 10, 1), (63, 1, 10, 2), (32, 1, 5, 3), (1, 1, 1, 4),
])  # fmt: skip
def test_short_of_time_means_fewer_finalists_then_fewer_epochs(left, finalists, epochs, notes):
    made = plan_finals(TRIALS, Means(left, seconds, 2), Wishes(10))
    assert (len(made.finalists), made.epochs) == (finalists, epochs)
    assert len(made.stage_b_seeds) == 3
    assert len(made.stage_a_seeds) == (3 if finalists > 1 else 0)
    assert len(made.notes) == notes
    if left and left > 1:
        assert made.forecast_seconds <= left
        more = plan_finals(TRIALS, Means(None, seconds, 2), Wishes(10, most=finalists + 1))
        assert finalists == 5 or more.forecast_seconds > left, "it is the dearest plan that fits"


def test_the_forecast_is_that_of_runs_shared_by_workers():
    made = plan_finals(TRIALS, Means(None, seconds, 2), Wishes(10, seeds=4, most=2))
    # A: 8 runs of 20 s on 2 workers = 80; B: 25, 12.5, 25, 12.5, ... = 4 × 37.5 on 2 workers, whole runs
    assert made.forecast_seconds == pytest.approx(80 + makespan([25, 12.5] * 4, 2))
    assert makespan([25, 12.5] * 4, 2) == 75
    assert makespan([3, 1, 1, 1], 2) == 3
    assert makespan([], 2) == 0


def test_the_same_network_is_a_finalist_once():
    pool = [trial(4), trial(7, width=4), trial(5, key="k"), trial(8, key="k"), trial(9, source=5), trial(2)]
    assert [t.number for t in planning.distinct(pool)] == [4, 5, 2]


def test_fewer_than_three_seeds_are_possible_and_said():
    made = plan_finals(TRIALS, Means(None, seconds, 2), Wishes(3, seeds=1))
    assert len(made.stage_a_seeds) == len(made.stage_b_seeds) == 1
    assert made.notes == ("1 seed a side: the verdict knows little about seeds; ask for 3",)


@pytest.mark.parametrize(("options", "message"), [
    ({"seeds": 0}, "seeds=0"), ({"epochs": 0}, "epochs=0"), ({"most": 0}, "most=0"), ({"workers": 0}, "workers=0"),
])  # fmt: skip
def test_plans_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=f"{message}: it must be at least 1"):
        Means(None, seconds, **options) if "workers" in options else Wishes(**{"epochs": 3} | options)
    with pytest.raises(UsageError, match="no finished candidate"):
        plan_finals([], Means(None, seconds, 2), Wishes(3))


# -- items ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "task"), [
    ("accuracy", "classification"), ("loss", "classification"), ("loss", "regression"), ("mae", "regression"),
])  # fmt: skip
def test_item_values_average_to_the_metric_of_training(metric, task):
    rng = np.random.default_rng(4)
    outputs = rng.normal(size=(50, 3)) * 5
    y = rng.integers(0, 3, 50) if task == "classification" else rng.normal(size=(50, 3))
    found = item_values(metric, task)(outputs, y)
    assert found.shape == (50,)
    assert found.mean() == pytest.approx(score(metric, torch.tensor(outputs), torch.tensor(y), task), rel=1e-5)


def test_item_values_of_large_logits_and_flat_targets():
    assert item_values("loss", "classification")(np.array([[1e4, 0.0]]), np.array([0]))[0] == 0
    assert item_values("mae", "regression")(np.ones((4, 1)), np.zeros(4)).tolist() == [1, 1, 1, 1]
    assert item_values("rmse", "regression") is None
    assert item_values("mae", "classification") is None


def test_two_finalists_stay_and_epochs_go_when_the_second_guards_against_luck():
    """The hand-made network is the second: what is not better on validation data must not win by being alone."""
    pool = [trial(i) for i in range(4)]
    plan = plan_finals(pool, Means(30.0, lambda t, e, a: 1.0 * e, 1), Wishes(10, least=2))
    alone = plan_finals(pool, Means(30.0, lambda t, e, a: 1.0 * e, 1), Wishes(10))
    assert [len(plan.finalists), plan.epochs] == [2, 2]
    assert [len(alone.finalists), alone.epochs] == [1, 5]
    single = plan_finals(pool[:1], Means(30.0, lambda t, e, a: e, 1), Wishes(1, least=2))
    assert len(single.finalists) == 1


# -- a control, and tuning -----------------------------------------------------------------------------


def test_the_control_goes_through_the_same_stages_and_is_compared(tmp_path):
    lab = Lab(tmp_path, {0: 0.80, 1: 0.95, 2: 0.83, 4: 0.7, 5: 0.75, 99: 0.75})
    found = plan_finals(TRIALS[:3], Means(None, lambda *_: 1.0, 2), Wishes(4), control=TRIALS[4:6])
    assert found.control == tuple(TRIALS[4:6])
    result = run_stages(lab.context, found)
    assert result.winner.number == 1
    assert [s.trial.number for s in result.control] == [5, 4], "sorted by validation"
    assert not any(s.chosen for s in result.control)
    finals = [t.number for t in lab.tasks if t.rows == "all"]
    assert finals == [1, -1, 5] * 3
    control = result.comparisons["control"]
    assert control.words == "better"
    assert "than random search at equal cost by" in control.sentence
    assert control.winner.values == result.verdict.winner.values
    assert "and 2 of the control" in lab.texts[0]
    assert "the winner, the baseline and the control" in lab.texts[1]


def test_a_control_that_found_the_winner_is_not_trained_twice(tmp_path):
    lab = Lab(tmp_path)
    twin = trial(5, width=1)
    found = plan_finals(TRIALS[:3], Means(None, lambda *_: 1.0, 2), Wishes(4), control=[twin])
    result = run_stages(lab.context, found)
    assert [t.number for t in lab.tasks if t.rows == "all"] == [1, -1] * 3
    control = result.comparisons["control"]
    assert (control.words, control.difference) == ("cannot tell", 0.0)
    assert control.sentence == "cannot tell: it is the network of random search at equal cost too"


def test_a_control_that_fails_costs_only_its_comparison(tmp_path):
    lab = Lab(tmp_path, {0: 0.80, 1: 0.86, 2: 0.83, 5: 0.8, 99: 0.75}, {5: 99})
    found = plan_finals(TRIALS[:3], Means(None, lambda *_: 1.0, 2), Wishes(4), control=[TRIALS[5]])
    result = run_stages(lab.context, found)
    assert result.finalised
    assert result.verdict.words == "better"
    assert not result.comparisons
    assert any("trial 5 was dropped" in note for note in result.notes)


@pytest.mark.parametrize(("control", "tuned", "trainings"), [(0, 0, 9 + 6), (3, 0, 18 + 9), (0, 5, 9 + 9)])
def test_the_forecast_knows_what_else_is_trained(control, tuned, trainings):
    # three finalists a side and three seeds; stage B: winner and baseline, control, winner by the usual recipe
    means, wishes = Means(None, lambda *_: 1.0, 1), Wishes(4, tuned=tuned)
    found = plan_finals(TRIALS[:3], means, wishes, control=TRIALS[3 : 3 + control])
    assert found.forecast_seconds == trainings


class Tunable(Lab):
    """Validation and test also depend on the recipe: best at lr = 0.02, and without smoothing. `more` is added to the
    validation of every other recipe than the usual one."""

    def __init__(self, tmp_path, more=0.0, **changes):
        usual = {"lr": 0.005, "task": "classification"}
        super().__init__(tmp_path, usual_recipe=usual, sample=(1, 8, 8), **changes)
        self.recipes, self.more = {}, more

    def one(self, task):
        outcome = super().one(task)
        gain = 0.0
        if task.recipe:
            gain = 0.1 - 0.1 * abs(np.log(task.recipe["lr"] / 0.02)) - task.recipe["label_smoothing"] + self.more
        if isinstance(outcome, Outcome) and outcome.metrics:
            outcome.metrics["accuracy"] += gain
        if task.save:
            self.recipes[task.save] = task.recipe
        return outcome

    def predict(self, model):
        usual = self.quality[model.width]
        self.quality[model.width] = usual + 0.1 * bool(self.recipes[str(model.path)])
        outputs = super().predict(model)
        self.quality[model.width] = usual
        return outputs


def test_tuning_is_chosen_by_validation_with_equal_effort_and_shown_apart(tmp_path):
    lab = Tunable(tmp_path)
    result = run_stages(lab.context, plan(tuned=12))
    tuning = [t for t in lab.tasks[9:] if t.rows == "train"]
    sides = [[t for t in tuning if t.number == number] for number in (1, -1)]
    assert [len([t for t in side if t.fold == 0]) for side in sides] == [12, 12]
    assert len(sides[0]) == len(sides[1])
    assert {t.seed for t in tuning} == {t.seed for t in lab.tasks[:9]}
    for side in ("winner", "baseline"):
        assert result.tuning[side][0]["recipe"] == {}, "the usual recipe is one of them"
        assert len(result.tuning[side]) == 12
        best = max(result.tuning[side], key=lambda r: np.mean(r["validation"]) if len(r["validation"]) == 3 else 0)
        assert result.recipes[side] == best["recipe"]
        assert abs(np.log(result.recipes[side]["lr"] / 0.02)) < 1
    finals = [t for t in lab.tasks if t.rows == "all"]
    assert [bool(t.recipe) for t in finals[:3]] == [True, False, True], "winner, untuned, baseline"
    share = result.recipes["winner"]["epochs"]
    assert [t.epochs for t in finals[:2]] == [round(4 * share), 4]
    assert "epochs" not in finals[0].recipe
    assert set(result.comparisons) == {"untuned"}
    assert lab.log.count("test_read") == 1
    assert lab.log.index("tuned") < lab.log.index("test_read")


def test_the_control_is_compared_with_the_winner_by_the_same_recipe(tmp_path):
    lab = Tunable(tmp_path)
    lab.quality[5] = 0.7
    result = run_stages(lab.context, dataclasses.replace(plan(tuned=8), control=(TRIALS[5],)))
    assert result.comparisons["control"].winner.values == result.comparisons["untuned"].baseline.values
    assert result.comparisons["control"].winner.mean < result.verdict.winner.mean - 0.05, "the tuned one is better"
    assert not any(t.recipe for t in lab.tasks if t.number == 5), "the control is not tuned"


def test_the_usual_recipe_stays_where_nothing_is_better(tmp_path):
    lab = Lab(tmp_path, usual_recipe={"lr": 0.005}, sample=(8,))
    result = run_stages(lab.context, plan(tuned=6))
    equal = [r for side in result.tuning.values() for r in side if r["recipe"] and len(r["validation"]) == 3]
    assert not equal, "an equal score is not better"
    assert result.recipes == {"winner": {}, "baseline": {}}
    assert not result.comparisons


@pytest.mark.parametrize(
    ("seconds", "tried", "folds"), [(4.0, 12, 3), (2.0, 6, 2), (1.5, 4, 2), (1.3, 0, 0), (1e9, 20, 3)]
)
def test_tuning_keeps_its_part_of_the_time(tmp_path, seconds, tried, folds):
    # Stage A: 9 trainings in 1 s. So 4 s buy 36, 18 for each network, of which 3 recipes on 2 more folds take 6.
    # 2 s buy 9 for each, which leaves 3 recipes, so they go through one more fold only; 1.5 s buy 6, of which 2
    # recipes on one more fold take 2; 1.3 s buy 5: three recipes are not worth it.
    lab = Tunable(tmp_path, more=9.0, tuning_seconds=seconds)
    result = run_stages(lab.context, plan(tuned=20))
    assert result.finalised
    assert len(result.tuning.get("winner", ())) == len(result.tuning.get("baseline", ())) == tried
    assert max((len(r["validation"]) for side in result.tuning.values() for r in side), default=0) == folds
    assert any("recipes for each network could be tried" in note for note in result.notes) == (tried == 0)
    trained = sum(len(r["validation"]) for r in result.tuning.get("winner", ()))
    assert trained * 2 / 9 <= max(seconds, 0.0), "two networks, nine trainings in a second"


def test_few_recipes_that_were_asked_for_are_confirmed_by_all_folds(tmp_path):
    result = run_stages(Tunable(tmp_path, more=9.0, tuning_seconds=1e9).context, plan(tuned=4))
    assert max(len(r["validation"]) for r in result.tuning["winner"]) == 3


def test_a_recipe_that_fails_is_the_worst(tmp_path):
    lab = Tunable(tmp_path)
    whole = lab.one

    def failing(task):
        if task.recipe and task.rows == "train" and task.recipe["lr"] > 0.01:
            return SimpleNamespace(cause="not finite", message="lr too high")
        return whole(task)

    lab.one = failing
    result = run_stages(lab.context, plan(tuned=10))
    assert result.finalised
    assert not result.recipes["winner"] or result.recipes["winner"]["lr"] <= 0.01
