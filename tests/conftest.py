"""One thread for each test process: two that share two cores with two threads each are many times slower."""

import gc
import os

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture
def fresh_heap():
    """What other tests left behind is not looked at by the collector, as it would not be in a process of its own."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
