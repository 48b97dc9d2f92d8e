"""What is written down: proposals, measurements, trials and objectives. Plain typed records, no torch.

Space → Architecture → Proposal → Measurement → Trial → Study. Every record is frozen and goes to JSON
and back through msgspec without loss; numbers that are not finite travel as "nan", "inf", "-inf".
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from searchitect.errors import UsageError
from searchitect.space import Architecture, Scalar
from searchitect.space.limits import beyond


class State(StrEnum):
    """Where a trial stands. QUEUED → RUNNING → DONE, FAILED or PRUNED."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    PRUNED = "pruned"


class Cause(StrEnum):
    """Why a trial failed."""

    USER_CODE = "user code"
    INVALID = "invalid architecture"
    NOT_FINITE = "not finite"
    MEMORY = "out of memory"
    TIME = "time limit"
    KILLED = "killed"
    STORAGE = "storage"
    DATA = "bad data"


class Fidelity(msgspec.Struct, frozen=True):
    """How thoroughly an architecture is measured. Curves never mix kinds.

    `horizon` is set where training pauses before its end: the learning-rate schedule is that of so many epochs, of
    which `epochs` are done. 0: the schedule ends where the training does.
    """

    kind: Literal["train", "function", "inherited", "zero_cost", "table"] = "train"
    epochs: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0
    data: float = 1.0  # share of the training rows
    resolution: int | None = None
    horizon: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 0


CONTROL = "control"  # origin of a proposal of the random search beside the strategy
PROMOTE = "promote"  # origin of a proposal that continues the training of its only parent


class Proposal(msgspec.Struct, frozen=True):
    """What a strategy wants measured.

    `draw` counts the strategy's own proposals from 0 (-1: enqueued by the user); all its randomness is
    keyed by it. `events` is the number of stored events (asked and told) that came before.
    `parents` are trial numbers. `inherits`: whether the training begins with the weights of a parent.
    """

    architecture: Architecture
    fidelity: Fidelity = Fidelity()
    draw: int = -1
    parents: tuple[int, ...] = ()
    events: int = 0
    origin: str = ""  # which move made it: "sample", "mutate", "enqueued", "promote", ...
    inherits: bool = False


class Measurement(msgspec.Struct, frozen=True):
    """Named numbers and what they cost. `curve` has one mapping per reported step."""

    metrics: dict[str, float]
    seconds: float = 0.0
    epochs: int = 0
    device: str = "cpu"
    curve: tuple[dict[str, float], ...] = ()
    notes: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True):
    """Why one trial failed: a cause, one line for the table, and the traceback (stored once)."""

    cause: Cause
    message: str
    traceback: str = ""
    retryable: bool = False  # a fault of the machine, not of the candidate


class Trial(msgspec.Struct, frozen=True):
    """One proposal and what became of it. Times are UTC seconds since 1970, durations monotonic."""

    number: int
    proposal: Proposal
    state: State = State.QUEUED
    measurement: Measurement | None = None
    failure: Failure | None = None
    attempts: int = 0
    source: int | None = None  # number of the trial whose result was reused
    key: str = ""  # reuse key
    seed: int = 0
    started: float | None = None
    finished: float | None = None
    worker: int | None = None

    @property
    def architecture(self) -> Architecture:
        """The architecture that was proposed."""
        return self.proposal.architecture

    def value(self, metric: str) -> float | None:
        """The measured number, or None when there is none."""
        return None if self.measurement is None else self.measurement.metrics.get(metric)


class Objective(msgspec.Struct, frozen=True):
    """One metric to be improved, or one limit to be kept (`limit` is set, `sense` says which side)."""

    metric: str
    direction: Literal["max", "min"]
    limit: float | None = None
    unit: str = ""

    @property
    def is_limit(self) -> bool:
        """Whether this is a limit rather than a goal."""
        return self.limit is not None

    def loss(self, value: float) -> float:
        """The value turned so that smaller is better; not a number becomes +inf."""
        if math.isnan(value):
            return math.inf
        return value if self.direction == "min" else -value

    def kept(self, value: float | None) -> bool:
        """Whether a limit is kept by the value (a goal is always kept; no number keeps no limit)."""
        if self.limit is None:
            return True
        if value is None or math.isnan(value):
            return False
        return value < self.limit if self.direction == "min" else value > self.limit

    def excess(self, value: float) -> float:
        """How far a value is from keeping a limit, as a share of the limit: 0 where it is kept, else more than 0."""
        return 0.0 if self.limit is None else beyond(value, self.limit, self.direction)

    def __str__(self) -> str:
        if self.limit is not None:
            return f"{self.metric} {'<' if self.direction == 'min' else '>'} {self.limit:g}"
        usual = self.metric in KNOWN_METRICS and KNOWN_METRICS[self.metric][0] == self.direction
        return self.metric if usual else f"{self.direction} {self.metric}"


KNOWN_METRICS: dict[str, tuple[Literal["max", "min"], str]] = {
    "accuracy": ("max", ""),
    "loss": ("min", ""),
    "rmse": ("min", ""),
    "mae": ("min", ""),
    "r2": ("max", ""),
    "params": ("min", ""),
    "macs": ("min", ""),
    "latency_ms": ("min", "ms"),
    "memory_mb": ("min", "MB"),
    "energy_mj": ("min", "mJ"),
    "seconds": ("min", "s"),
}
COST_METRICS = ("params", "macs", "memory_mb")  # known from the plan alone, before anything is built
DEVICE_METRICS = ("latency_ms", "energy_mj")  # of one row on a device: predicted in a search, measured for finalists

# scikit-learn's scorers are all "greater is better"; a test holds this table against the installed version.
SCORERS = frozenset(
    """accuracy balanced_accuracy average_precision top_k_accuracy matthews_corrcoef r2 explained_variance
    f1 f1_macro f1_micro f1_weighted precision precision_macro precision_micro precision_weighted
    recall recall_macro recall_micro recall_weighted jaccard jaccard_macro jaccard_micro jaccard_weighted
    roc_auc roc_auc_ovr roc_auc_ovo roc_auc_ovr_weighted roc_auc_ovo_weighted
    neg_log_loss neg_brier_score neg_mean_absolute_error neg_mean_squared_error neg_root_mean_squared_error
    neg_mean_absolute_percentage_error neg_median_absolute_error neg_max_error
    neg_mean_squared_log_error neg_root_mean_squared_log_error neg_mean_poisson_deviance
    neg_mean_gamma_deviance d2_absolute_error_score d2_brier_score d2_log_loss_score""".split()
)


def objective(text: str | Objective) -> Objective:
    """Read `"accuracy"`, `"min cost"`, `"max score"`, `"latency_ms < 2"` or `"f1 > 0.9"`.

    Raises UsageError for anything else, and for an unknown metric written without its direction.
    """
    if isinstance(text, Objective):
        return text
    for sign, direction in (("<", "min"), (">", "max")):
        name, found, bound = text.partition(sign)
        if found:
            name = name.strip()
            try:
                limit = float(bound.lstrip("=").strip())
            except ValueError:
                raise UsageError(
                    f"objective {text!r}: {bound.strip()!r} is not a number; write for example 'latency_ms < 2'"
                ) from None
            if not name.isidentifier() or math.isnan(limit):
                raise UsageError(
                    f"objective {text!r}: write it as 'metric {sign} number', for example 'latency_ms < 2'"
                )
            return Objective(name, direction, limit, _unit(name))  # type: ignore[arg-type]
    words = text.split()
    if len(words) == 2 and words[0] in ("min", "max") and words[1].isidentifier():
        return Objective(words[1], words[0], None, _unit(words[1]))  # type: ignore[arg-type]
    if len(words) == 1 and words[0] in KNOWN_METRICS:
        return Objective(words[0], KNOWN_METRICS[words[0]][0], None, _unit(words[0]))
    if len(words) == 1 and words[0] in SCORERS:
        return Objective(words[0], "max")
    raise UsageError(
        f"objective {text!r} is not known: write 'max {text}' or 'min {text}' for a metric of your own, or one of "
        f"{', '.join(KNOWN_METRICS)}, or the name of a scikit-learn scorer"
    )


def _unit(metric: str) -> str:
    return KNOWN_METRICS[metric][1] if metric in KNOWN_METRICS else ""


def objectives(texts: str | Objective | Iterable[str | Objective]) -> tuple[Objective, ...]:
    """Read one or several objectives. Raises UsageError unless at least one of them is a goal."""
    if isinstance(texts, (str, Objective)):
        texts = (texts,)
    read = tuple(objective(t) for t in texts)
    if not any(not o.is_limit for o in read):
        raise UsageError("objectives need at least one goal besides limits, for example ['accuracy', 'latency_ms < 2']")
    names = [o.metric for o in read if not o.is_limit]
    if len(set(names)) < len(names):
        raise UsageError(f"an objective is given twice: {', '.join(names)}")
    _check_limits(read)
    return read


def _check_limits(read: Sequence[Objective]) -> None:
    """Raises UsageError when no number could keep two of the limits."""
    lower = [o for o in read if o.limit is not None and o.direction == "max"]
    for below in (o for o in read if o.limit is not None and o.direction == "min"):
        for above in lower:
            if above.metric == below.metric and not (above.limit or 0.0) < (below.limit or 0.0):
                raise UsageError(
                    f"the limits '{above}' and '{below}' contradict each other: no value is both, so every trial would "
                    "fail them; leave one out, or turn the signs"
                )


def goals(items: Sequence[Objective]) -> tuple[Objective, ...]:
    """The objectives that are to be improved, without the limits."""
    return tuple(o for o in items if not o.is_limit)


def feasible(metrics: Mapping[str, float], items: Sequence[Objective]) -> bool:
    """Whether the numbers keep every limit."""
    return all(o.kept(metrics.get(o.metric)) for o in items)


def losses(trial: Trial, items: Sequence[Objective]) -> tuple[float, ...] | None:
    """The trial's goals, turned so that smaller is better; None when one was not measured."""
    values = [trial.value(o.metric) for o in goals(items)]
    if any(v is None for v in values):
        return None
    return tuple(o.loss(v) for o, v in zip(goals(items), values, strict=True) if v is not None)


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a is at least as good everywhere and better somewhere (smaller is better)."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def candidates(trials: Iterable[Trial], items: Sequence[Objective], control: bool = False) -> list[Trial]:
    """DONE trials with finite goals that keep all limits, at the highest fidelity reached: those of the search, or of
    the control that ran beside it."""
    own = (t for t in trials if (t.proposal.origin == CONTROL) == control)
    done = [t for t in own if t.state is State.DONE and t.measurement is not None]
    usable = [t for t in done if feasible(t.measurement.metrics, items) and _finite(losses(t, items))]  # type: ignore[union-attr]
    if not usable:
        return []
    top = max(thoroughness(t.proposal.fidelity) for t in usable)
    return [t for t in usable if thoroughness(t.proposal.fidelity) == top]


def _finite(values: tuple[float, ...] | None) -> bool:
    return values is not None and all(math.isfinite(v) for v in values)


def thoroughness(fidelity: Fidelity) -> tuple[int, float, float]:
    """Sorts fidelities from the cheapest to the most thorough."""
    order = {"zero_cost": 0, "inherited": 1, "train": 2, "function": 2, "table": 2}
    return order[fidelity.kind], fidelity.epochs * fidelity.data, fidelity.resolution or math.inf


def best(trials: Iterable[Trial], items: Sequence[Objective]) -> Trial | None:
    """The best candidate by the first goal; later goals, then the lower number, break ties."""
    pool = candidates(trials, items)
    return min(pool, key=lambda t: (losses(t, items) or (), t.number)) if pool else None


def front(trials: Iterable[Trial], items: Sequence[Objective]) -> list[Trial]:
    """The candidates that no other candidate dominates, sorted by the first goal."""
    pool = sorted(((losses(t, items) or (), t) for t in candidates(trials, items)), key=lambda p: (p[0], p[1].number))
    kept: list[tuple[tuple[float, ...], Trial]] = []
    for values, trial in pool:  # whoever dominates it comes before it in this order, and dominance is transitive
        if not any(dominates(other, values) for other, _ in kept):
            kept.append((values, trial))
    return [trial for _, trial in kept]


def text_of(number: float) -> float | str:
    """A finite number as it is, others as "nan", "inf" or "-inf" (JSON has no such numbers)."""
    return number if math.isfinite(number) else repr(float(number))


def jsonable(value: Any) -> Any:
    """Plain data for JSON: records become mappings, numbers that are not finite become text."""
    if isinstance(value, float):
        return text_of(value)
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return value


class Epoch(msgspec.Struct, frozen=True):
    """One pass over the training rows by a supernet; not a trial.

    losses:  means over the steps: "train", and "architecture" where there are such steps.
    metrics: of the derived architecture with inherited weights, on validation rows.
    gates:   the share of each option, by decision. options: what the options are called, in the same order.
    derived: decisions of the architecture that comes out now. guard: what `sharing.guard` counted.
    stop:    why the search ends here, or "".
    """

    number: int
    seconds: float
    losses: dict[str, float]
    metrics: dict[str, float]
    gates: dict[str, tuple[float, ...]]
    derived: dict[str, Scalar]
    guard: dict[str, float] = {}
    stop: str = ""
    options: dict[str, tuple[Scalar, ...]] = {}


class Score(msgspec.Struct, frozen=True):
    """A metric over retraining seeds: mean, interval, the single values and how many there are."""

    mean: float
    low: float
    high: float
    n: int
    values: tuple[float, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """The comparison on unread test data. `difference` is winner minus baseline, in the metric's unit.

    `words` is "better", "worse" or "cannot tell" (the interval from `low` to `high` holds zero);
    `method` names the test, `sentence` says it to a person. `test_items` is 0 where the user's own function measured
    both over fresh seeds, which is no test on unread data. `superiority` is the probability that a new training of the
    winner is better than a new training of the baseline (`finalize.intervals`).
    """

    metric: str
    winner: Score
    baseline: Score | None
    difference: float | None
    low: float | None
    high: float | None
    words: Literal["better", "worse", "cannot tell", "no baseline"]
    test_items: int
    level: float = 0.95
    method: str = ""
    sentence: str = ""
    superiority: float | None = None

    def _repr_html_(self) -> str:
        """The sentence and both scores, for notebooks."""
        sides = {"winner": self.winner, "baseline": self.baseline}
        rows = "".join(
            f"<tr><td>{name}</td><td>{score.mean:.4g}</td><td>{score.low:.4g} to {score.high:.4g}</td>"
            f"<td>{score.n}</td></tr>"
            for name, score in sides.items() if score is not None
        )  # fmt: skip
        head = f"<tr><th></th><th>{html.escape(self.metric)}</th><th>interval</th><th>seeds</th></tr>"
        return f"<p><b>{html.escape(self.sentence or self.words)}</b></p><table>{head}{rows}</table>"
