"""Which ready-made space, and how wide, for a kind of data, its shape and the time there is.

Widths are set by cost: about `CANDIDATES` trainings of `EPOCHS` epochs should fit into half of the budget at
the median cost of sampled architectures, counted without building. The rates are rough and were measured on
one core; a factor of two off moves the width by one step.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any, Literal

from searchitect.errors import UsageError
from searchitect.nets import Costs
from searchitect.space import Space
from searchitect.spaces import load_space

CANDIDATES, EPOCHS = 25, 8
RATE = {"image": 8e9, "sequence": 4e9, "table": 4e9}  # multiply-accumulates per second, small nets on one core
STEP = {"image": 4e-3, "sequence": 4e-3, "table": 1e-3}  # seconds per training step that no width changes
BATCH = 64
WIDTHS = (8, 12, 16, 24, 32)  # of an image network's first stage
SCALES = (0.5, 1, 2)  # of the widths of perceptrons and sequence networks


def auto(
    kind: Literal["image", "table", "sequence"], shape: Iterable[int], n_train: int, budget_seconds: float
) -> tuple[Space, str]:
    """A space for the data, and why, in one sentence.

    kind:           "image" (channels, height, width), "sequence" (channels, length), "table" (features,).
    shape:          one sample without the batch.
    n_train:        training rows.
    budget_seconds: for the whole search, one core.

    Raises UsageError when kind and shape do not belong together.
    """
    sizes = tuple(shape)
    wanted = {"image": 3, "sequence": 2, "table": 1}
    if kind not in wanted or len(sizes) != wanted[kind] or min(sizes, default=0) < 1:
        raise UsageError(
            f"kind={kind!r} with shape {sizes}: write 'image' with (channels, height, width), "
            "'sequence' with (channels, length), or 'table' with (features,)"
        )
    name, options = _options(kind, sizes)
    seconds = 0.0
    for option in reversed(options):  # the widest that fits, else the narrowest
        space = load_space(name, **option)
        seconds = forecast(space, kind, sizes, n_train)
        if seconds * CANDIDATES <= budget_seconds / 2:
            break
    width = ", ".join(f"{key} {value}" for key, value in option.items())
    what = {"image": "images", "sequence": "sequences", "table": "rows"}[kind]
    why = f"{name} ({width}) for {what} of shape {'×'.join(map(str, sizes))}: "
    why += f"about {seconds:.1f} s for {EPOCHS} epochs of {n_train:,} rows on one core, "
    if seconds * CANDIDATES <= budget_seconds / 2:
        return space, why + f"so that {CANDIDATES} candidates fit into half of {budget_seconds:.0f} s"
    return space, why + f"the narrowest there is; some {budget_seconds / seconds:.0f} fit into {budget_seconds:.0f} s"


def forecast(space: Space, kind: str, shape: tuple[int, ...], n_train: int) -> float:
    """Seconds for EPOCHS epochs of the median of 15 sampled architectures on one core, roughly."""
    costs = Costs(space, shape, 10)
    macs = statistics.median(costs.of(space.sample(i)).macs for i in range(15))
    steps = -(-n_train // BATCH)
    return EPOCHS * (3 * macs * n_train / RATE[kind] + steps * STEP[kind])


def _options(kind: str, shape: tuple[int, ...]) -> tuple[str, list[dict[str, Any]]]:
    if kind == "image":
        return "cnn", [{"size": min(shape[1:]), "width": width} for width in WIDTHS]
    if kind == "sequence":
        return "tcn", [{"length": shape[1], "widths": _scaled((16, 32, 48, 64), s)} for s in SCALES]
    return "mlp", [{"widths": _scaled((32, 64, 128, 256), s)} for s in SCALES]


def _scaled(widths: tuple[int, ...], scale: float) -> tuple[int, ...]:
    return tuple(int(w * scale) for w in widths)
