"""A guard against collapse: gradient methods may end with nothing but skip connections, and nobody is told.

Plain DARTS on NAS-Bench-201 ends with all skips (Dong and Yang 2020, table 5: 54.30 %). Three things are watched:
the skips in the derived architecture, the gap between the mixture and the derived path, and, on demand, the largest
eigenvalue of the Hessian of the held-back loss for the architecture's parameters, which grows before a collapse.

Rules to stop: as DARTS+ (Liang et al. 2019, section 3.1), two or more skips in one cell, the number growing with the
number of operations chosen; as R-DARTS (Zela et al. 2020, section 4.3), λ(i - k) / λ(i) < 0.75, where λ(i) is the mean
of the eigenvalues of the last k = 5 epochs. Where we differ: skips must take over in two epochs in a row, not in the
first fifth of the search, when all options look alike, and as many skips as the hand-made network of the space has
are let pass (two of six in NAS-Bench-201). The architecture before the two epochs, or k epochs before, is
returned. One rule is our own: pooling can take over as skips do, so a search ends that derives nothing with weights for
a fifth of its epochs (three at least), and the last architecture with weights is returned.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from searchitect.nets.gates import ChoiceGate
from searchitect.nets.supernets import Supernet
from searchitect.space import Architecture

WINDOW = 5
RATIO = 0.75
EARLY = 0.2  # of the epochs
LEAST = 3  # epochs in a row without any weights


@dataclass(frozen=True)
class Look:
    """What is seen after an epoch. `skips` and `chosen` are of the cell that has the most skips for its size."""

    skips: int
    chosen: int
    parameter_free: float  # share of all chosen options without weights
    gap: float | None = None  # loss of the derived path minus that of the mixture
    eigenvalue: float | None = None

    def plain(self) -> dict[str, float]:
        """For an Epoch record."""
        found = {"skips": float(self.skips), "chosen": float(self.chosen), "parameter_free": self.parameter_free}
        found |= {} if self.gap is None else {"gap": self.gap}
        return found | ({} if self.eigenvalue is None else {"eigenvalue": self.eigenvalue})


@dataclass
class Guard:
    """Remembers what it saw and says when to stop. `allowed` skips in a cell: None for the rule of the module, and for
    as many as the hand-made network has, which is no collapse."""

    allowed: int | None = None
    hand_made: int = 0
    looks: list[Look] = field(default_factory=list)

    def see(self, look: Look, progress: float) -> tuple[str, int]:
        """Why to stop now, and how many epochs to go back; ("", 0) to go on. progress: share of the epochs done."""
        self.looks.append(look)
        most = self.allowed if self.allowed is not None else max(most_skips(look.chosen), self.hand_made)
        if progress > EARLY and len(self.looks) > 1 and all(seen.skips > most for seen in self.looks[-2:]):
            return (
                f"skip connections take over: {look.skips} of {look.chosen} operations of a cell are skips "
                f"(at most {most} are let pass)", 2,
            )  # fmt: skip
        found = self._weightless(progress)
        if found[0]:
            return found
        values = [seen.eigenvalue for seen in self.looks]
        if len(values) >= 2 * WINDOW and all(v is not None for v in values[-2 * WINDOW :]):
            known = [v for v in values if v is not None]
            now, before = statistics.fmean(known[-WINDOW:]), statistics.fmean(known[-2 * WINDOW : -WINDOW])
            if now > 0 and before / now < RATIO:
                return (
                    f"the loss gets sharp for the architecture: its largest curvature rose from {before:.3g} to "
                    f"{now:.3g} in {WINDOW} epochs", WINDOW,
                )  # fmt: skip
        return "", 0

    def _weightless(self, progress: float) -> tuple[str, int]:
        """Whether nothing with weights was derived for long enough, and how far back something was."""
        patience = max(LEAST, round(EARLY * len(self.looks) / max(progress, 1e-9)))  # a fifth of all epochs
        since = next((i for i, seen in enumerate(reversed(self.looks)) if seen.parameter_free < 1), None)
        if since is None or since < patience:
            return "", 0
        return f"for {since} epochs no derived operation has had weights, only pooling, skips and zeros", since


def most_skips(chosen: int) -> int:
    """How many skips among so many operations of a cell are let pass: one of DARTS' eight, as published; a quarter at
    most in smaller and larger cells (DARTS+ stops at two of eight)."""
    return max(1, chosen // 4 - 1)


def look(net: Supernet, architecture: Architecture) -> Look:
    """Count skips and options without weights in an architecture. A cell is what comes before the first dot of a
    decision's name, or all decisions that have none. Choices without any weights, such as whether there is a skip
    beside an operation, are not counted: nothing that learns is lost there."""
    gates = {gate.name: gate for gate in net.gates if isinstance(gate, ChoiceGate) and _weighted(gate)}
    cells: dict[str, list[bool]] = {}
    free = []
    for name, value in architecture.decisions.items():
        if name in gates:
            option = gates[name].candidates[gates[name].position(value)]
            cells.setdefault(name.partition(".")[0] if "." in name else "", []).append(is_skip(option))
            free.append(not _has_weights(option))
    worst = max(cells.values(), key=lambda skips: (sum(skips) / len(skips), len(skips)), default=[])
    return Look(sum(worst), len(worst), sum(free) / len(free) if free else 0.0)


def _weighted(gate: ChoiceGate) -> bool:
    return any(_has_weights(option) for option in gate.candidates)


def _has_weights(option: nn.Module) -> bool:
    return any(True for _ in option.parameters())


def is_skip(option: nn.Module) -> bool:
    """Whether an option passes its input on as it is (a skip that halves the picture counts too)."""
    return isinstance(option, nn.Identity) or type(option).__name__ == "Skip"


def eigenvalue(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], *, steps: int = 20, tolerance: float = 1e-3
) -> float:
    """The eigenvalue of largest size of the Hessian of `loss()` for these parameters, by power iteration.

    Each step is one Hessian-vector product (Pearlmutter 1994). Zela et al. 2020 look at the same number.
    """
    used = [p for p in parameters if p.requires_grad]
    gradients = torch.autograd.grad(loss(), used, create_graph=True, materialize_grads=True)
    curved = [i for i, gradient in enumerate(gradients) if gradient.requires_grad]  # others are constant: all zeros
    if not curved:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    v = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.device, p.dtype) for p in used]
    value = 0.0
    for _ in range(steps):
        v = _scaled(v)
        ends, vectors = [gradients[i] for i in curved], [v[i] for i in curved]
        product = torch.autograd.grad(ends, used, vectors, retain_graph=True, materialize_grads=True)
        before, value = value, float(sum((a * b).sum() for a, b in zip(v, product, strict=True)))
        v = list(product)
        if abs(value - before) <= tolerance * max(abs(value), 1e-12):
            break
    return value


def _scaled(v: Sequence[Tensor]) -> list[Tensor]:
    norm = torch.stack([t.pow(2).sum() for t in v]).sum().sqrt().clamp_min(1e-30)
    return [t / norm for t in v]
