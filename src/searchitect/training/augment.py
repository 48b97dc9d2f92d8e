"""Batched augmentation of images in memory. Every function draws from the generator that it is given.

Shapes: x (B, C, H, W); nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MIXUP_ALPHA = 0.2


def crop(x: Tensor, generator: torch.Generator, padding: int | None = None) -> Tensor:
    """Shift each image by up to `padding` pixels (a sixteenth of the side, at least 1) each way.

    What comes in at the border is a mirror image, so that no new grey value appears.
    """
    batch, channels, height, width = x.shape
    pad = max(1, min(height, width) // 16) if padding is None else padding
    wide = F.pad(x, (pad, pad, pad, pad), mode="reflect" if pad < min(height, width) else "replicate")
    shifts = torch.randint(0, 2 * pad + 1, (2, batch), generator=generator, device=generator.device).to(x.device)
    rows = shifts[0, :, None] + torch.arange(height, device=x.device)  # (B, H)
    columns = shifts[1, :, None] + torch.arange(width, device=x.device)  # (B, W)
    spots = (rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]).view(batch, 1, -1)  # (B, 1, H·W)
    flat = wide.reshape(batch, channels, -1).gather(2, spots.expand(-1, channels, -1))
    return flat.view(batch, channels, height, width)


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    coin = torch.rand(len(x), generator=generator, device=generator.device).to(x.device) < 0.5
    return torch.where(coin[:, None, None, None], x.flip(-1), x)


def cutout(x: Tensor, generator: torch.Generator, size: int | None = None) -> Tensor:
    """Set one square of each image (half the side; cut at the border) to 0, the mean of standardised data.

    DeVries and Taylor 2017: the centre is uniform over all pixels.
    """
    batch, _, height, width = x.shape
    side = max(1, min(height, width) // 2) if size is None else size
    centre = torch.rand(2, batch, generator=generator, device=generator.device).to(x.device)
    inside = []
    for share, length in zip(centre, (height, width), strict=True):
        first = (share * length).long() - side // 2
        place = torch.arange(length, device=x.device)
        inside.append((place >= first[:, None]) & (place < first[:, None] + side))
    return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def mixup(x: Tensor, y: Tensor, generator: torch.Generator, alpha: float = MIXUP_ALPHA) -> tuple[Tensor, Tensor]:
    """Mix each row with another one: x (B, ...) and y (B, outputs) float, one share a batch ~ Beta(α, α).

    Zhang et al. 2018. Labels must come as shares (one-hot) or as numbers.
    """
    share = _beta(alpha, generator)
    other = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    return share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]


def _beta(alpha: float, generator: torch.Generator) -> float:
    """One draw of Beta(α, α) by Jöhnk's method (1964), which is quick for α below 1."""
    while True:
        u, v = torch.rand(2, generator=generator, device=generator.device, dtype=torch.float64).tolist()
        a, b = u ** (1 / alpha), v ** (1 / alpha)
        if 0 < a + b <= 1:
            return float(a / (a + b))


def augment(
    names: Sequence[str], x: Tensor, y: Tensor, outputs: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Apply the named steps in their usual order. Mixup turns class numbers (B,) into shares (B, outputs)."""
    if "crop" in names:
        x = crop(x, generator)
    if "flip" in names:
        x = flip(x, generator)
    if "cutout" in names:
        x = cutout(x, generator)
    if "mixup" in names:
        soft = y if y.is_floating_point() else F.one_hot(y, outputs).to(x.dtype)
        x, y = mixup(x, soft, generator)
    return x, y
