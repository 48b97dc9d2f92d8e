"""Test items that are not independent: rows of one group, or rows near each other in time.

Idea. Whole blocks of items take the place of single items. What leaves a mean unchanged and makes blocks its items are
Tukey's pseudo-values (1958): z_g = m + (B - 1) / (N - n_g) · sum over the items i of block g of (y_i - m), for a mean m
of N items in B blocks of n_g items. Their variance divided by B is the jackknife variance of the mean over blocks, with
B - 1 degrees of freedom where they are equally large; blocks of one item are the items themselves.

Source. Clusters: Liang and Zeger 1986; MacKinnon, Nielsen and Webb 2023 (Journal of Econometrics 232, section 3.1), by
whom the jackknife (their CV3J) keeps its level best where blocks are few or uneven. Time: Ibragimov and Müller 2010
(Journal of Business & Economic Statistics 28, 453-468): means of few long blocks are about independent, and Student's t
over them stays below its level even where their variances differ. Where we differ: each of the parts of `intervals`
(seeds, items, what is left of the two) is taken over blocks, not only the difference, and uneven blocks have fewer
degrees of freedom (in simulations 10 groups of 1 to 99 items erred in 6.7 instead of 5 per cent with B - 1).

Assumptions: blocks are independent draws. Groups in the test part stand for the groups that are still to come; for
time, what is near in time is alike and a tenth of the test period is long against that. A trend is not covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from searchitect.training.split import Kin

IN_TIME = 10  # blocks of the test period: Student's factor is 2.26 instead of 1.96
LEAST_ROWS = 4  # in each of them


@dataclass(frozen=True, eq=False)
class Blocks:
    """Which block each test item belongs to, `codes` (N,) from 0 to `count` - 1, and what a block is called."""

    codes: np.ndarray
    count: int
    name: str

    @property
    def df(self) -> float:
        """Degrees of freedom: one less than the number of equal blocks that these are worth, (sum n)^2 / sum n^2 (Kish
        1965): where a few blocks hold most items, a mean hangs on these few."""
        sizes = np.bincount(self.codes, minlength=self.count).astype(float)
        return max(float(sizes.sum() ** 2 / (sizes**2).sum()) - 1, 1.0)


def by_groups(groups: np.ndarray) -> Blocks:
    """One block for each group; `groups` (N,) are numbers or names."""
    names, codes = np.unique(groups, return_inverse=True)
    return Blocks(codes.reshape(-1), len(names), "groups")


def in_time(rows: int) -> Blocks:
    """Stretches of equal length for rows in the order of time."""
    count = max(1, min(IN_TIME, rows // LEAST_ROWS))
    return Blocks(np.arange(rows) * count // max(rows, 1), count, "stretches of time")


def blocks_of(kin: Kin | None) -> Blocks | None:
    """The blocks of test rows, by what they are to each other; None where they are independent."""
    if kin is None:
        return None
    if kin.groups is not None:
        return by_groups(kin.groups)
    return in_time(kin.rows) if kin.ordered else None


def pseudo_values(values: np.ndarray, blocks: Blocks) -> np.ndarray:
    """(..., N) values of items → (..., B) of blocks; at least two blocks are needed."""
    sizes = np.bincount(blocks.codes, minlength=blocks.count)
    mean = values.mean(-1, keepdims=True)
    order = np.argsort(blocks.codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat((values - mean)[..., order], starts, axis=-1)
    found: np.ndarray = mean + (blocks.count - 1) / (values.shape[-1] - sizes) * sums
    return found


def drawn(rng: np.random.Generator, rows: int, blocks: Blocks | None) -> np.ndarray:
    """Items of one bootstrap resample: as many items, or as many blocks with all their items, drawn again."""
    if blocks is None:
        return rng.integers(0, rows, rows)
    order = np.argsort(blocks.codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(blocks.codes, minlength=blocks.count))[:-1])
    return np.concatenate([parts[g] for g in rng.integers(0, blocks.count, blocks.count)])
