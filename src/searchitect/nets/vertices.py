"""A cell whose vertices hold the operations. Imports only torch and stands alone.

Shapes: B batch, C channels, H W.
"""

from __future__ import annotations

import torch
from torch import nn


class VertexCell(nn.Module):
    """The cell of NAS-Bench-101 (Ying et al. 2019, section 2.2): (B, C, H, W) → (B, channels of the output, H, W).

    vertices: those after the input, in their order: (operation, channels, sources). Operations are "conv_3x3" and
              "conv_1x1" (convolution, BatchNorm, ReLU), "max_pool_3x3", and for the last vertex "output". A source
              is the number of an earlier vertex, 0 is the input.

    A vertex sums what it sees, cut to its own first channels; the input is seen through a 1×1 convolution with
    BatchNorm and ReLU of each edge's own. The output puts the vertices that it sees side by side and adds the input, if
    it sees it. Raises ValueError for a cell without a path to the output, and for vertices that do not fit together.
    """

    def __init__(self, vertices: list[tuple[str, int, list[int]]]) -> None:
        super().__init__()
        if not vertices:
            raise ValueError("no path leads from the input to the output: add an edge")
        self.vertices = [(name, int(width), list(sources)) for name, width, sources in vertices]
        self._check()
        self.projections = nn.ModuleDict()
        self.operations = nn.ModuleList()
        for i, (name, width, sources) in enumerate(self.vertices):
            if 0 in sources:
                self.projections[str(i + 1)] = nn.Sequential(
                    nn.LazyConv2d(width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
                )
            if name == "max_pool_3x3":
                self.operations.append(nn.MaxPool2d(3, 1, 1))
            elif name != "output":
                kernel = 3 if name == "conv_3x3" else 1
                conv = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)
                self.operations.append(nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU()))

    def _check(self) -> None:
        for i, (name, width, sources) in enumerate(self.vertices, 1):
            last = i == len(self.vertices)
            known = ("output",) if last else ("conv_3x3", "conv_1x1", "max_pool_3x3")
            seen = [self.vertices[j - 1][1] for j in sources if 0 < j < i]
            fits = sum(seen) == width or not seen if last else all(w >= width for w in seen)
            if name not in known or not sources or width < 1 or not fits or not all(0 <= j < i for j in sources):
                raise ValueError(
                    f"vertex {i} is ({name!r}, {width}, {sources}): write one of {', '.join(known)}, and sources "
                    "before it with channels enough (those of the output add up to its own)"
                )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [x]
        for i, (name, width, sources) in enumerate(self.vertices, 1):
            seen = [states[j] for j in sources if j]
            if name == "output":
                terms = [torch.cat(seen, dim=1)] if seen else []
            else:
                terms = [state[:, :width] for state in seen]
            if 0 in sources:
                terms.append(self.projections[str(i)](x))
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            states.append(total if name == "output" else self.operations[i - 1](total))
        return states[-1]

    def extra_repr(self) -> str:
        return "; ".join(
            f"{i} {name} {width} of {sources}" for i, (name, width, sources) in enumerate(self.vertices, 1)
        )
