"""Which ready-made space, and how wide, for a kind of data, its shape and the time there is.

Widths are set by cost: about `CANDIDATES` trainings should fit into half of the budget at the median cost of
sampled architectures, which is counted without building. Seconds of a training step come from a linear model
of multiply-accumulates and of numbers kept for backward, fitted on one core (AVX2) to 54 image, 24 sequence
and 24 table networks. On those it gave 0.6 to 1.35 times the measured seconds for nine in ten.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from searchitect.errors import UsageError
from searchitect.nets import Costs
from searchitect.space import Space
from searchitect.spaces import load_space

CANDIDATES = 10  # on each core
SMALL = 5_000  # rows; with fewer, training takes more epochs, smaller batches and no wide image networks
WIDTHS = (8, 12, 16, 24, 32)  # of an image network's first stage
SCALES = (0.5, 1, 2)  # of the widths of perceptrons and sequence networks


class Speed(NamedTuple):
    """One training step takes start + samples · (macs / multiplied + kept / moved) seconds."""

    start: float
    multiplied: float
    moved: float


SHARED = ((3, 16), (2, 16), (1, 16), (1, 8))  # cells a stage and channels of a space for a supernet
SHARED_EPOCHS = 25
SHARED_TIMES = 6  # a step of a supernet over that of the median network, both of its steps together
FINAL_RUNS = 18  # trainings of the final comparison: four finalists, the winner and the baseline, three seeds each

SPEEDS = {
    "image": Speed(3.8e-3, 3.6e10, 3.4e8),
    "sequence": Speed(1.7e-3, 3.3e10, 2.3e8),
    "table": Speed(0.48e-3, 6.2e11, 1.34e8),
}
SPEEDS |= dict.fromkeys(("text", "stream"), SPEEDS["sequence"])  # not measured apart
SHAPES = {"image": 3, "sequence": 2, "table": 1, "text": 1, "stream": 1}
CALLED = {"image": "images", "sequence": "sequences", "table": "rows", "text": "texts", "stream": "windows"}


def auto(
    kind: Literal["image", "table", "sequence", "text", "stream"],
    shape: Iterable[int],
    n_train: int,
    budget_seconds: float,
    vocabulary: int = 0,
) -> tuple[Space, str]:
    """A space for the data, and why, in one sentence.

    kind:           "image" (channels, height, width), "sequence" (channels, length), "table" (features,), "text" and
                    "stream" (tokens,).
    shape:          one sample without the batch.
    n_train:        training rows.
    budget_seconds: for the whole search, one core.
    vocabulary:     how many tokens there are, of texts and streams.

    Raises UsageError when kind and shape do not belong together.
    """
    sizes = tuple(shape)
    if (
        kind not in SHAPES
        or len(sizes) != SHAPES[kind]
        or min(sizes) < 1
        or n_train < 1
        or ((vocabulary > 0) != (kind in ("text", "stream")))
    ):
        raise UsageError(
            f"kind={kind!r}, shape={sizes}, n_train={n_train}: write 'image' with (channels, height, width), "
            "'sequence' with (channels, length), 'table' with (features,), or 'text' or 'stream' with (tokens,) and "
            "vocabulary=, and at least one row"
        )
    name, widths = _options(kind, sizes, n_train, vocabulary)
    epochs = 20 if n_train < SMALL else 8
    allowed = budget_seconds / 2 / CANDIDATES
    outputs = vocabulary if kind == "stream" else 10
    for label in reversed(widths):  # the widest that fits, else the narrowest
        space = load_space(name, **widths[label])
        seconds = epochs * epoch_seconds(space, kind, sizes, n_train, outputs)
        if seconds <= allowed:
            break
    why = f"{name}, widths from {label}, for {CALLED[kind]} of shape {'×'.join(map(str, sizes))}: "
    why += f"about {seconds:.1f} s for {epochs} epochs of {n_train:,} rows on one core, "
    if seconds <= allowed:
        return space, why + f"so that {CANDIDATES} candidates fit into half of {budget_seconds:.0f} s"
    return (
        space,
        why + f"the narrowest there is; {budget_seconds / 2 / seconds:.0f} fit into half of {budget_seconds:.0f} s",
    )


def shared(method: str, shape: Iterable[int], n_train: int, budget_seconds: float) -> tuple[Space, str]:
    """A space of cells for images whose options can be mixed in a supernet, and why, in one sentence.

    The cells of NAS-Bench-201, as wide and as many as let a supernet of all options have about 25 epochs in a third
    of the budget on one core, and the final comparison its epochs in another third. For PC-DARTS convolutions take
    their width from their input.
    """
    sizes = tuple(shape)
    for cells, width in SHARED:  # from large to small
        space = load_space("nb201", cells=cells, width=width, follow=method == "pcdarts")
        epochs = max(SHARED_EPOCHS * SHARED_TIMES, FINAL_RUNS * (20 if n_train < SMALL else 8))
        if epochs * epoch_seconds(space, "image", sizes, n_train) <= budget_seconds / 3:
            break
    count = f"{cells} cell{'s' * (cells > 1)}"
    return space, f"nb201 with {count} a stage and {width} channels: options of one shape, which can be mixed"


def epoch_seconds(space: Space, kind: str, shape: tuple[int, ...], n_train: int, outputs: int = 10) -> float:
    """Seconds for one epoch of the median of 15 sampled architectures on one core, roughly."""
    speed, costs = SPEEDS[kind], Costs(space, shape, outputs, batch=1)
    each = []
    for i in range(15):
        cost = costs.of(space.sample(i))
        kept = cost.memory_mb * 1e6 / 4 - 4 * cost.params
        each.append(cost.macs / speed.multiplied + kept / speed.moved)
    steps = -(-n_train // (64 if n_train < SMALL else 128))
    return steps * speed.start + n_train * statistics.median(each)


def _options(kind: str, shape: tuple[int, ...], n_train: int, vocabulary: int) -> tuple[str, dict[int, dict[str, Any]]]:
    """The space's name, and its options by the width that they begin with, from narrow to wide."""
    if kind == "image":
        return "cnn", {
            width: {"size": min(shape[1:]), "width": width} for width in (WIDTHS[:2] if n_train < SMALL else WIDTHS)
        }
    if kind == "sequence":
        scaled = [tuple(int(w * s) for w in (16, 32, 48, 64)) for s in SCALES]
        return "tcn", {widths[0]: {"length": shape[1], "widths": widths} for widths in scaled}
    if kind in ("text", "stream"):
        scaled = [tuple(int(w * s) for w in (32, 64)) for s in SCALES]
        more: dict[str, Any] = {"vocabulary": vocabulary, "length": shape[0]}
        more |= {"kind": "text"} if kind == "text" else {}
        return ("transformer" if kind == "text" else "gpt"), {widths[0]: {"dims": widths, **more} for widths in scaled}
    scaled = [tuple(int(w * s) for w in (32, 64, 128, 256)) for s in SCALES]
    return "mlp", {widths[0]: {"widths": widths} for widths in scaled}
