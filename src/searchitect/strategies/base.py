"""What every strategy is given and must do.

A proposal of any strategy is one of three: a start architecture of the user's, a random one, or one that was
learned. The first two are made here:

    def _propose(self) -> Proposal:
        setting = self.setting
        if self.draws < max(self.population, len(setting.start)):       # start architectures, then random ones
            return initial(setting, self.draws, self.events)
        ...

`initial` gives start architecture number `draw` (origin "start") while there are some, then random feasible ones
(origin "sample"). A strategy whose own first proposals are not random asks `started`, which is None after the start.
Start architectures count as draws: they are asked, told and replayed like all others.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, NamedTuple

from searchitect.errors import ArchitectureError, SpaceError, UsageError
from searchitect.records import Fidelity, Objective, Proposal, Trial, losses
from searchitect.seeds import Stream, stream
from searchitect.space import Architecture, Space

Fitness = tuple[float, tuple[float, ...]]  # violation of the limits, then the goals; smaller is better
ATTEMPTS = 1000  # draws or steps in a row that break a limit before a space counts as almost empty
DRAWS = 250  # draws before the nearest of them is led towards the limits, where distances are known


class Setting(NamedTuple):
    """What a strategy may know: the space, the objectives, the study's seed and the fidelity to propose.

    `feasible` says without building whether an architecture can be built and keeps the limits known
    beforehand (None: all can); proposals must be feasible. `excess` says how far it is from the limits: 0
    where it keeps them, infinity where it cannot be built (None: not known). What is feasible may be less than that.
    `start` are architectures to propose before all others, in this order (`check_start` has looked at them).
    `score` says without training how promising each is, larger for better, NaN where there is no score (None: nobody
    computes scores). Same architecture, same score, also when a study is replayed.
    """

    space: Space
    objectives: Sequence[Objective]
    seed: int
    fidelity: Fidelity = Fidelity()
    feasible: Callable[[Architecture], bool] | None = None
    start: tuple[Architecture, ...] = ()
    score: Callable[[Sequence[Architecture]], Sequence[float]] | None = None
    excess: Callable[[Architecture], float] | None = None


class Member(NamedTuple):
    """A measured architecture: the trial's number, what it is and how good."""

    number: int
    architecture: Architecture
    fitness: Fitness


class Strategy(ABC):
    """Proposes and listens. Concrete strategies are final: share steps as functions, not by subclassing.

    Contract (`searchitect.testing.StrategyContract`): all randomness comes from `seeds.stream` keyed by the
    study's seed and the number of the draw; the state is a fold over asked and told events; `ask(2)` equals
    `ask(1)` twice; tells may come in any order, late, failed, or for architectures never asked for.

    `pauses` says that most trials end long before the full fidelity, which may then be a more expensive one.
    """

    pauses: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, setting: Setting) -> None: ...

    @abstractmethod
    def ask(self, n: int = 1) -> list[Proposal]:
        """`n` feasible proposals. Raises SpaceError when the limits leave (almost) nothing to propose."""

    @abstractmethod
    def tell(self, trial: Trial) -> None:
        """What became of a trial: DONE, FAILED or PRUNED, own or the user's."""


def check_start(setting: Setting) -> None:
    """Raises UsageError naming the start architecture that is not of the space or breaks a limit known beforehand."""
    for position, architecture in enumerate(setting.start, 1):
        try:
            setting.space.validate(architecture)
        except ArchitectureError as error:
            raise UsageError(f"start architecture {position}: {error}") from error
        if setting.feasible is not None and not setting.feasible(architecture):
            raise UsageError(
                f"start architecture {position} {architecture.decisions} cannot be built or breaks a limit "
                f"({_limits(setting)}): leave it out or loosen the limit"
            )


def started(setting: Setting, draw: int, events: int) -> Proposal | None:
    """The start architecture of this draw; None when all have been proposed."""
    if draw >= len(setting.start):
        return None
    return Proposal(setting.start[draw], setting.fidelity, draw, (), events, "start")


def initial(setting: Setting, draw: int, events: int, by: Literal["branch", "architecture"] = "branch") -> Proposal:
    """The start architecture of this draw, else a random feasible one. Raises SpaceError as `first_feasible`."""
    if (given := started(setting, draw, events)) is not None:
        return given
    source, space = stream(setting.seed, draw, "sample"), setting.space
    if setting.feasible is None:
        architecture = space.sample(source, by=by)
    else:
        architecture = first_feasible(setting, lambda _attempt: space.sample(source, by=by), source)
    return Proposal(architecture, setting.fidelity, draw, (), events, "sample")


def first_feasible(setting: Setting, draw: Callable[[int], Architecture], source: Stream) -> Architecture:
    """`draw(attempt)` until one is feasible; after `DRAWS` that are not, the nearest of them `led_to_limits`.

    Raises SpaceError when neither finds one, or where no distances are known, after 1,000 draws in a row.
    """
    feasible, excess = setting.feasible, setting.excess
    if feasible is None:
        return draw(0)
    nearest: Architecture | None = None
    least = math.inf
    for attempt in range(ATTEMPTS if excess is None else DRAWS):
        architecture = draw(attempt)
        if feasible(architecture):
            return architecture
        if excess is not None and ((far := excess(architecture)) < least or nearest is None):
            nearest, least = architecture, far
    found = None if nearest is None else led_to_limits(setting, source, nearest)
    if found is None:
        raise almost_empty(setting)
    return found


def led_to_limits(setting: Setting, source: Stream, architecture: Architecture) -> Architecture | None:
    """What mutations make of an architecture that is not feasible: each stays if it is not farther from the limits.

    Where few architectures are feasible, say one in a million, this finds some of them in tens of steps; they are no
    fair sample. None after 1,000 steps, or where no distances are known.
    """
    space, feasible, excess = setting.space, setting.feasible, setting.excess
    if feasible is None or excess is None or not space.decisions:
        return None
    far = excess(architecture)
    for _ in range(ATTEMPTS):
        if feasible(architecture):
            return architecture
        changed = space.mutate(architecture, source)
        if (then := excess(changed)) <= far:
            architecture, far = changed, then
    return None


def almost_empty(setting: Setting) -> SpaceError:
    """The error that ends a search in which nothing feasible is found."""
    return SpaceError(
        f"the space is almost empty: {ATTEMPTS:,} architectures in a row break its limits ({_limits(setting)}). "
        "Loosen a limit or widen the space"
    )


def _limits(setting: Setting) -> str:
    limits = [str(o) for o in setting.objectives if o.is_limit] + [str(one) for one in setting.space.limits]
    return ", ".join(limits) or "what can be built"


def violation(trial: Trial, objectives: Sequence[Objective]) -> float:
    """By how much the limits are broken, as a sum of relative excesses; 0 when all are kept."""
    total = 0.0
    for o in objectives:
        if o.limit is not None and not o.kept(value := trial.value(o.metric)):
            excess = abs(value - o.limit) / max(abs(o.limit), 1e-12) if value is not None else 1.0
            total += excess if excess > 0 else 1e-12  # exactly at a strict limit
    return total


def fitness(trial: Trial, objectives: Sequence[Objective]) -> Fitness | None:
    """How good a trial is (smaller is better), or None when a goal was not measured."""
    values = losses(trial, objectives)
    if values is None:
        return None
    return violation(trial, objectives) if any(o.is_limit for o in objectives) else 0.0, values
