"""The contract of strategies, as tests. Subclass, name the class and its options, inherit the tests.

class TestMine(StrategyContract):
    def make(self, setting):
        return Mine(setting, temperature=0.5)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from searchitect.errors import SpaceError
from searchitect.records import Cause, Failure, Measurement, Objective, Proposal, State, Trial, objectives
from searchitect.seeds import stream
from searchitect.space import Architecture, Layer, Space, integer, named, one_of, real, repeat
from searchitect.strategies.base import Setting, Strategy

Event = tuple[str, int]


def toy_space(*, finite: bool = False) -> Space:
    """A small space with all that is awkward: conditions, a tie, numbers, a Float unless `finite`, nesting."""
    width = one_of(8, 16, 32, name="width")

    def block() -> Any:
        part = one_of(
            conv=Layer("toy.Conv", {"width": width, "kernel": one_of(1, 3, 5)}),
            drop=Layer("toy.Drop", {"p": one_of(0.0, 0.5) if finite else real(0.0, 0.5), "times": integer(1, 4)}),
            skip=Layer("toy.Skip", {}),
        )
        return named("part", part)

    return Space(Layer("toy.Net", {"blocks": repeat(block, 1, 3), "head": Layer("toy.Head", {"width": width})}))


def toy_value(architecture: Architecture) -> float:
    """A deterministic score: many convolutions with kernel 3 are good."""
    score = 0.0
    for name, value in architecture.decisions.items():
        score += {"conv": 1.0, "skip": 0.25}.get(str(value), 0.0)
        if name.endswith("kernel"):
            score += 0.5 - 0.25 * abs(float(value or 0) - 3.0)
    return score / 5.0


class StrategyContract:
    """Subclass and implement `make`. Each test is one promise of `Strategy`."""

    rounds = 24
    finite = False  # whether the strategy takes only spaces without Floats
    repeats = True  # whether it may propose an architecture again; else it must say when the space is exhausted

    def make(self, setting: Setting) -> Strategy:
        """A new strategy for the setting."""
        raise AttributeError("a contract test class implements make(setting)")

    # -- helpers -------------------------------------------------------------------------------------

    def setting(self, seed: int = 0, texts: Sequence[str] = ("max score",), **more: Any) -> Setting:
        """The toy space with these objectives."""
        return Setting(toy_space(finite=self.finite), objectives(texts), seed, **more)

    def refusal(self, strategy: Strategy) -> str:
        """What the strategy says when it has nothing to propose; nothing when it proposes."""
        try:
            strategy.ask(1)
        except SpaceError as error:
            return str(error)
        return ""

    def finish(self, number: int, proposal: Proposal, goals: Sequence[Objective]) -> Trial:
        """What the evaluator would say: every seventh trial fails, every eleventh is not a number."""
        if number % 7 == 5:
            cause = Failure(Cause.USER_CODE, "broken on purpose")
            return Trial(number, proposal, State.FAILED, failure=cause)
        value = math.nan if number % 11 == 9 else toy_value(proposal.architecture)
        metrics = {
            o.metric: value if i == 0 else float(len(proposal.architecture.decisions)) for i, o in enumerate(goals)
        }
        return Trial(number, proposal, State.DONE, measurement=Measurement(metrics))

    def drive(
        self, strategy: Strategy, setting: Setting, rounds: int, workers: int = 1
    ) -> tuple[list[Event], list[Trial]]:
        """Ask and tell with `workers` in flight, finishing in a scrambled order. The events and the trials."""
        events: list[Event] = []
        trials: list[Trial] = []
        flying: list[Trial] = []
        order = stream(setting.seed, 0, "finishing order")
        while len(trials) < rounds or flying:
            while len(flying) < workers and len(trials) < rounds:
                (proposal,) = strategy.ask(1)
                events.append(("asked", len(trials)))
                trial = self.finish(len(trials), proposal, setting.objectives)
                trials.append(trial)
                flying.append(trial)
            trial = flying.pop(order.below(len(flying)))
            events.append(("told", trial.number))
            strategy.tell(trial)
        return events, trials

    # -- promises ------------------------------------------------------------------------------------

    def test_proposals_are_valid_and_counted(self) -> None:
        setting = self.setting()
        events, trials = self.drive(self.make(setting), setting, self.rounds, workers=3)
        for trial in trials:
            setting.space.validate(trial.proposal.architecture)
            assert trial.proposal.draw == trial.number
            assert trial.proposal.events == events.index(("asked", trial.number))
            assert all(0 <= parent < self.rounds for parent in trial.proposal.parents)

    def test_same_seed_same_proposals_other_seed_others(self) -> None:
        runs = []
        for seed in (0, 0, 1):
            setting = self.setting(seed)
            runs.append(
                [t.proposal.architecture.decisions for t in self.drive(self.make(setting), setting, self.rounds)[1]]
            )
        assert runs[0] == runs[1]
        assert runs[0] != runs[2]

    def test_the_seed_reaches_every_draw(self) -> None:
        """With the same answers told, another seed changes random *and* learned proposals."""
        first, other = self.setting(0), self.setting(1)
        one, two = self.make(first), self.make(other)
        for number in range(self.rounds):
            (proposal,) = one.ask(1)
            two.ask(1)
            trial = self.finish(number, proposal, first.objectives)
            one.tell(trial)
            two.tell(trial)
        later = [(one.ask(1)[0].architecture, two.ask(1)[0].architecture) for _ in range(8)]
        assert any(a != b for a, b in later)

    def test_ask_two_is_ask_one_twice(self) -> None:
        setting = self.setting()
        for told in (0, 5, self.rounds):
            one, two = self.make(setting), self.make(setting)
            self.drive(one, setting, told)
            self.drive(two, setting, told)
            assert one.ask(2) == two.ask(1) + two.ask(1)

    def test_replay_at_every_cut(self) -> None:
        """Cut the stored events anywhere, replay them: the same next proposals."""
        setting = self.setting()
        events, trials = self.drive(self.make(setting), setting, self.rounds, workers=3)
        reference = {t.number: t.proposal for t in trials}
        for cut in range(len(events) + 1):
            strategy = self.make(setting)
            for kind, number in events[:cut]:
                if kind == "told":
                    strategy.tell(trials[number])
                else:
                    assert strategy.ask(1) == [reference[number]]
            following = next((number for kind, number in events[cut:] if kind == "asked"), None)
            if cut < len(events) and events[cut][0] == "asked" and following is not None:
                assert strategy.ask(1) == [reference[following]]

    def test_start_architectures_come_first_as_draws_like_others(self) -> None:
        """In their order, with the origin "start", replayed as all proposals; then the strategy's own."""
        space = self.setting().space
        start = tuple(space.sample(number) for number in (101, 102, 103))
        setting = self.setting(start=start)
        events, trials = self.drive(self.make(setting), setting, self.rounds, workers=2)
        assert [t.proposal.architecture for t in trials[:3]] == list(start)
        assert [(t.proposal.origin, t.proposal.draw) for t in trials[:3]] == [("start", i) for i in range(3)]
        assert all(t.proposal.origin != "start" for t in trials[3:])
        strategy = self.make(setting)
        for kind, number in events:
            if kind == "told":
                strategy.tell(trials[number])
            else:
                assert strategy.ask(1) == [trials[number].proposal]

    def test_any_order_of_tells_works(self) -> None:
        setting = self.setting()
        for turn in range(3):
            strategy = self.make(setting)
            proposals = strategy.ask(self.rounds)
            trials = [self.finish(i, p, setting.objectives) for i, p in enumerate(proposals)]
            stream(turn, 0, "order").shuffle(trials)
            for trial in trials:
                strategy.tell(trial)
            for proposal in strategy.ask(4):
                setting.space.validate(proposal.architecture)

    def test_it_lives_with_nothing_but_failures(self) -> None:
        setting = self.setting()
        strategy = self.make(setting)
        for number in range(2 * self.rounds):
            (proposal,) = strategy.ask(1)
            setting.space.validate(proposal.architecture)
            strategy.tell(Trial(number, proposal, State.FAILED, failure=Failure(Cause.KILLED, "killed")))

    def test_it_hears_of_architectures_it_never_proposed(self) -> None:
        setting = self.setting()
        strategy = self.make(setting)
        for number in range(self.rounds):
            stranger = Proposal(setting.space.sample(number), origin="enqueued")
            strategy.tell(self.finish(number, stranger, setting.objectives))
            setting.space.validate(strategy.ask(1)[0].architecture)

    def test_limits_known_beforehand_are_respected(self) -> None:
        """No convolution of 32 channels, which one draw in three would have."""

        def fits(architecture: Architecture) -> bool:
            return not any(name.endswith("width") and value == 32 for name, value in architecture.decisions.items())

        setting = self.setting(feasible=fits)
        broken = sum(not fits(setting.space.sample(number)) for number in range(100))
        assert 20 < broken < 60
        _, trials = self.drive(self.make(setting), setting, self.rounds, workers=2)
        assert all(fits(t.proposal.architecture) for t in trials)

    def test_limits_that_hardly_any_draw_keeps_are_kept_and_replayed(self) -> None:
        """Three blocks that drop at most twice: one draw in 650, found by the distance to the limits."""

        def excess(architecture: Architecture) -> float:
            chosen = architecture.decisions
            drops = list(chosen.values()).count("drop")
            often = sum(name.endswith("times") and float(value or 0) > 2 for name, value in chosen.items())
            return float(3 - drops + often)

        setting = self.setting(feasible=lambda a: excess(a) == 0.0, excess=excess)
        strategy, replayed = self.make(setting), self.make(setting)
        events, trials = self.drive(strategy, setting, self.rounds // 3, workers=2)
        assert all(excess(t.proposal.architecture) == 0.0 for t in trials)
        for kind, number in events:
            if kind == "told":
                replayed.tell(trials[number])
            else:
                assert replayed.ask(1) == [trials[number].proposal]
        assert strategy.ask(2) == replayed.ask(1) + replayed.ask(1)

    def test_an_empty_space_is_an_error_not_a_hang(self) -> None:
        assert "almost empty" in self.refusal(self.make(self.setting(feasible=lambda _: False)))

    def test_a_small_space_is_searched_to_its_end(self) -> None:
        """Six architectures: all are found, and a strategy that never repeats itself then says so."""
        space = Space(Layer("toy.Net", {"width": one_of(1, 2, 3), "act": one_of("relu", "tanh")}))
        goals = objectives("max score")
        strategy, found = self.make(Setting(space, goals, 0)), set()
        for number in range(6 if not self.repeats else 60):
            (proposal,) = strategy.ask(1)
            found.add(proposal.architecture)
            strategy.tell(self.finish(number, proposal, goals))
        if self.repeats:
            assert len(found) > 1
            strategy.ask(1)
        else:
            assert len(found) == 6
            assert "exhausted" in self.refusal(strategy)

    def test_several_goals_and_limits(self) -> None:
        setting = self.setting(texts=("max score", "min cost", "cost < 9"))
        _, trials = self.drive(self.make(setting), setting, 2 * self.rounds, workers=2)
        assert len({t.proposal.architecture for t in trials}) > 1

    def test_a_single_architecture_is_proposed_again(self) -> None:
        space = Space(Layer("toy.Net", {}))
        strategy = self.make(Setting(space, objectives("max score"), 0))
        for number in range(self.rounds if self.repeats else 1):
            (proposal,) = strategy.ask(1)
            assert proposal.architecture.decisions == {}
            strategy.tell(self.finish(number, proposal, objectives("max score")))
        if not self.repeats:
            assert "exhausted" in self.refusal(strategy)

    def test_it_touches_no_global_generator(self) -> None:
        import random

        import numpy

        def state() -> tuple[object, str]:
            return random.getstate(), str(numpy.random.get_state())  # noqa: NPY002 - read, not used

        before = state()
        setting = self.setting()
        self.drive(self.make(setting), setting, self.rounds)
        assert state() == before
