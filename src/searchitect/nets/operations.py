"""Operations of cell spaces: they keep the width of their input, which they learn from the first one.

Shapes: (B, C, H, W) or (B, C, T) → (B, C, .../stride, rounded up). Each imports only torch and stands alone;
its layers are made when the first input arrives (`build` sends one).
"""

from __future__ import annotations

import torch
from torch import nn


class SameConv(nn.Module):
    """ReLU, convolution, BatchNorm at the input's width and, for stride 1, at its size."""

    def __init__(self, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}: only odd kernels keep the size")
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.body: nn.Sequential | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.body is None:
            width, pad = x.shape[1], self.dilation * (self.kernel - 1) // 2
            conv, norm = (nn.Conv1d, nn.BatchNorm1d) if x.dim() == 3 else (nn.Conv2d, nn.BatchNorm2d)
            layer = conv(width, width, self.kernel, self.stride, pad, self.dilation, bias=False)
            body = nn.Sequential(nn.ReLU(), layer, norm(width))
            self.body = body.to(x.device, x.dtype).train(self.training)
        y: torch.Tensor = self.body(x)
        return y

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, dilation={self.dilation}"


class Depthwise(nn.Module):
    """ReLU, depthwise convolution, 1×1 convolution, BatchNorm at the input's width.

    `twice` applies it a second time with stride and dilation 1: DARTS' separable convolution. Once with
    dilation 2 it is DARTS' dilated convolution.
    """

    def __init__(self, kernel: int, stride: int = 1, dilation: int = 1, twice: bool = False) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}: only odd kernels keep the size")
        self.kernel, self.stride, self.dilation, self.twice = kernel, stride, dilation, twice
        self.body: nn.Sequential | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.body is None:
            width = x.shape[1]
            conv, norm = (nn.Conv1d, nn.BatchNorm1d) if x.dim() == 3 else (nn.Conv2d, nn.BatchNorm2d)
            layers: list[nn.Module] = []
            for stride, dilation in [(self.stride, self.dilation), (1, 1)][: 1 + self.twice]:
                pad = dilation * (self.kernel - 1) // 2
                deep = conv(width, width, self.kernel, stride, pad, dilation, groups=width, bias=False)
                layers += [nn.ReLU(), deep, conv(width, width, 1, bias=False), norm(width)]
            self.body = nn.Sequential(*layers).to(x.device, x.dtype).train(self.training)
        y: torch.Tensor = self.body(x)
        return y

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}, dilation={self.dilation}, twice={self.twice}"


class Skip(nn.Module):
    """Stride 1: the input itself. Stride 2: DARTS' factorised reduction at the input's width.

    The reduction is ReLU, two 1×1 convolutions with stride 2, the second on the input shifted by one pixel,
    side by side, and BatchNorm. Odd sizes are padded by one, so that both halves have the same size.
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride={stride}: Skip knows 1 and 2")
        self.stride = stride
        self.halves: nn.ModuleList | None = None
        self.norm: nn.Module | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 1:
            return x
        if self.halves is None or self.norm is None:
            width = x.shape[1]
            conv, norm = (nn.Conv1d, nn.BatchNorm1d) if x.dim() == 3 else (nn.Conv2d, nn.BatchNorm2d)
            widths = [width - width // 2, width // 2]
            halves = nn.ModuleList(conv(width, w, 1, stride=2, bias=False) for w in widths if w)
            self.halves = halves.to(x.device, x.dtype)
            self.norm = norm(width).to(x.device, x.dtype).train(self.training)
        x = torch.relu(x)
        spatial = x.dim() - 2
        inner = x[(slice(None), slice(None), *(slice(1, None),) * spatial)]
        shifted = nn.functional.pad(inner, (0, 1) * spatial)
        outputs = [half(part) for half, part in zip(self.halves, (x, shifted), strict=False)]
        y: torch.Tensor = self.norm(torch.cat(outputs, dim=1))
        return y

    def extra_repr(self) -> str:
        return f"stride={self.stride}"
