"""A small table with learning curves by a stated formula, and a search over it in virtual time."""

import heapq
import math

from searchitect.records import Cause, Failure, Fidelity, Measurement, State, Trial
from searchitect.seeds import stream
from searchitect.space import Layer, Space, one_of


def table_space():
    """6 decisions of 4 options: 4,096 architectures."""
    return Space(Layer("toy.Net", {f"d{i}": one_of(0, 1, 2, 3, name=f"d{i}") for i in range(6)}))


def full_value(architecture):
    """What training without end gives: 0 to 1; neighbours are alike."""
    values = list(architecture.decisions.values())
    return sum(int(v) * (i + 1) for i, v in enumerate(values)) / (3 * 21)


def curve_value(architecture, epoch):
    """After `epoch` epochs: value - 0.5 * epoch^-c; the exponent c, 0.5 to 1, has nothing to do with the value."""
    c = 0.5 + 0.5 * stream(0, hash_of(architecture), "rate").unit()
    return full_value(architecture) - 0.5 * epoch**-c


def hash_of(architecture):
    return sum(int(v) * 4**i for i, v in enumerate(architecture.decisions.values()))


def measured(number, proposal, source=None):
    """The trial as an evaluator on the table would finish it."""
    epochs = proposal.fidelity.epochs
    curve = tuple({"score": curve_value(proposal.architecture, e)} for e in range(1, epochs + 1))
    metrics = {"score": curve_value(proposal.architecture, max(epochs, 1))}
    return Trial(number, proposal, State.DONE, measurement=Measurement(metrics, curve=curve), source=source)


def failed(number, proposal):
    return Trial(number, proposal, State.FAILED, failure=Failure(Cause.USER_CODE, "broken on purpose"))


def search(strategy, *, epochs, workers=1, broken=lambda number: False):
    """Run until so many epochs have been paid (promotions pay the difference). The trials in their order.

    Epochs take between 1 and 2 units of virtual time by trial, so that trials overtake each other.
    """
    trials, running, now, paid = [], [], 0.0, 0
    while paid < epochs or running:
        while paid < epochs and len(running) < workers:
            (proposal,) = strategy.ask(1)
            number = len(trials)
            begun = trials[proposal.parents[0]].proposal.fidelity.epochs if proposal.origin == "promote" else 0
            cost = proposal.fidelity.epochs - begun
            paid += cost
            trial = failed(number, proposal) if broken(number) else measured(number, proposal)
            trials.append(trial)
            heapq.heappush(running, (now + cost * (1 + stream(1, number, "speed").unit()), number))
        now, number = heapq.heappop(running)
        strategy.tell(trials[number])
    return trials


def best_full(trials, full):
    """The best value at the full fidelity."""
    values = [t.value("score") for t in trials if t.state is State.DONE and t.proposal.fidelity.epochs == full]
    return max(values, default=-math.inf)


FULL = Fidelity("table", 27)
