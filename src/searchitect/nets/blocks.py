"""Small blocks that plain `torch.nn` lacks. Each imports only torch and stands alone.

Shapes: B batch, C channels, ... any further sizes (H W of an image, T of a sequence).
"""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """`x + body(x)` where the shapes agree, else `body(x)` alone (a body that changes width or stride).

    body: any module. (B, ...) → the shape that the body gives.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if x.shape == y.shape else y


class Branches(nn.Module):
    """The same input through several modules, their outputs summed or concatenated along the channels.

    merge: "sum" (B, C, ...) × n → (B, C, ...), or "concat" (B, C_i, ...) → (B, sum of C_i, ...).
    Raises ValueError when outputs to be summed differ in shape (torch would stretch them silently).
    """

    def __init__(self, *modules: nn.Module, merge: str = "sum") -> None:
        super().__init__()
        if merge not in ("sum", "concat"):
            raise ValueError(f"merge={merge!r}: write 'sum' or 'concat'")
        if not modules:
            raise ValueError("Branches needs at least one module")
        self.branches = nn.ModuleList(modules)
        self.merge = merge

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: list[torch.Tensor] = [branch(x) for branch in self.branches]
        if self.merge == "concat":
            return torch.cat(outputs, dim=1)
        total = outputs[0]
        for output in outputs[1:]:
            if output.shape != total.shape:
                shapes = ", ".join(str(tuple(o.shape)) for o in outputs)
                raise ValueError(f"outputs to be summed have different shapes: {shapes}")
            total = total + output
        return total


class Zero(nn.Module):
    """All zeros in the shape of the input, strided: (B, C, ...) → (B, C, .../stride). No parameters."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spatial = (slice(None, None, self.stride),) * (x.dim() - 2)
        return torch.zeros_like(x[(slice(None), slice(None), *spatial)])

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class SqueezeExcite(nn.Module):
    """Channels weighted by a gate computed from their means (Hu et al. 2018, equations 2-4).

    ratio: channels per hidden unit. (B, C, ...) → the same; C is taken from the first input.
    """

    def __init__(self, ratio: int = 4) -> None:
        super().__init__()
        self.ratio = ratio
        self.gate: nn.Sequential | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        width = x.shape[1]
        if self.gate is None:
            hidden = max(1, width // self.ratio)
            gate = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Sigmoid())
            self.gate = gate.to(x.device, x.dtype).train(self.training)
        means = x.flatten(2).mean(2)
        weights: torch.Tensor = self.gate(means)
        return x * weights.reshape(weights.shape + (1,) * (x.dim() - 2))

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}"


class Mean(nn.Module):
    """The mean along one dimension, for example over tokens: (B, L, C) → (B, C)."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class DropPath(nn.Module):
    """While training, each sample is set to zero with probability `p` and otherwise divided by 1 - p.

    For the body of a residual connection: the whole body is left out (Huang et al. 2016). (B, ...) → same.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p={p!r}: write a probability from 0 to below 1")
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.rand((x.shape[0],) + (1,) * (x.dim() - 1), device=x.device) >= self.p
        return x * (keep.to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"
