"""One thread for the linear algebra of a proposal.

Matrices of some hundred rows gain nothing from more: threads wait for one another in a loop, which on cores that are
busy with trainings multiplies the CPU time of a proposal (measured: by six). Results do not depend on the number of
cores either.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import scipy.linalg  # noqa: F401 - so that its library is loaded when the controller looks for libraries
from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[None]:
    """While open, NumPy and SciPy compute on one thread; torch is left alone. Costs about 40 µs."""
    opened: AbstractContextManager[None] = _libraries().limit(limits=1, user_api="blas")
    return opened


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()
