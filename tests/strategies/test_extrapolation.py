"""Learning curves continued: exact where the formula is the curve, sober elsewhere, and useful on real ones."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from searchitect.seeds import stream
from searchitect.strategies.extrapolation import extrapolated


def power(t, a, b, c):
    return a + b * t**-c


@pytest.mark.parametrize("c", [0.25, 0.5, 1.0, 2.0])
def test_a_power_law_of_the_grid_is_continued_exactly(c):
    curve = [power(t, 0.1, 0.8, c) for t in range(1, 9)]
    assert extrapolated(curve, 100) == pytest.approx(power(100, 0.1, 0.8, c), abs=1e-4)


@pytest.mark.parametrize("q", [0.5, 0.8, 0.95])
def test_an_exponential_of_the_grid_is_continued_exactly(q):
    curve = [0.2 + 0.7 * q**t for t in range(1, 9)]
    assert extrapolated(curve, 60) == pytest.approx(0.2 + 0.7 * q**60, abs=1e-4)


def test_between_the_grid_it_is_close():
    """c = 0.67: nobody's own, between 0.6 and 0.75."""
    curve = [power(t, 0.1, 0.8, 0.67) for t in range(1, 13)]
    assert extrapolated(curve, 50) == pytest.approx(power(50, 0.1, 0.8, 0.67), abs=0.01)


def test_it_is_never_worse_than_the_last_value_and_the_last_value_where_nothing_falls():
    rising = [0.1 * t for t in range(1, 9)]
    assert extrapolated(rising, 50) == rising[-1]
    assert extrapolated([0.5] * 8, 50) == 0.5
    for turn in range(50):
        source = stream(turn, 0, "noise")
        curve = [0.3 + 0.5 / t + 0.05 * source.normal() for t in range(1, 9)]
        assert extrapolated(curve, 40) <= curve[-1]


def test_short_curves_and_strange_ones_say_no_more_than_their_last_value():
    assert extrapolated([0.5, 0.4, 0.3], 50) == 0.3
    assert extrapolated([0.5, 0.4, 0.3, 0.25], 4) == 0.25
    assert extrapolated([math.inf, 0.4, 0.3, 0.25, 0.2], 10) == 0.2
    assert math.isnan(extrapolated([0.5, 0.4, 0.3, math.nan], 10))


def test_the_scale_and_the_offset_of_a_loss_do_not_matter():
    curve = [power(t, 0.1, 0.8, 0.7) + 0.01 * math.sin(9 * t) for t in range(1, 11)]
    scaled = [100 * y + 7 for y in curve]
    assert extrapolated(scaled, 30) == pytest.approx(100 * extrapolated(curve, 30) + 7, rel=1e-6)


def test_the_weights_are_those_of_the_fits():
    """Against scipy: each family's least squares with b >= 0, weights (sum of squares)^(-n/2)."""
    from scipy.optimize import lsq_linear

    curve = np.array([0.9, 0.62, 0.55, 0.47, 0.45, 0.41, 0.40])
    t, n, later = np.arange(1, 8.0), 7, 20.0
    shares, falls = [], []
    for shape in [lambda t, c=c: t**-c for c in (0.25, 0.4, 0.5, 0.6, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)] + [
        lambda t, q=q: q**t for q in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    ]:
        root = np.sqrt(t / t.sum())
        design = np.stack([np.ones(n), shape(t)], 1) * root[:, None]
        found = lsq_linear(design, curve * root, bounds=([-np.inf, 0], [np.inf, np.inf]), tol=1e-14)
        error = 2 * found.cost
        shares.append(error ** (-n / 2))
        falls.append(found.x[1] * (shape(n) - shape(later)))
    expected = curve[-1] - np.dot(shares, falls) / sum(shares)
    assert extrapolated(curve.tolist(), 20) == pytest.approx(expected, abs=1e-6)


def test_real_curves_are_foreseen_better_than_by_their_last_value():
    """NATS-Bench, CIFAR-10: after 6 of 12, 30 of 90 and 22 or 66 of 200 epochs; all with a cosine schedule."""
    known = json.loads((Path(__file__).parent / "nats_curves.json").read_text())["curves"]
    for epochs, seen in ((12, 6), (90, 30), (200, 22), (200, 66)):
        curves = [(c["begins"][:seen], c["ends"]) for c in known if c["epochs"] == epochs]
        assert len(curves) >= 3
        last = sum(abs(begins[-1] - end) for begins, end in curves)
        foreseen = sum(abs(-extrapolated([-v for v in begins], epochs) - end) for begins, end in curves)
        assert foreseen < 0.9 * last, (epochs, seen)
