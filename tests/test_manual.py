"""Ask and tell by hand."""

import pytest

from searchitect import Manual
from searchitect.errors import StudyLockedError, UsageError
from searchitect.records import State
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of
from searchitect.store import Store
from searchitect.testing.strategy import toy_space, toy_value

EVOLUTION = {"strategy": "regularized-evolution", "strategy_options": {"population": 6, "sample": 3}}


def test_the_loop_is_mine(tmp_path):
    with Manual(toy_space(), "max score", tmp_path / "s", **EVOLUTION) as study:
        for trial in study.take(30):
            study.tell(trial, score=toy_value(trial.architecture), extra=1.0)
        assert study.best.value("score") == max(t.value("score") for t in study.trials if t.source is None)
        assert sum(t.source is None for t in study.trials) == 30
    with Store.open(tmp_path / "s") as reader:
        assert {t.state for t in reader.trials()} == {State.DONE}


def test_a_plain_for_loop_ends_where_i_break_or_with_the_space(tmp_path):
    with Manual(toy_space(), "max score", tmp_path / "s") as study:
        for trial in study:
            study.tell(trial, score=toy_value(trial.architecture))
            if trial.number == 4:
                break
        assert [t.state for t in study.trials] == [State.DONE] * 5
    small = Space(Layer("toy.Net", {"width": one_of(1, 2, 3)}))
    with Manual(small, "max score", tmp_path / "small") as study:
        for trial in study:
            study.tell(trial, score=trial.architecture.decisions["width"])
        assert study.best.value("score") == 3
        assert sum(t.source is None for t in study.trials) == 3


def test_it_goes_on_where_it_was_with_the_same_proposals(tmp_path):
    def run(path, counts):
        for count in counts:
            with Manual(toy_space(), "max score", path, seed=5, **EVOLUTION) as study:
                for trial in study.take(count):
                    study.tell(trial, score=toy_value(trial.architecture))
                found = [(t.architecture, t.source) for t in study.trials]
        return found

    assert run(tmp_path / "whole", [24]) == run(tmp_path / "parts", [3, 4, 17, 24])


def test_several_out_at_once_and_told_in_any_order(tmp_path):
    with Manual(toy_space(), "max score", tmp_path / "s", **EVOLUTION) as study:
        out = [study.ask() for _ in range(8)]
        assert len({t.number for t in out}) == 8
        stream(0, 0, "order").shuffle(out)
        for trial in out:
            study.tell(trial, score=toy_value(trial.architecture))
        assert study.ask().proposal.origin == "mutate"


def test_a_continued_study_keeps_the_start_it_began_with(tmp_path):
    first = [toy_space().sample(number) for number in (5, 6)]
    with Manual(toy_space(), "max score", tmp_path / "s", start=[first[0], first[1].decisions]) as study:
        assert study.ask().architecture == first[0]
    with Manual(toy_space(), "max score", tmp_path / "s") as study:
        found = [study.ask(), study.ask()]
        assert [t.architecture for t in found] == first
        assert {t.proposal.origin for t in found} == {"start"}


def test_an_open_trial_is_asked_again_next_time(tmp_path):
    with Manual(toy_space(), "max score", tmp_path / "s") as study:
        lost = study.ask()
    with Manual(toy_space(), "max score", tmp_path / "s") as study:
        again = study.ask()
        assert (again.number, again.architecture, again.attempts) == (lost.number, lost.architecture, 2)


def test_trainings_that_pause_are_mine_to_continue(tmp_path):
    """Each promotion names the trial to go on with; no epoch is trained twice."""
    trained = {}
    with Manual(toy_space(), "max score", tmp_path / "s", strategy="asha", epochs=9) as study:
        for trial in study.take(60):
            fidelity, before = trial.proposal.fidelity, 0
            if trial.proposal.origin == "promote":
                parent = next(t for t in study.trials if t.number == trial.proposal.parents[0])
                before = trained[parent.number if parent.source is None else parent.source]
                assert (parent.architecture, parent.seed) == (trial.architecture, trial.seed)
            assert (before, fidelity.epochs, fidelity.horizon) in [(0, 1, 9), (1, 3, 9), (3, 9, 0)]
            trained[trial.number] = fidelity.epochs
            study.tell(trial, score=toy_value(trial.architecture) - 0.1 / fidelity.epochs)
        assert study.best.proposal.fidelity.epochs == 9
        assert sorted(set(trained.values())) == [1, 3, 9]


def test_a_failed_trial_is_data(tmp_path):
    with Manual(toy_space(), "max score", tmp_path / "s") as study:
        study.tell(study.ask(), score=1.0)
        study.tell_failed(study.ask(), "the board caught fire")
        assert study.trials[1].failure.message == "the board caught fire"


def test_what_i_enqueue_comes_next(tmp_path):
    space = toy_space()
    with Manual(space, "max score", tmp_path / "s") as study:
        wanted = space.sample(77)
        study.enqueue(wanted)
        assert study.ask().architecture == wanted


def test_equivalents_and_the_end_of_the_space(tmp_path):
    a, skip = Layer("toy.A", {}), Layer("torch.nn.Identity", {})
    space = Space(Layer("torch.nn.Sequential", {"*": (one_of(a, skip), one_of(a, skip))}))
    with Manual(space, "max score", tmp_path / "s") as study:
        seen = []
        while (trial := study.ask()) is not None:
            seen.append(trial)
            study.tell(trial, score=1.0)
        assert len(seen) == 3


def test_telling_twice_is_an_error(tmp_path):
    with Manual(toy_space(), "max score", tmp_path / "s") as study:
        trial = study.ask()
        study.tell(trial, score=1.0)
        with pytest.raises(UsageError, match="not out"):
            study.tell(trial, score=2.0)


def test_two_at_once_and_another_space_are_refused(tmp_path):
    with Manual(toy_space(), "max score", tmp_path / "s"), pytest.raises(StudyLockedError):
        Manual(toy_space(), "max score", tmp_path / "s")
    with pytest.raises(UsageError, match="another space"):
        Manual(Space(Layer("toy.Only", {})), "max score", tmp_path / "s")
