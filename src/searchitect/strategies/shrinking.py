"""Progressive shrinking: options that lose are no longer proposed by any strategy; every cut can be taken back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from searchitect.errors import SpaceError, UsageError
from searchitect.records import PROMOTE, Proposal, State, Trial
from searchitect.seeds import stream
from searchitect.space import Architecture
from searchitect.strategies import strategy_class
from searchitect.strategies.base import Setting, Strategy
from searchitect.strategies.odds import Evidence, Option, allowed, common_odds, log_evidence, upper_odds

STALE = 1_000  # proposals in a row that hold a cut option (they were made before the cut)
ROOM, EACH = 1_000, 4  # a cut leaves so many architectures, and so many more for each trial told
DRAWS, LEAST = 200, 0.05  # random architectures, of which a cut leaves so large a share


class Change(NamedTuple):
    """One option cut or taken back, after so many `events` (asked and told). Numbers are None for what comes back.

    trials: with the option, in blocks with others; best: how many of them were among the best of their block; odds: of
    that, against the other options; upper: what these odds are below, with the confidence asked for.
    """

    event: int
    kind: Literal["cut", "back"]
    option: Option
    trials: int | None = None
    best: int | None = None
    odds: float | None = None
    upper: float | None = None


class Journal(NamedTuple):
    """What a study has written down of shrinking, for a replay, and who is told of more.

    past: changes of the first `until` events: they are repeated as they were, not decided anew.
    wishes: what the user took back, by the event after which it was: options by (decision, text), or None for all
    (then nothing is cut any more). listen: is told of each change, of repeated ones too.
    """

    past: Sequence[Change] = ()
    until: int = 0
    wishes: Mapping[int, Sequence[tuple[str, str] | None]] = {}
    listen: Callable[[Change], None] = lambda _change: None


class Shrinking(Strategy):
    """Another strategy, in a space from which options that lose are cut while it searches.

    Idea: bad options cost every strategy trials, again and again. Each option of a decision is compared with the others
    of that decision: how often it is among the best quarter of a block of sixteen trials (`odds`). It is cut when its
    estimated odds of that are at most `odds` (half), and the evidence that they are below 1 exceeds
    (options of the space) / (1 - `confidence`). The evidence is a test martingale, so that this holds however often one
    looks: if no option is worse than the others, the probability that ever one is cut is at most 1 - confidence.
    Source: shrinking a space by its poor operators: Hu et al. 2020 ("Angle-based Search Space Shrinking"), Li et al.
    2019 ("Improving One-shot NAS by Suppressing the Posterior Fading"); the test: see `odds.log_evidence`. Where we
    differ: (1) cuts need evidence with a stated error, by ranks, so that any goals and limits serve; (2) only trials
    whose option was drawn by chance count, so a strategy that chooses by a model gives no evidence after its first
    draws; (3) a cut leaves at least 5 % of random draws, 1,000 architectures and four for each trial told; (4) the
    user's architectures, starts and promotions are not touched; (5) when the inner strategy finds nothing new, all
    comes back. What an option loses is measured in the mean over the other decisions: that the very best network needs
    an option which is rarely good can happen.
    Cost: that of the inner strategy, and 0.2 ms for each trial with six decisions.

    Options: `inner`, `inner_options`; `confidence`; `odds`; `journal` (of a study that goes on).
    """

    def __init__(
        self, setting: Setting, inner: str = "random", inner_options: Mapping[str, Any] | None = None,
        confidence: float = 0.95, odds: float = 0.5, journal: Journal | None = None,
    ) -> None:  # fmt: skip
        if not (0.0 < confidence < 1.0 and 0.0 < odds <= 1.0):
            raise UsageError(
                f"shrinking: confidence={confidence} and odds={odds} must be above 0, and below 1 (odds: 1)"
            )
        cls = strategy_class(inner)
        if issubclass(cls, Shrinking):
            raise UsageError("inner='shrinking': name the strategy whose space is to shrink")
        self.setting, self.journal, self.odds = setting, journal or Journal(), odds
        self.evidence = Evidence(setting.space, setting.objectives)
        self.threshold = math.log(max(len(self.evidence.blocks), 1) / (1.0 - confidence))
        self.cut: dict[str, frozenset[int]] = {}
        self.spared: set[Option] = set()  # taken back by the user
        self.on = True
        self.changes: list[Change] = []
        self.own: dict[int, Proposal] = {}  # by our draw, as the inner strategy made it
        self.draws = self.events = self.told = 0
        own = setting._replace(feasible=self._feasible, excess=setting.excess and self._excess)
        try:
            self.inner = cls(own, **(inner_options or {}))
        except TypeError as error:
            raise UsageError(f"strategy {inner!r}: {error}; its options are written in its docstring") from error
        self._follow()

    def ask(self, n: int = 1) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        try:
            own = self._fresh()
        except SpaceError:
            if not self.cut:
                raise
            self.on = False
            for option in self._all_cut():
                self._take_back(option)
            own = self._fresh()
        self.own[self.draws] = own
        proposal = replace(own, draw=self.draws, events=self.events)
        self.draws += 1
        self._happened()
        return proposal

    def _fresh(self) -> Proposal:
        """The inner strategy's next proposal without a cut option; those that it made before a cut are let go."""
        for _ in range(STALE):
            proposal = self.inner.ask(1)[0]
            if proposal.origin in (PROMOTE, "start") or self._open(proposal.architecture):
                return proposal
            self.inner.tell(Trial(-1, proposal, State.PRUNED))
        raise SpaceError(f"the last {STALE:,} proposals held options that were cut")

    def tell(self, trial: Trial) -> None:
        own = self.own.pop(trial.proposal.draw, None)
        self.inner.tell(trial if own is None else replace(trial, proposal=own))
        self.told += 1
        changed = self.evidence.tell(trial)
        self._happened()
        if self.on and self.events > self.journal.until:
            for option in changed:
                self._judge(option)

    # -- cuts ----------------------------------------------------------------------------------------

    def _judge(self, option: Option) -> None:
        blocks = self.evidence.blocks[option]
        if option in self.spared or option.part in self.cut.get(option.decision, ()):
            return
        found = common_odds(blocks)
        if found > self.odds or log_evidence(blocks) < self.threshold or not self._leaves_room(option):
            return
        trials, best = self.evidence.trials(option)
        upper = upper_odds(blocks, self.threshold)
        self._apply(Change(self.events, "cut", option, trials, best, found, upper))

    def _leaves_room(self, option: Option) -> bool:
        """Whether enough is left of the space without an option."""
        space, cut = self.setting.space, dict(self.cut)
        cut[option.decision] = cut.get(option.decision, frozenset()) | {option.part}
        draws = [space.sample(stream(self.setting.seed, i, "shrink")) for i in range(DRAWS)]
        share = sum(allowed(a, self.evidence.parts, cut) for a in draws) / DRAWS
        enough = space.size.continuous > 0 or share * space.size.finite >= ROOM + EACH * self.told
        return share >= LEAST and enough

    def _apply(self, change: Change) -> None:
        option, before = change.option, self.cut.get(change.option.decision, frozenset())
        after = before | {option.part} if change.kind == "cut" else before - {option.part}
        self.cut[option.decision] = after
        if not after:
            del self.cut[option.decision]
        self.changes.append(change)
        self.journal.listen(change)

    def _take_back(self, option: Option) -> None:
        self._apply(Change(self.events, "back", option))

    def _all_cut(self) -> list[Option]:
        parts = self.evidence.parts
        return [parts[name].options[i] for name, positions in self.cut.items() for i in sorted(positions)]

    # -- a study that goes on ------------------------------------------------------------------------

    def _happened(self) -> None:
        self.events += 1
        self._follow()

    def _follow(self) -> None:
        """What was decided or wished after as many events."""
        for change in self.journal.past:
            if change.event == self.events and change.kind == "cut":
                self._apply(change)
        for wish in self.journal.wishes.get(self.events, ()):
            self.on = self.on and wish is not None
            for option in self._all_cut():
                if wish is None or wish == (option.decision, option.text):
                    self.spared.add(option)
                    self._take_back(option)

    def _open(self, architecture: Architecture) -> bool:
        return not self.cut or allowed(architecture, self.evidence.parts, self.cut)

    def _feasible(self, architecture: Architecture) -> bool:
        outer = self.setting.feasible
        return self._open(architecture) and (outer is None or outer(architecture))

    def _excess(self, architecture: Architecture) -> float:
        """The distance to the limits, and 1 for each option that is cut."""
        chosen, parts = architecture.decisions, self.evidence.parts
        held = sum(n in chosen and parts[n].of(chosen[n]) in positions for n, positions in self.cut.items())
        assert self.setting.excess is not None
        return self.setting.excess(architecture) + held
