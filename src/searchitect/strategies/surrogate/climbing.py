"""From the best candidate to its neighbours, as long as they are better: the search inside a proposal.

All of a small space could be scored; of 10¹⁸ architectures the best by the model is found by walking uphill.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from searchitect.seeds import Stream
from searchitect.space import Architecture
from searchitect.strategies.base import Setting
from searchitect.strategies.surrogate.acquisition import choose
from searchitect.strategies.surrogate.candidates import Pool, Pooled
from searchitect.strategies.surrogate.regression import Process

Array = NDArray[np.float64]
STEPS = 3  # at most


def climb(
    pool: Pool, setting: Setting, source: Stream, start: int, left: int, score_from: Callable[[int], Array]
) -> Array:
    """The score of each candidate of a pool, after the neighbours of the best were taken in, and those of a better one.

    start: position of the first candidate that the model does not know yet.
    left: how many architectures may be described.
    score_from(start): tell the model of the candidates from a position on; the score of all, larger is better.
    """
    score = score_from(start)
    for _ in range(STEPS):
        before = len(pool.items)
        while left and len(pool.items) == before:  # all that was looked at may be known by other names
            looked_at = pool.surround(setting, source, choose(score), left)
            if not looked_at:
                return score
            left -= looked_at
        if len(pool.items) == before:
            return score
        score = score_from(before)
    return score


def pick(
    pool: Pool, process: Process, score: Array, feasible: Callable[[Architecture], bool] | None
) -> tuple[int, Pooled | None, Array]:
    """The best candidate's place, the candidate (out of the pool now), and the scores of those that are left.

    What is feasible may have become less since a candidate came in: such ones leave. None when nothing is left.
    """
    while pool.items:
        chosen = choose(score)
        picked = pool.take(chosen)
        if feasible is None or feasible(picked.architecture):
            return chosen, picked, score
        process.drop_candidate(chosen)
        score[chosen] = score[-1]
        score = score[:-1]
    return -1, None, score
