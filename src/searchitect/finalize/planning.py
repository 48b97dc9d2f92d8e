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


def plan_finals(
    candidates: Sequence[Trial],
    *,
    seconds_left: float | None,
    seconds_per_run: Cost,
    workers: int,
    epochs: int,
    seeds: int = 3,
    most: int = MOST_FINALISTS,
    least: int = 1,
    seed: int = 0,
    control: Sequence[Trial] = (),
    tuned: int = 0,
    together: Together = NOBODY,
) -> FinalPlan:
    """The dearest plan that fits: `most` finalists at full `epochs` if there is time, else fewer finalists (never under
    `least`), then fewer epochs, never fewer seeds than asked for (under 3 of them a note says what that costs).

    candidates: best first; equivalent ones (a reused result, or an equal architecture) count once.
    seconds_left: None for no limit. seconds_per_run(trial, epochs, all_rows): what one training takes; the trial is
    None for the baseline (0.0 when there is none), `all_rows` is whether validation rows are trained on too.
    seed: of the study; the training seeds follow from it.
    control: candidates of the search beside the strategy, best first; as many are finalists as of the strategy's.
    tuned: recipes that will be tried for each network (their time is not part of the plan).
    together: how many finalists make up an ensemble and a teacher.

    When not even one epoch fits, that smallest plan is given with a note. Raises UsageError without candidates.
    """
    if not candidates:
        raise UsageError("there is no finished candidate to finalize")
    if epochs < 1 or seeds < 1 or most < 1 or workers < 1:
        raise UsageError(f"epochs={epochs}, seeds={seeds}, most={most}, workers={workers}: each must be at least 1")
    pool = distinct(candidates)[:most]
    least, beside = min(least, len(pool)), distinct(control)

    def stages(count: int, length: int) -> tuple[float, float]:
        chosen, rivals = pool[:count], beside[:count]
        stage_a = [seconds_per_run(t, length, False) for _ in range(seeds) for t in (*chosen, *rivals)] * (count > 1)
        slowest = [max(seconds_per_run(t, length, True) for t in side) for side in (chosen, rivals) if side]
        # any of them may win; the winner also with its usual recipe, and beside other members of an ensemble
        slowest += [slowest[0]] * (bool(tuned or together.teachers) + min(together.members, count - 1))
        stage_b = [s for _ in range(seeds) for s in (*slowest, seconds_per_run(None, length, True))]
        return makespan(stage_a, workers), makespan(stage_b, workers)

    def teacher(count: int, length: int) -> float:
        return makespan([seconds_per_run(t, length, True) for t in pool[:count][: together.teachers]], workers)

    def forecast(count: int, length: int) -> float:
        return sum(stages(count, length)) + teacher(count, length)

    def fits(count: int, length: int) -> bool:
        return seconds_left is None or forecast(count, length) <= seconds_left

    count, length = next((n for n in range(len(pool), least - 1, -1) if fits(n, epochs)), least), epochs
    if not fits(count, length):
        length = next((e for e in range(epochs - 1, 0, -1) if fits(least, e)), 1)
    total = forecast(count, length)
    notes = _notes((count, len(pool)), (length, epochs), seeds, together.members + 1, (total, seconds_left))
    stage_a = tuple(derive(seed, "finalist", i) for i in range(seeds)) if count > 1 else ()
    alone = tuple(derive(seed, "final", i) for i in range(seeds if seconds_left is None else max(seeds, MOST_SEEDS)))
    return FinalPlan(
        tuple(pool[:count]), stage_a, alone[:seeds], length, total, notes, alone, stages(count, length),
        tuple(beside[:count]), tuned, min(together.members, count - 1), min(together.teachers, count),
        teacher(count, length),
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
