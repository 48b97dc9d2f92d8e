"""The tensors that training sees, and the short way from checked data to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch

from searchitect.errors import DataError
from searchitect.training.data import RawData
from searchitect.training.preprocess import Preprocess
from searchitect.training.split import Kin


@dataclass(frozen=True, eq=False)
class TrainData:
    """`x` float32 (N, ...), `y` int64 (N,) classes or float32 (N, outputs) standardised targets.

    The `_eval` pair is what is scored each epoch, or None. `y_mean` and `y_std` (outputs,) turn outputs of a
    regression back to the user's units before they are scored. `groups` (N,) and `ordered` say what the rows are to
    each other, for who cuts them again. `weights` (N,) are how much each row counts in the loss, 1 in the mean; None
    stands for ones. `soft` (N, outputs) is what a teacher says of each row, which has the share `soft_weight` of the
    loss at a `temperature` (`losses.py`). `kind` is "text" or "stream" where x holds numbers of tokens.
    """

    x: torch.Tensor
    y: torch.Tensor
    x_eval: torch.Tensor | None
    y_eval: torch.Tensor | None
    task: Literal["classification", "regression"]
    outputs: int
    y_mean: torch.Tensor | None = None
    y_std: torch.Tensor | None = None
    groups: np.ndarray | None = None
    ordered: bool = False
    weights: torch.Tensor | None = None
    soft: torch.Tensor | None = None
    soft_weight: float = 0.0
    temperature: float = 1.0
    kind: str = ""

    def __post_init__(self) -> None:
        for x, y in ((self.x, self.y), (self.x_eval, self.y_eval)):
            if (x is None) != (y is None) or (x is not None and y is not None and len(x) != len(y)):
                raise DataError("x and y of one part must be given together and have the same number of rows")
        if self.soft is not None and self.soft.shape != (len(self.x), self.outputs):
            raise DataError(f"a teacher's answers have shape {tuple(self.soft.shape)}: not one for each row and output")
        if len(self.x) < 2:
            raise DataError(f"training needs at least 2 rows, there are {len(self.x)}")

    @property
    def sample(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(self.x.shape[1:])

    def kin(self) -> Kin:
        """What the training rows are to each other, for a split."""
        classes = self.y.cpu().numpy() if self.task == "classification" else None
        return Kin(len(self.x), classes, self.groups, self.ordered)

    def to(self, device: str | torch.device) -> TrainData:
        """The same data on a device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)

    def units(self, y: torch.Tensor) -> torch.Tensor:
        """Standardised targets or outputs (B, outputs) in the user's units; class data as they are."""
        if self.y_std is None or self.y_mean is None:
            return y
        return y * self.y_std.to(y.device) + self.y_mean.to(y.device)


def prepare(
    raw: RawData,
    rows: np.ndarray,
    evaluate: np.ndarray | Literal["test"] | None = None,
    preprocess: Preprocess | None = None,
) -> tuple[TrainData, Preprocess]:
    """Tensors for these training rows. `evaluate` are the rows that are scored, "test" the part given apart.

    Without `preprocess` it is fitted on the training rows. Raises DataError.
    """
    fixed = preprocess or Preprocess.fit(raw, rows)
    x_eval = y_eval = None
    if evaluate is not None:
        if isinstance(evaluate, str):
            if raw.test is None:
                raise DataError("no test part was given apart; pass row numbers")
            x, y = raw.test
        else:
            x, y = raw.x[evaluate], raw.y[evaluate]
        x_eval, y_eval = fixed.apply(x), fixed.encode_y(y)
    y_mean, y_std = (torch.tensor(v) if v else None for v in (fixed.y_mean, fixed.y_std))
    data = TrainData(
        fixed.apply(raw.x[rows]), fixed.encode_y(raw.y[rows]), x_eval, y_eval, raw.task, raw.outputs, y_mean, y_std,
        None if raw.groups is None else raw.groups[rows], raw.ordered, _weights(raw, rows),
        kind=raw.kind,
    )  # fmt: skip
    return data, fixed


def _weights(raw: RawData, rows: np.ndarray) -> torch.Tensor | None:
    """The weights of these rows, scaled to a mean of 1: so the learning rate fits them."""
    if raw.weights is None:
        return None
    kept = raw.weights[rows]
    if not kept.any():
        raise DataError("all rows of a training part have the weight zero: give weights to more rows")
    return torch.from_numpy((kept / kept.mean()).astype(np.float32))


def batches(n: int, size: int, order: torch.Tensor) -> Iterator[torch.Tensor]:
    """The order (N,) in pieces of `size`; a last piece of one row joins the piece before it.

    Batch normalisation cannot be trained on one row.
    """
    starts = list(range(0, n, size))
    if len(starts) > 1 and n - starts[-1] == 1 < size:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        yield order[start:stop]


def batch_count(n: int, size: int) -> int:
    """How many pieces `batches` gives."""
    full, rest = divmod(n, size)
    return max(1, full + (rest > 1 or (rest == 1 and full == 0)))


def pieces(n: int, most: int | None) -> list[tuple[slice, float]]:
    """A batch of n rows in as few pieces of at most `most` rows as it takes (None: one), each with its share of the
    rows. They differ by one row at most and have two or more, as batch normalisation needs, where n allows it."""
    count = 1 if most is None else max(1, min(-(-n // max(most, 2)), n // 2))
    ends = [n * i // count for i in range(count + 1)]
    return [(slice(a, b), 1.0 if count == 1 else (b - a) / n) for a, b in pairwise(ends)]
