"""Which options of a decision lose: how often each is among the best, against the other options of its decision.

Options are compared in blocks of sixteen trials in which the decision was drawn by chance, in the order told. How many
trials of a block have the option (n of N) and how many are the best quarter of it (K) is taken as given; how many are
both (x) is then hypergeometric if the option is as good as the others (Fisher's exact test), and with odds ω of being
among the best it is Fisher's noncentral hypergeometric, P(x) = C(n, x) C(N - n, K - x) ω^x / Z(ω).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from searchitect.records import Cause, Fidelity, Objective, State, Trial
from searchitect.space import Architecture, Decision, Scalar, Space
from searchitect.strategies.base import Fitness, fitness
from searchitect.strategies.pareto import best_first

BLOCK, BEST = 16, 4  # trials of a block; the best so many of them count
FEW, PARTS = 6, 4  # numbers of more than so many values, and reals, are looked at in so many parts
MOST = 12  # options of a decision without order, beyond which none is judged
ALTERNATIVES = (0.5, 0.25, 0.1)  # odds that evidence is looked for
BY_CHANCE = frozenset(("sample", "mutate", "cross", "policy", "neighbour", "perturb", "enumerate"))  # origins
MACHINE = (Cause.KILLED, Cause.STORAGE, Cause.DATA)  # failures that say nothing of the network


class Option(NamedTuple):
    """One option of a decision, or neighbouring values of a number that are judged together."""

    decision: str
    part: int
    text: str


class Counts(NamedTuple):
    """A block as one option sees it: N trials, n with the option, K the best, x both."""

    trials: int
    own: int
    best: int
    both: int


class Parts:
    """The options of one decision. A number with many values has four: neighbouring values, as many in each."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self._bounds: list[float] = []
        labels: Sequence[Scalar] = decision.labels or ()
        if decision.labels is None:
            texts = self._of_reals(decision)
        elif decision.ordered and decision.n > FEW:
            texts = self._of_numbers(sorted(float(v) for v in labels))  # type: ignore[arg-type]
        else:
            texts = [str(v) for v in labels] if 2 <= decision.n <= MOST else []
        self.options = tuple(Option(decision.name, i, text) for i, text in enumerate(texts))

    def _of_reals(self, decision: Decision) -> list[str]:
        low, high = (math.log(b) if decision.log else b for b in (decision.low, decision.high))
        ends = [low + (high - low) * i / PARTS for i in range(PARTS + 1)]
        ends = [math.exp(e) for e in ends] if decision.log else ends
        self._bounds = ends[1:-1]
        return [f"{a:.4g} to {b:.4g}" for a, b in pairwise(ends)]

    def _of_numbers(self, values: list[float]) -> list[str]:
        starts = [len(values) * i // PARTS for i in range(PARTS)]
        self._bounds = [values[i] for i in starts[1:]]
        ends = [*starts[1:], len(values)]
        return [f"{values[a]:g} to {values[b - 1]:g}" for a, b in zip(starts, ends, strict=True)]

    def of(self, value: Scalar) -> int:
        """The position of a value's option."""
        if self._bounds:
            return bisect.bisect_right(self._bounds, float(value))  # type: ignore[arg-type]
        return self.decision.position(value)


@lru_cache(maxsize=65_536)
def _log_z(trials: int, own: int, best: int, odds: float) -> float:
    """log Z(ω), see the head of this file."""
    first, last = max(0, best + own - trials), min(own, best)
    return math.log(
        sum(math.comb(own, j) * math.comb(trials - own, best - j) * odds**j for j in range(first, last + 1))
    )


def log_ratio(counts: Counts, odds: float, null: float = 1.0) -> float:
    """log of P(x) at these odds over P(x) at the null's."""
    trials, own, best, both = counts
    return both * math.log(odds / null) - _log_z(trials, own, best, odds) + _log_z(trials, own, best, null)


def log_evidence(blocks: Sequence[Counts], null: float = 1.0) -> float:
    """log of the evidence that an option's odds are below the null's.

    The mean over ω of the products of P_ω(x) / P_null(x): each factor has a mean of at most 1 while the odds are the
    null's or more, in every block anew, so the product exceeds 1 / α with a probability of at most α, however often one
    looks (a test martingale: Ville 1939; Grünwald, de Heide and Koolen 2024).
    """
    below = [a * null for a in ALTERNATIVES]
    sums = [sum(log_ratio(c, odds, null) for c in blocks) for odds in below]
    top = max(sums)
    return top + math.log(sum(math.exp(s - top) for s in sums) / len(sums))


def upper_odds(blocks: Sequence[Counts], threshold: float) -> float:
    """The largest odds that the evidence does not speak against: above them its logarithm exceeds `threshold`."""
    low, high = -12.0, 12.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if log_evidence(blocks, math.exp(middle)) > threshold else (middle, high)
    return math.exp(high)


def common_odds(blocks: Sequence[Counts]) -> float:
    """The odds of being among the best, against the other options, over all blocks (Mantel and Haenszel 1959)."""
    up = sum(c.both * (c.trials - c.own - c.best + c.both) / c.trials for c in blocks)
    down = sum((c.own - c.both) * (c.best - c.both) / c.trials for c in blocks)
    return up / down if down else math.inf


class Evidence:
    """A fold over told trials: the blocks of every option.

    A trial speaks of a decision if its value there was drawn by chance: in a random architecture, or where it differs
    from that of every parent (a value that is inherited speaks of the parent's other decisions as well). What a model,
    a score or a person chose says nothing, nor does a training that went on; each architecture counts once at a
    fidelity. Fidelities have blocks of their own. The order is that of limits, then the goals (with several by fronts
    and crowding); networks that failed or gave no number come last.
    """

    def __init__(self, space: Space, objectives: Sequence[Objective]) -> None:
        self.objectives = objectives
        self.parts = {d.name: Parts(d) for d in space.decisions}
        self.blocks: dict[Option, list[Counts]] = {o: [] for p in self.parts.values() for o in p.options}
        self.open: dict[tuple[str, Fidelity], list[tuple[int, Fitness]]] = {}
        self.known: dict[int, Architecture] = {}
        self.counted: set[tuple[Architecture, Fidelity]] = set()
        self.worst: Fitness = (math.inf, (math.inf,) * sum(not o.is_limit for o in objectives))

    def tell(self, trial: Trial) -> list[Option]:
        """The options of which there is more to say now."""
        proposal = trial.proposal
        self.known[trial.number] = trial.architecture
        seen = trial.architecture, proposal.fidelity
        if (
            proposal.origin not in BY_CHANCE
            or seen in self.counted
            or not all(p in self.known for p in proposal.parents)
        ):
            return []
        if trial.failure is not None and trial.failure.cause in MACHINE:
            return []
        self.counted.add(seen)
        found = fitness(trial, self.objectives) if trial.state is State.DONE else None
        standing = self.worst if found is None or not all(map(math.isfinite, found[1])) else found
        parents = [self.known[p].decisions for p in proposal.parents]
        changed: list[Option] = []
        for name, value in trial.architecture.decisions.items():
            if self.parts[name].options and not any(name in p and p[name] == value for p in parents):
                block = self.open.setdefault((name, proposal.fidelity), [])
                block.append((self.parts[name].of(value), standing))
                if len(block) == BLOCK:
                    changed += self._close(name, self.open.pop((name, proposal.fidelity)))
        return changed

    def _close(self, name: str, block: Sequence[tuple[int, Fitness]]) -> list[Option]:
        best = {block[i][0]: 0 for i in range(len(block))}
        for i in best_first([standing for _, standing in block])[:BEST]:
            best[block[i][0]] += 1
        changed = []
        for option in self.parts[name].options:
            own = sum(part == option.part for part, _ in block)
            if 0 < own < len(block):
                self.blocks[option].append(Counts(len(block), own, BEST, best[option.part]))
                changed.append(option)
        return changed

    def trials(self, option: Option) -> tuple[int, int]:
        """How many trials had an option, and how many of these were among the best of their block."""
        return sum(c.own for c in self.blocks[option]), sum(c.both for c in self.blocks[option])


def allowed(architecture: Architecture, parts: Mapping[str, Parts], cut: Mapping[str, frozenset[int]]) -> bool:
    """Whether an architecture has none of the options that are cut (their positions, by decision)."""
    chosen = architecture.decisions
    return not any(name in chosen and parts[name].of(chosen[name]) in positions for name, positions in cut.items())
