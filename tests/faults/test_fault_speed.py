"""Waiting is a fault too. The bars are those of benchmarks/, with room for a busy machine."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def benchmark(name):
    specification = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_long_study_goes_on_quickly(tmp_path):
    """A study of 5,000 trials is resumed → its next proposal is there within 2 s after imports."""
    resume = benchmark("resume")
    resume.make(tmp_path / "s", "regularized-evolution", 5_000)
    assert resume.seconds_to_first_proposal(tmp_path / "s", "regularized-evolution") < 3 * resume.BAR


@pytest.mark.slow
def test_short_trials_in_two_workers():
    """Trials of 50 ms in two workers → a few milliseconds each beyond the ideal, the whole loop included."""
    parallel = benchmark("parallel")
    assert parallel.seconds_per_trial(parallel.eight(), parallel.nap, 2, 40) * 2 < 0.050 + 0.030
