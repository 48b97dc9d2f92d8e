"""What the final comparison can afford: how many finalists, how many epochs, how long it takes. Pure arithmetic."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from searchitect.errors import UsageError
from searchitect.records import Trial
from searchitect.seeds import derive

LEAST_SEEDS = 3  # below this little can be said about seeds
MOST_FINALISTS = 5
MOST_SEEDS = 10

Cost = Callable[[Trial | None, int, bool], float]


class Together(NamedTuple):
    """Finalists that are used together: other members of the winner's ensemble, and those of a teacher."""

    members: int = 0
    teachers: int = 0


NOBODY = Together()


@dataclass(frozen=True)
class FinalPlan:
    """Stage A trains each finalist with each of `stage_a_seeds` (none: there is one finalist, nothing to choose);
    stage B trains the winner and the baseline with each of `stage_b_seeds`, and with more of `alone_seeds`, which begin
    with them, as far as there is time; all for `epochs`. `stage_seconds`:
    what the two stages are expected to take.
    `control`: finalists of the search beside the strategy; they go through the same stages, apart from the others.
    `tuned`: recipes to try for the winner and for the baseline between the stages; 0 for none.
    `members`: other members of the winner's ensemble, trained in stage B with every seed. `teachers`: finalists that
    are trained once before stage B, to teach winner and baseline, which is expected to take `teacher_seconds`."""

    finalists: tuple[Trial, ...]
    stage_a_seeds: tuple[int, ...]
    stage_b_seeds: tuple[int, ...]
    epochs: int
    forecast_seconds: float
    notes: tuple[str, ...] = ()
    alone_seeds: tuple[int, ...] = ()
    stage_seconds: tuple[float, float] = (0.0, 0.0)
    control: tuple[Trial, ...] = ()
    tuned: int = 0
    members: int = 0
    teachers: int = 0
    teacher_seconds: float = 0.0

    def in_time(
        self, took: float, left: float | None, networks: int = 0, epochs: int = 0
    ) -> tuple[tuple[int, ...], float]:
        """Seeds of stage B, and the share of its epochs that there is time for.

        took: seconds of stage A. Where it was slower than expected, so will stage B be: there are fewer additional
        seeds, then the trainings get shorter. Time that is left buys seeds, up to `MOST_SEEDS`. left: seconds from now,
        None for no limit. networks: how many will really be trained (a baseline that there is not counts, as it cost
        the plan nothing); 0 for all. epochs: those that stage A left of the plan's; 0 for all.
        """
        expected_a, expected_b = self.stage_seconds
        pace = max(1.0, took / expected_a) if expected_a > 0 else 1.0
        seeds, usual = self.alone_seeds, len(self.stage_b_seeds)
        if left is None:
            return seeds if networks == 1 else self.stage_b_seeds, 1.0
        planned = 2 + bool(self.control) + bool(self.tuned or self.teachers) + self.members
        each = expected_b * pace / usual * (networks or planned) / planned * (epochs or self.epochs) / self.epochs
        count = min(max(int(left / each), usual), len(seeds)) if each > 0 else len(seeds)
        return seeds[:count], min(1.0, max(left, 0.0) / max(each * count, 1e-9))


@dataclass(frozen=True)
class Means:
    """What there is for the final comparison.

    seconds_left:    None for no limit.
    seconds_per_run: (trial, epochs, all_rows) → what one training takes; the trial is None for the baseline (0.0 when
                     there is none), `all_rows` is whether validation rows are trained on too.
    workers:         trainings at a time.
    """

    seconds_left: float | None
    seconds_per_run: Cost
    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"workers={self.workers}: it must be at least 1")

    def makespan(self, trials: Sequence[Trial | None], epochs: int, all_rows: bool) -> float:
        """When the last of these trainings ends."""
        return makespan([self.seconds_per_run(trial, epochs, all_rows) for trial in trials], self.workers)


@dataclass(frozen=True)
class Wishes:
    """What is asked of the final comparison.

    epochs:      of a full training. seeds: of each network, never fewer (under 3 of them a note says what that costs).
    most, least: finalists; with little time there are fewer than `most`, but never fewer than `least`.
    tuned:       recipes that will be tried for each network (their time is not part of the plan).
    together:    how many finalists make up an ensemble and a teacher.
    """

    epochs: int
    seeds: int = 3
    most: int = MOST_FINALISTS
    least: int = 1
    tuned: int = 0
    together: Together = NOBODY

    def __post_init__(self) -> None:
        for name in ("epochs", "seeds", "most"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: it must be at least 1")


def plan_finals(
    candidates: Sequence[Trial], means: Means, wishes: Wishes, *, seed: int = 0, control: Sequence[Trial] = ()
) -> FinalPlan:
    """The dearest plan that fits: all finalists at full epochs if there is time, else fewer finalists, then fewer
    epochs, never fewer seeds.

    candidates: best first; equivalent ones (a reused result, or an equal architecture) count once.
    seed: of the study; the training seeds follow from it.
    control: candidates of the search beside the strategy, best first; as many are finalists as of the strategy's.

    When not even one epoch fits, that smallest plan is given with a note. Raises UsageError without candidates.
    """
    if not candidates:
        raise UsageError("there is no finished candidate to finalize")
    left, epochs, seeds, together = means.seconds_left, wishes.epochs, wishes.seeds, wishes.together
    pool, beside = distinct(candidates)[: wishes.most], distinct(control)
    least = min(wishes.least, len(pool))

    def parts(count: int, length: int) -> tuple[float, float, float]:
        return _seconds(means, wishes, (pool[:count], beside[:count]), length)

    def fits(count: int, length: int) -> bool:
        return left is None or sum(parts(count, length)) <= left

    count, length = next((n for n in range(len(pool), least - 1, -1) if fits(n, epochs)), least), epochs
    if not fits(count, length):
        length = next((e for e in range(epochs - 1, 0, -1) if fits(least, e)), 1)
    *stages, teacher = parts(count, length)
    total = sum(parts(count, length))
    notes = _notes((count, len(pool)), (length, epochs), seeds, together.members + 1, (total, left))
    stage_a = tuple(derive(seed, "finalist", i) for i in range(seeds)) if count > 1 else ()
    alone = tuple(derive(seed, "final", i) for i in range(seeds if left is None else max(seeds, MOST_SEEDS)))
    return FinalPlan(
        tuple(pool[:count]), stage_a, alone[:seeds], length, total, notes, alone, (stages[0], stages[1]),
        tuple(beside[:count]), wishes.tuned, min(together.members, count - 1), min(together.teachers, count), teacher,
    )  # fmt: skip


def _seconds(
    means: Means, wishes: Wishes, sides: tuple[Sequence[Trial], Sequence[Trial]], epochs: int
) -> tuple[float, float, float]:
    """What stage A, stage B and the teacher take with these finalists, and those of the control."""
    chosen, rivals = sides
    stage_a = [t for _ in range(wishes.seeds) for t in (*chosen, *rivals)] * (len(chosen) > 1)
    slowest = [max(side, key=lambda t: means.seconds_per_run(t, epochs, True)) for side in sides if side]
    # any of them may win; the winner also with its usual recipe, and beside other members of an ensemble
    again = bool(wishes.tuned or wishes.together.teachers) + min(wishes.together.members, len(chosen) - 1)
    stage_b = [t for _ in range(wishes.seeds) for t in (*slowest, *slowest[:1] * again, None)]
    teacher = chosen[: wishes.together.teachers]
    return (
        means.makespan(stage_a, epochs, False), means.makespan(stage_b, epochs, True),
        means.makespan(teacher, epochs, True),
    )  # fmt: skip


def _notes(
    finalists: tuple[int, int], epochs: tuple[int, int], seeds: int, ensemble: int, seconds: tuple[float, float | None]
) -> tuple[str, ...]:
    """What a plan cannot do. finalists, epochs: those there will be, and all; seconds: it will take, and there are."""
    (count, all_of_them), (length, wanted), (total, left) = finalists, epochs, seconds
    told = {
        f"{seeds} seed{'s' * (seeds > 1)} a side: the verdict knows little about seeds; ask for {LEAST_SEEDS}":
            seeds < LEAST_SEEDS,
        f"short of time: finalists are trained for {length} instead of {wanted} epochs": length < wanted,
        f"short of time: {count} instead of {all_of_them} finalists": count < all_of_them,
        f"the ensemble has {count} instead of {ensemble} networks: there are no more finalists":
            ensemble > count,
        f"the final comparison takes about {total:.0f} s, there are {max(left or 0.0, 0):.0f} s left":
            left is not None and total > left,
        "one finalist: there is nothing to choose among, so it goes straight to the final training": count == 1,
    }  # fmt: skip
    return tuple(text for text, so in told.items() if so)


def distinct(candidates: Sequence[Trial]) -> list[Trial]:
    """The candidates in their order without repeats of the same network."""
    kept: list[Trial] = []
    seen: set[object] = set()
    for trial in candidates:
        origin = trial.number if trial.source is None else trial.source
        names = {("origin", origin), ("architecture", trial.architecture)} | (
            {("key", trial.key)} if trial.key else set()
        )
        if not names & seen:
            kept.append(trial)
        seen |= names
    return kept


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of these runs ends if each worker takes the next one as soon as it is free."""
    free = [0.0] * workers
    for run in seconds:
        heapq.heapreplace(free, free[0] + run)
    return max(free)
