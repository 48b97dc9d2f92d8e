"""What a study's networks take on a device: told beforehand while it searches, measured before anything is returned.

A law (a table of operations and a line, `hardware.Law`) for each such metric among the objectives is an event: found
once, kept in the study, read back when it goes on, so that a replay sees the same numbers.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from searchitect.errors import StudyFailedError, UsageError
from searchitect.evaluators import FunctionEvaluator, TrainEvaluator
from searchitect.finalize.formats import onnx_file
from searchitect.finalize.planning import distinct
from searchitect.hardware import EnergyMeter, LatencyTable, Law, Predictor, attach, fitted, measured, measured_table
from searchitect.hardware.measuring import chosen
from searchitect.hardware.predicting import Counted, Line
from searchitect.nets import Costs, build
from searchitect.records import COST_METRICS, DEVICE_METRICS, Objective, Trial
from searchitect.session.preparing import Prepared
from searchitect.store import Store

SHARE, MOST = 0.05, 60.0  # of a budget, and seconds at most, to measure a table; as much again for another device
LEAST = 3.0  # seconds at least: below that a table says too little
NETWORKS = 12  # measured on another device, or by an energy counter, to find the line
PER_NETWORK = 2.0  # seconds at most to measure a finalist
NOTE = "hardware law"


class Gauged(NamedTuple):
    """A measured number; low and high are the ends of its interval (the number itself where there is none)."""

    value: float
    low: float
    high: float


def device_metrics(prepared: Prepared) -> list[str]:
    """The metrics of a device among the objectives that are ours to tell: not those that the user's function names."""
    names = list(dict.fromkeys(o.metric for o in prepared.objectives if o.metric in DEVICE_METRICS))
    evaluator = prepared.evaluator
    if not names or prepared.costs is None or not isinstance(evaluator, (TrainEvaluator, FunctionEvaluator)):
        return []
    own = _words(getattr(evaluator.evaluate, "__code__", None)) if isinstance(evaluator, FunctionEvaluator) else set()
    return [name for name in names if name not in own]


def _words(code: Any) -> set[str]:
    """All names and texts in a function's code, also of those inside it."""
    if code is None:
        return set()
    found = {*code.co_names, *code.co_varnames}
    waiting = list(code.co_consts)
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.add(one)
        elif isinstance(one, (tuple, frozenset)):
            waiting += one
        elif hasattr(one, "co_consts"):
            found |= _words(one)
    return found


class Gauge:
    """The device of one study."""

    def __init__(self, prepared: Prepared, store: Store, tell: Callable[[str], None] = lambda _text: None) -> None:
        self.prepared, self.store, self.tell = prepared, store, tell
        self.metrics = device_metrics(prepared)
        self.known: dict[tuple[int, str], Gauged] = {}
        self.interrupted: Callable[[], bool] = lambda: False
        self.chosen: set[int] = set()  # trials that were measured and keep the limits
        self._meter: EnergyMeter | None = None

    # -- before the search ---------------------------------------------------------------------------

    def take_laws(self, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Give evaluator and limits the law of each metric: the stored one, or one that is found now. False when a
        signal came meanwhile."""
        if not self.metrics:
            return True
        self.interrupted = interrupted
        stored = {note.body["metric"]: Law.of(note.body["law"]) for note in self.store.notes(NOTE)}
        laws = {name: stored.get(name) or self._law(name) for name in self.metrics}
        evaluator, costs = self.prepared.evaluator, self.prepared.costs
        assert isinstance(evaluator, (TrainEvaluator, FunctionEvaluator))
        assert costs is not None
        evaluator.take(laws)
        attach(costs, laws)
        return not interrupted()

    def _law(self, metric: str) -> Law:
        prepared, costs = self.prepared, self.prepared.costs
        assert costs is not None
        began, budget = time.monotonic(), prepared.settings.budget_seconds
        seconds = MOST if budget is None else min(MOST, max(LEAST, SHARE * budget))
        read = prepared.settings.latency_table if metric == "latency_ms" else None
        if metric == "energy_mj":
            self.meter()  # refused now where there is no counter
        if read is not None:
            table, line = LatencyTable.read(read), Line()
            self._check_covered(table, costs)
        else:
            self.tell(f"measuring what operations take here, for {metric} ({seconds:.0f} s at most)")
            table, line = measured_table(
                costs, seed=prepared.settings.seed, seconds=seconds, device=prepared.device, threads=prepared.threads,
                allowed=self._allowed, stop=self.interrupted,
            )  # fmt: skip
        if metric == "energy_mj" or prepared.measure is not None:
            line = self._line(metric, Predictor(costs, table), time.monotonic() + seconds)
        law = Law(table, line)
        if self.interrupted():
            return law  # found in a hurry: not kept
        facts = {
            "metric": metric, "device": "yours (measure=)" if self._elsewhere(metric) else table.device,
            "operations": len(table), "error": line.error, "worst": line.worst, "networks": line.networks,
            "seconds": time.monotonic() - began,
        }  # fmt: skip
        with self.store.transaction():
            self.store.note(NOTE, {"metric": metric, "law": law.plain()})
            self.store.set_meta(hardware={**(self.store.meta.get("hardware") or {}), metric: facts})
        self.tell(told(facts))
        return law

    def _elsewhere(self, metric: str) -> bool:
        return metric == "latency_ms" and self.prepared.measure is not None

    def _allowed(self, architecture: Any) -> bool:
        """Networks that keep the other limits."""
        costs = self.prepared.costs
        limits = [o for o in self.prepared.objectives if o.is_limit and o.metric in COST_METRICS]
        return costs is not None and costs.feasible(architecture, limits)

    def _check_covered(self, table: LatencyTable, costs: Costs) -> None:
        predictor, missing = Predictor(costs, table), dict[str, None]()
        for architecture in chosen(costs, self.prepared.settings.seed, self._allowed, math.inf):
            for one in predictor.unknown(architecture):
                try:
                    table.ms(one)
                except UsageError:
                    missing[one.name] = None
        if missing:
            names = list(missing)
            raise UsageError(
                f"latency_table: it lacks {len(names)} operations of this space, such as {'; '.join(names[:3])}. "
                "Add them: `searchitect.hardware.measured_table` makes a table with all operations of a space"
            )

    def _line(self, metric: str, predictor: Predictor, end: float) -> Line:
        """The line of a device that measures whole networks, from a few of them."""
        costs, counted, values = self.prepared.costs, list[Counted](), list[float]()
        assert costs is not None
        for architecture in chosen(costs, self.prepared.settings.seed, self._allowed, math.inf):
            if len(values) >= NETWORKS or (len(values) >= 2 and time.monotonic() > end) or self.interrupted():
                break
            self.tell(f"measuring network {len(values) + 1} on the device, for {metric}")
            model = build(costs.space, architecture, costs.shape, outputs=costs.outputs)
            values.append(self.gauged(metric, model)[0].value)
            counted.append(predictor.counted(architecture))
        return fitted(counted, values)

    # -- a network -----------------------------------------------------------------------------------

    def meter(self) -> EnergyMeter:
        """The energy counter. Raises UsageError where there is none."""
        if self._meter is None:
            self._meter = EnergyMeter(self.prepared.device)
        return self._meter

    def gauged(self, metric: str, *models: nn.Module) -> list[Gauged]:
        """Networks, in turns, each measured as a whole. The caller sees to it that nothing else runs here."""
        prepared, costs = self.prepared, self.prepared.costs
        assert costs is not None
        if self._elsewhere(metric):
            return [self._by_file(model) for model in models]
        models = tuple(model.to(prepared.device) for model in models)
        if metric == "energy_mj":
            return [_exactly(self.meter().mj(model, costs.shape)) for model in models]
        timings = measured(
            models, costs.shape, device=prepared.device, seconds=PER_NETWORK, threads=prepared.threads
        )  # fmt: skip
        return [Gauged(t.ms, t.low, t.high) for t in timings]

    def _by_file(self, model: nn.Module) -> Gauged:
        costs, measure = self.prepared.costs, self.prepared.measure
        assert costs is not None
        assert measure is not None
        with tempfile.TemporaryDirectory(prefix="searchitect-") as folder:
            file = Path(folder) / "model.onnx"
            onnx_file(model.cpu(), costs.shape, file)
            try:
                value = float(measure(str(file)))
            except Exception as error:
                raise StudyFailedError(
                    f"measure= failed on {file.name}: {type(error).__name__}: {error}. It gets the path of an ONNX "
                    "file (input x, one row or more) and returns milliseconds of one row"
                ) from error
        if not (math.isfinite(value) and value >= 0):
            raise StudyFailedError(
                f"measure= returned {value!r}; return milliseconds of one row, a number of 0 or more"
            )
        return _exactly(value)

    # -- after the search ----------------------------------------------------------------------------

    @property
    def limits(self) -> list[Objective]:
        """Limits that are measured before anything is returned; an imported table alone measures nothing."""
        told_only = self.prepared.settings.latency_table is not None and self.prepared.measure is None
        return [
            o for o in self.prepared.objectives
            if o.is_limit and o.metric in self.metrics and not (told_only and o.metric == "latency_ms")
        ]  # fmt: skip

    def choose(self, pick: Callable[[Iterable[Trial]], list[Trial]], trials: Iterable[Trial], count: int) -> bool:
        """Measure the best by `pick` until so many different networks keep the limits, or none is left; those that do
        not are out (`left`). False, with a note, when nobody keeps them."""
        if not self.limits:
            return True
        everyone, missed, kept = list(trials), set[int](), list[Trial]()
        while len(distinct(kept)) < count:
            pool = pick(t for t in everyone if t.number not in missed)
            fresh = [t for t in pool if t.number not in self.chosen][:count]
            if not fresh:
                break
            self.measure_trials(fresh)
            for trial in fresh:
                if self.keeps(trial):
                    self.chosen.add(trial.number)
                    kept.append(trial)
                else:
                    missed.add(trial.number)
        if missed:
            out = [t for t in everyone if t.number in missed]
            text = f"{len(out)} of the best networks kept the limits as told, not when measured ({self.nearest(out)})"
            self.store.note("finalize", {"text": text + ("" if kept else "; not finalised: nobody keeps them")})
            self.tell(text)
        return bool(kept)

    def left(self, trials: Iterable[Trial]) -> list[Trial]:
        """Trials that may be finalists."""
        return [t for t in trials if not self.limits or t.number in self.chosen]

    def latency(self, trial: Trial | None, model: nn.Module, shape: tuple[int, ...]) -> float:
        """Milliseconds of a network: as measured before it was chosen, or now."""
        known = None if trial is None else self.known.get((trial.number, "latency_ms"))
        if known is not None:
            return known.value
        if "latency_ms" in self.metrics:
            return self.gauged("latency_ms", model)[0].value
        prepared = self.prepared
        (found,) = measured([model], shape, seconds=PER_NETWORK, threads=prepared.threads)
        return found.ms

    def measure_trials(self, trials: Sequence[Trial]) -> None:
        """Measure networks of trials (untrained: their time does not depend on the weights), each once."""
        costs = self.prepared.costs
        for limit in self.limits:
            fresh = [t for t in trials if (t.number, limit.metric) not in self.known]
            if not fresh or costs is None:
                continue
            models = [build(costs.space, t.architecture, costs.shape, outputs=costs.outputs) for t in fresh]
            found = self.gauged(limit.metric, *models)
            for trial, one in zip(fresh, found, strict=True):
                self.known[trial.number, limit.metric] = one
                self.store.note("gauged", {
                    "trial": trial.number, "metric": limit.metric, "told": trial.value(limit.metric), **one._asdict()
                })  # fmt: skip

    def keeps(self, trial: Trial) -> bool:
        """Whether the measured numbers keep every limit, with the whole of their intervals."""
        return all(_kept(limit, self.known[trial.number, limit.metric]) for limit in self.limits)

    def nearest(self, trials: Iterable[Trial]) -> str:
        """Of networks that miss a limit when measured, the nearest, in words."""
        words = []
        for limit in self.limits:
            seen = [self.known[t.number, limit.metric] for t in trials if (t.number, limit.metric) in self.known]
            seen = [one for one in seen if not _kept(limit, one)]
            if seen:
                best = min(seen, key=lambda one: one.high if limit.direction == "min" else -one.low)
                words.append(f"{limit}: the nearest has {best.value:.3g} (interval {best.low:.3g} to {best.high:.3g})")
        return "; ".join(words)


def _exactly(value: float) -> Gauged:
    return Gauged(value, value, value)


def _kept(limit: Objective, found: Gauged) -> bool:
    return limit.kept(found.high if limit.direction == "min" else found.low)


def told(facts: Mapping[str, Any]) -> str:
    """What a law is worth, in a sentence."""
    how = f"{facts['metric']} is told from {facts['operations']} operations, {facts['device']}"
    if not facts["networks"]:
        return f"{how}; its error is not known, as no network was measured as a whole"
    return (
        f"{how}: off by {100 * facts['error']:.1f} % in the mean and {100 * facts['worst']:.0f} % at most, on "
        f"{facts['networks']} networks that it was not fitted to"
    )


def check_measurable(prepared: Prepared) -> None:
    """Raises UsageError, before anything is trained, for a device metric that cannot be had here."""
    wanted = [o.metric for o in prepared.objectives if o.metric in DEVICE_METRICS]
    if "energy_mj" in wanted and "energy_mj" in device_metrics(prepared):
        EnergyMeter(prepared.device)
    if prepared.measure is not None and "latency_ms" not in wanted:
        raise UsageError("measure= measures latency_ms, which is no objective: add 'latency_ms' or 'latency_ms < 8'")
