"""Equivalent architectures are measured once: who has the result, who waits for it, and what a copy of it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from searchitect.errors import ArchitectureError
from searchitect.records import Proposal, Trial
from searchitect.space import Architecture, Space


class Reuse:
    """The book of results in one study.

    space: gives the canonical keys.
    rest:  text that stands for everything but architecture and fidelity that a result depends on.
    costs: parameters, MACs and memory of an architecture. Equal functions may differ in them (a dead branch
           still has weights), so a copied result carries its own.
    exact: only the very same architecture counts as equivalent: where latency or the like is an objective.
    """

    def __init__(
        self, space: Space, rest: str, *, costs: Callable[[Architecture], Mapping[str, float]] | None = None,
        exact: bool = False,
    ) -> None:  # fmt: skip
        self.space = space
        self.rest = rest
        self.costs = costs
        self.exact = exact
        self._holder: dict[str, int] = {}  # key → the trial that has, or will have, the result
        self._waiting: dict[int, list[Trial]] = {}  # by the number of the trial whose result they wait for

    def key(self, proposal: Proposal, number: int) -> str:
        """What the result of a proposal depends on; its own where a value in the space cannot be computed."""
        architecture, fidelity = proposal.architecture, proposal.fidelity
        if fidelity.kind == "inherited":  # equal functions inherit other weights, and the supernet moves on
            return f"inherited {number}"
        if proposal.inherits:  # what it begins with is no part of its architecture
            return f"heir {number}"
        try:
            name = architecture.to_json() if self.exact else self.space.key(architecture)
        except ArchitectureError:
            return f"unknown {number}"
        epochs = f"{fidelity.epochs} of {fidelity.horizon}" if fidelity.horizon else str(fidelity.epochs)
        return "/".join((name, fidelity.kind, epochs, repr(fidelity.data), str(fidelity.resolution), self.rest))

    def remember(self, trial: Trial) -> None:
        """The first trial with a key holds its result."""
        if trial.source is None:
            self._holder.setdefault(trial.key, trial.number)

    def holder(self, trial: Trial) -> int:
        """The number of the trial that has, or will have, this trial's result; perhaps its own."""
        return self._holder.setdefault(trial.key, trial.number)

    def take_over(self, trial: Trial) -> None:
        """This trial is measured itself: the former holder was cut short."""
        self._holder[trial.key] = trial.number

    def wait(self, source: Trial, trial: Trial) -> None:
        """The trial gets the result of one that is running."""
        self._waiting.setdefault(source.number, []).append(trial)

    def released(self, number: int) -> list[Trial]:
        """Those who waited for this trial, which has ended."""
        return self._waiting.pop(number, [])

    def copied(self, trial: Trial, source: Trial) -> Trial:
        """The trial with the result of an equivalent one, and its own costs."""
        measurement = source.measurement
        if measurement is not None and self.costs is not None and trial.architecture != source.architecture:
            own = {k: float(v) for k, v in self.costs(trial.architecture).items() if k in measurement.metrics}
            measurement = msgspec.structs.replace(measurement, metrics={**measurement.metrics, **own})
        return msgspec.structs.replace(
            trial, state=source.state, measurement=measurement, failure=source.failure, source=source.number
        )
