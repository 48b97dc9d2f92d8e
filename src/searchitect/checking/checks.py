"""`check`: everything that can be known of a space in seconds, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from searchitect.checking.choices import Choices, look
from searchitect.checking.ranges import Latency, Range, latency, ranges
from searchitect.errors import BuildError, SearchitectError, TrialError, UsageError
from searchitect.nets import Cost, Costs, supernet
from searchitect.records import COST_METRICS, Objective, objective
from searchitect.seeds import stream
from searchitect.space import Architecture, Limit, Space

SAMPLES = 1000
LARGEST = 100_000_000  # parameters: a supernet of larger networks is not made only to be counted
OUTPUTS = 10  # where the data, which say how many, are not known


@dataclass
class Share:
    """`count` of `of`, as a share with its 95 % interval (Clopper and Pearson 1934; a point where all were counted)."""

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The estimate."""
        return self.count / self.of if self.of else 0.0


@dataclass
class Check:
    """What `check` found; `as_data()` is plain data. What needs the shape of a row is empty without one."""

    name: str
    size: str
    finite: int
    continuous: int
    decisions: int
    drawn: int
    everything: bool  # the sample is the whole space, each architecture once
    duplicates: Share  # drawn architectures that are the same function as one drawn before
    choices: Choices
    drawing: str
    notes: tuple[str, ...]
    invalid: Share | None = None
    why_invalid: list[tuple[str, int]] = field(default_factory=list)  # most frequent first
    costs: dict[str, Range] = field(default_factory=dict)
    latency: Latency | None = None
    limits: dict[str, Share] = field(default_factory=dict)
    reached: dict[str, bool] = field(default_factory=dict)  # whether some network was found that keeps it
    within: Share | None = None  # of all architectures, each as likely, those that can be built and keep the limits
    supernet: int | None = None
    supernet_why: str = ""

    def as_data(self) -> dict[str, Any]:
        """Plain data for other programs."""
        data = asdict(self)
        data["choices"] = self.choices._asdict()
        data["costs"] = {name: one._asdict() for name, one in self.costs.items()}
        data["latency_ms"] = None if self.latency is None else {
            **self.latency.range._asdict(), "measured": len(self.latency.values),
            "uncertainty": self.latency.uncertainty,
        }  # fmt: skip
        del data["latency"]
        for name in ("duplicates", "invalid", "within"):
            one: Share | None = getattr(self, name)
            data[name] = None if one is None else {**asdict(one), "share": one.share}
        data["limits"] = {
            text: {**asdict(one), "share": one.share, "reached": self.reached[text]}
            for text, one in self.limits.items()
        }
        return data


def check(
    space: Space, sample: Sequence[int] | Any = None, *, outputs: int | None = None,
    limits: Iterable[str | Objective] = (), samples: int = SAMPLES, seed: int = 0, timed: bool = True,
) -> Check:  # fmt: skip
    """Size, invalid and repeated samples, choices without effect, costs, limits and supernet of a space, in seconds.

    sample:  shape of one row without the batch, or a tensor (B, ...); without it nothing that depends on it is told.
    outputs: what OUTPUTS stands for; 10 if not given.
    limits:  such as "params < 1e6" or "latency_ms < 2", besides those that the space declares.
    samples: architectures drawn as random search draws them; a space that has no more is looked at as a whole.
    timed:   whether a few networks are built and their latency measured here.

    Shares have 95 % intervals; the ends of costs are the best found from the sample by single changes. Raises
    UsageError for limits on what cannot be known before training.
    """
    aims = [objective(one) for one in limits]
    wrong = next((o for o in aims if not o.is_limit or o.metric not in (*COST_METRICS, "latency_ms")), None)
    if wrong is not None:
        raise UsageError(f"limit {wrong}: only {', '.join(COST_METRICS)} and latency_ms are known before training")
    if samples < 10:
        raise UsageError(f"samples={samples}: draw at least 10")
    everything = space.size.continuous == 0 and space.size.finite <= samples
    drawn = list(space.enumerate()) if everything else [
        space.sample(stream(seed, i, "check")) for i in range(samples)
    ]  # fmt: skip
    costs = None
    if sample is not None:
        shape = tuple(sample.shape[1:]) if hasattr(sample, "shape") else tuple(sample)
        costs = Costs(space, shape, outputs or OUTPUTS)
    known = [o for o in aims if o.metric in COST_METRICS]
    allowed = space.allows if costs is None else lambda a: costs.feasible(a, known)
    keys = Counter(_key(space, a) for a in drawn)
    found = Check(
        space.name, str(space.size), space.size.finite, space.size.continuous, len(space.decisions), len(drawn),
        everything, share(len(drawn) - len(keys), len(drawn), everything),
        look(space, drawn, allowed, seed), space.draw(), space.notes,
    )  # fmt: skip
    if costs is not None:
        _costs(found, costs, drawn, aims, seed, timed)
        _within(found, costs, drawn, aims, seed)
        _supernet(found, costs)
    return found


def share(count: int, of: int, exact: bool) -> Share:
    """A share with its interval, which is a point where all were counted."""
    from scipy.stats import binomtest

    if exact or not of:
        point = count / of if of else 0.0
        return Share(count, of, point, point)
    interval = binomtest(count, of).proportion_ci(0.95)
    return Share(count, of, float(interval.low), float(interval.high))


def _costs(
    found: Check, costs: Costs, drawn: Sequence[Architecture], aims: Sequence[Objective], seed: int, timed: bool
) -> None:
    known: list[tuple[Architecture, Cost]] = []
    reasons: Counter[str] = Counter()
    for architecture in drawn:
        try:
            known.append((architecture, costs.of(architecture)))
        except (BuildError, TrialError) as error:
            reasons[str(error).splitlines()[0]] += 1
    found.invalid = share(len(drawn) - len(known), len(drawn), found.everything)
    found.why_invalid = reasons.most_common(3)
    if not known:
        return
    allowed = [pair for pair in known if costs.feasible(pair[0])] or known
    found.costs = ranges(costs, known, seed, climb=not found.everything)
    if timed or any(o.metric == "latency_ms" for o in aims):
        found.latency = latency(costs, allowed)
    stated: list[Limit | Objective] = [*costs.space.limits, *aims]
    for one in stated:
        if isinstance(one, Limit) and not one.metric:
            kept = sum(one.allows(a) for a, _ in known)
            found.limits[str(one)] = share(kept, len(known), found.everything)
            found.reached[str(one)] = kept > 0
            continue
        values = [getattr(cost, one.metric) for _, cost in known] if one.metric in COST_METRICS else []
        ends = found.costs.get(one.metric)
        if one.metric == "latency_ms" and found.latency is not None:
            values, ends = list(found.latency.values), found.latency.range
        found.limits[str(one)] = share(sum(map(one.kept, values)), len(values), found.everything)
        found.reached[str(one)] = ends is not None and (one.kept(ends.min) or one.kept(ends.max))


def _within(
    found: Check, costs: Costs, drawn: Sequence[Architecture], aims: Sequence[Objective], seed: int
) -> None:  # fmt: skip
    """How many architectures can be built and keep the limits on costs: from uniform draws, unless all are here."""
    known = [o for o in aims if o.metric in COST_METRICS]
    if not found.everything:
        drawn = [costs.space.sample(stream(seed, i, "check size"), by="architecture") for i in range(len(drawn) // 2)]
    found.within = share(sum(costs.feasible(a, known) for a in drawn), len(drawn), found.everything)


def _supernet(found: Check, costs: Costs) -> None:
    largest = found.costs.get("params")
    if largest is None or largest.max > LARGEST:
        found.supernet_why = "not made: " + ("no network can be built" if largest is None else "its networks are large")
        return
    try:
        net = supernet(costs.space, costs.shape, outputs=costs.outputs)
    except SearchitectError as error:
        found.supernet_why = f"cannot be made: {str(error).splitlines()[0]}"
        return
    found.supernet = sum(p.numel() for p in net.parameters())


def _key(space: Space, architecture: Architecture) -> Any:
    try:
        return space.key(architecture)
    except SearchitectError:
        return architecture
