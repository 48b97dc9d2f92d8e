"""Scores that need no data: synflow, zen, norms and counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from searchitect.errors import NotFiniteError
from searchitect.scores.quiet import NORMS, Weighted, first, hooked, lent, stored, tensors, weights
from searchitect.torchseeds import seeded_torch

MIXED = 1e-2  # share of the second input in zen
ROWS = 16  # of the inputs that zen draws
LARGEST = 1e30  # flow beyond which single precision may overflow on the way


def synflow(model: nn.Module, x: Tensor) -> float:
    """ln of the sum over all weights of |θ · ∂R/∂θ|, R the sum of the outputs for an input of ones, all |θ|.

    Source: Tanaka et al. 2020, Eq. 3 and Algorithm 1; as a score of architectures Abdelfattah et al. 2021.
    Where we differ: the logarithm, which keeps the order; all normalisations are left out, as in the paper's definition
    (published code for cells kept BatchNorm in the reduction blocks). In double
    precision where single precision might overflow. The score is exact where
    everything between the weights is linear for positive values (ReLU, pooling, sums), a heuristic elsewhere.

    x: (B, ...); only its shape without the batch matters. Raises NotFiniteError where no path leads through weights.
    """
    flow = _flow(model, x, torch.float32)
    if not 0.0 <= flow < LARGEST:
        flow = _flow(model, x, torch.float64)
    if not 0.0 < flow < math.inf:
        why = "no path from the input to the output goes through a weight" if flow == 0.0 else f"it is {flow}"
        raise NotFiniteError(f"synflow has no value: {why}")
    return math.log(flow)


def _flow(model: nn.Module, x: Tensor, kind: torch.dtype) -> float:
    """The sum over weights, computed in this type."""
    modules = list(model.modules())
    norms = [m for m in modules if isinstance(m, NORMS)]
    used = [t for t in tensors(m for m in modules if not isinstance(m, NORMS)) if t.is_floating_point()]
    parts = [p for p in used if isinstance(p, nn.Parameter) and p.dim() >= 2 and p.requires_grad]
    with lent(model, training=False), stored(used):
        for tensor in used:
            tensor.data = tensor.data.abs().to(kind)
        try:
            for norm in norms:
                norm.__dict__["forward"] = _same
            ones = torch.ones_like(x[:1], dtype=kind if x.is_floating_point() else x.dtype)
            with torch.enable_grad():
                total = first(model(ones)).sum()
                found = torch.autograd.grad(total, parts, allow_unused=True) if total.requires_grad else ()
            pairs = [(p.detach(), g) for p, g in zip(parts, found, strict=False) if g is not None]
            return float(sum((p * g).sum(dtype=torch.float64).abs() for p, g in pairs))
        finally:
            for norm in norms:
                norm.__dict__.pop("forward", None)


def _same(x: Tensor, *_: object) -> Tensor:
    return x


def zen(model: nn.Module, x: Tensor, seed: int) -> float:
    """ln E‖f(a) - f(a + 0.01 b)‖₁ + Σ over BatchNorms of ln √(mean of the channels' variances); weights, a and b
    standard normal, f the network up to its global pooling.

    Source: Lin et al. 2021, Algorithm 1. Where we differ: variances are those of the batch itself (the published code
    reads running averages); f ends at the input of the first adaptive pooling, else of the last linear layer.

    x: (B, ...) floats; shape and type alone matter, and at most 16 rows are drawn.
    """
    end = _features(model)
    seen: list[Tensor] = []
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    spread: list[float] = []
    handles = [end.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))]
    handles += [m.register_forward_pre_hook(lambda _m, args: spread.append(_log_spread(args[0]))) for m in norms]
    with (
        lent(model, training=True),
        stored(tensors(model.modules())),
        hooked(handles),
        seeded_torch(seed),
        torch.no_grad(),
    ):
        for module in model.modules():
            _normal(module)
        a = torch.randn(min(len(x), ROWS), *x.shape[1:])
        b = torch.randn_like(a)
        model(a.to(x.device))
        scale = sum(spread)
        model((a + MIXED * b).to(x.device))
    value = float(torch.log((seen[0] - seen[-1]).flatten(1).abs().sum(1).mean())) + scale
    if not math.isfinite(value):
        raise NotFiniteError(f"zen has no value: it is {value} (nothing of the input reaches the features)")
    return value


def _features(model: nn.Module) -> nn.Module:
    """The module whose input are the features."""
    pooling = [m for m in model.modules() if type(m).__name__.startswith("Adaptive") or type(m).__name__ == "Mean"]
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    if not pooling and not linear:
        raise NotFiniteError("zen has no value: the network has neither a global pooling nor a linear layer")
    return pooling[0] if pooling else linear[-1]


def _normal(module: nn.Module) -> None:
    """Standard normal weights, no bias; normalisations neither scale nor shift."""
    if not isinstance(module, (*NORMS, *Weighted)):
        return
    if isinstance(weight := module.weight, Tensor):
        weight.data = torch.ones_like(weight) if isinstance(module, NORMS) else torch.randn_like(weight)
    if isinstance(bias := getattr(module, "bias", None), Tensor):
        bias.data = torch.zeros_like(bias)


def _log_spread(x: Tensor) -> float:
    """ln √(mean variance of the channels) of (B, C, ...)."""
    dims = [0, *range(2, x.dim())]
    return 0.5 * float(torch.log(x.var(dims, unbiased=False).mean()))


def l2_norm(model: nn.Module) -> float:
    """Sum over the weights of their L2 norms. Source: Abdelfattah et al. 2021, published code."""
    return float(sum(p.detach().norm() for p in weights(model)))


def params(model: nn.Module) -> float:
    """The number of parameters."""
    return float(sum(p.numel() for p in model.parameters()))


def macs(model: nn.Module, x: Tensor) -> float:
    """Multiply-accumulates of one row: half of what torch's counter of operations says."""
    with lent(model, training=False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x[:1])
    return float(counter.get_total_flops()) / 2.0
