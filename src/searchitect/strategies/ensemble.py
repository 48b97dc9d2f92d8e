"""An ensemble of small neural networks in numpy, trained together and deterministic.

All members are one batched computation: weights have a leading axis of members, which see the same rows and differ in
their first weights only (Lakshminarayanan et al. 2017, "Deep Ensembles"; no adversarial rows). The mean over
members predicts, the deviation over members says how sure they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Layer(NamedTuple):
    """Weights (M members, inputs, outputs) and biases (M, 1, outputs)."""

    weight: Array
    bias: Array


def initial(widths: Sequence[int], members: int, seed: int) -> list[Layer]:
    """First weights, normal with variance 2 / inputs (He et al. 2015, Eq. 10); biases 0."""
    source = np.random.Generator(np.random.PCG64(seed))
    layers = []
    for inputs, outputs in pairwise(widths):
        weight = source.standard_normal((members, inputs, outputs), dtype=np.float32) * np.float32(
            (2.0 / inputs) ** 0.5
        )
        layers.append(Layer(weight, np.zeros((members, 1, outputs), dtype=np.float32)))
    return layers


def forward(layers: Sequence[Layer], x: Array) -> list[Array]:
    """What enters each layer, then the output (M, rows, outputs), for x (rows, inputs); ReLU between layers."""
    entering: list[Array] = [x]
    for depth, layer in enumerate(layers):
        y = entering[-1] @ layer.weight + layer.bias
        entering.append(np.maximum(y, np.float32(0), out=y) if depth < len(layers) - 1 else y)
    return entering


def gradients(layers: Sequence[Layer], entering: Sequence[Array], slope: Array) -> list[Layer]:
    """Gradients of a loss by the weights, from its slope by the output (M, rows, outputs); back-propagation."""
    found: list[Layer] = []
    for depth in range(len(layers) - 1, -1, -1):
        before = entering[depth]
        by_weight = np.swapaxes(before, -1, -2) @ slope
        found.append(Layer(by_weight, slope.sum(axis=1, keepdims=True)))
        if depth:
            slope = slope @ np.swapaxes(layers[depth].weight, -1, -2)
            slope *= before > 0
    return found[::-1]


class Ensemble:
    """Members trained for a fixed number of steps on mini-batches, by Adam (Kingma and Ba 2015, Algorithm 1).

    The loss is half the squared error; the rate falls to zero along a half cosine. Rows are drawn anew for every pass
    from one generator of `seed`, which also makes the first weights: same rows, same order, same networks.
    """

    def __init__(self, members: int, hidden: Sequence[int], steps: int, rate: float, decay: float, seed: int) -> None:
        self.members, self.hidden, self.steps, self.rate, self.decay, self.seed = (
            members,
            hidden,
            steps,
            rate,
            decay,
            seed,
        )
        self.layers: list[Layer] = []
        self.shift = self.scale = np.zeros(0, dtype=np.float32)
        self.columns = np.zeros(0, dtype=np.intp)

    def fit(self, x: NDArray[np.float64], y: NDArray[np.float64], batch: int = 64) -> None:
        """Learn y (rows, outputs) from x (rows, inputs). What is NaN in y is not learned from.

        Columns of x in which fewer than two rows differ from all others are left out: they say nothing about new rows.
        The others get mean 0 and deviation 1.
        """
        varying = np.flatnonzero(np.minimum((x > x.min(axis=0)).sum(axis=0), (x < x.max(axis=0)).sum(axis=0)) > 1)
        self.columns = varying if len(varying) else np.arange(1)
        inputs = self._inputs(x)
        targets = y.astype(np.float32)
        known = np.isfinite(targets)
        targets[~known] = 0
        self.layers = initial([inputs.shape[1], *self.hidden, y.shape[1]], self.members, self.seed)
        source = np.random.Generator(np.random.PCG64(self.seed + 1))
        moments = [[np.zeros_like(part) for part in layer] for layer in self.layers for _ in range(2)]
        order = np.zeros(0, dtype=np.intp)
        for step in range(self.steps):
            if len(order) < min(batch, len(x)):
                order = source.permutation(len(x))
            rows, order = order[:batch], order[batch:]
            entering = forward(self.layers, inputs[rows])
            slope = (entering[-1] - targets[rows]) * known[rows] / np.float32(len(rows))
            self._adam(gradients(self.layers, entering, slope), moments, step)

    def _adam(self, slopes: Sequence[Layer], moments: list[list[Array]], step: int) -> None:
        """One step, in place; weights (not biases) also shrink by rate times `decay` (Loshchilov and Hutter 2019)."""
        rate = self.rate * 0.5 * (1.0 + np.cos(np.pi * step / self.steps))
        first, second = 1.0 - 0.9 ** (step + 1), 1.0 - 0.999 ** (step + 1)
        size, tiny = np.float32(rate / first), np.float32(1e-8)
        for depth, (layer, slope) in enumerate(zip(self.layers, slopes, strict=True)):
            layer.weight[...] *= np.float32(1.0 - rate * self.decay)
            for part, g, m, v in zip(layer, slope, moments[2 * depth], moments[2 * depth + 1], strict=True):
                # in place: most of the time goes into passes over the first layer's weights
                m *= np.float32(0.9)
                m += np.float32(0.1) * g
                np.multiply(g, g, out=g)
                g *= np.float32(0.001 / second)
                v *= np.float32(0.999 * (1.0 - 0.999**step) / second)  # v holds the corrected second moment
                v += g
                np.sqrt(v, out=g)
                g += tiny
                np.divide(m, g, out=g)
                g *= size
                part -= g

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each member says: (M, rows, outputs)."""
        return forward(self.layers, self._inputs(x))[-1].astype(np.float64)

    def _inputs(self, x: NDArray[np.float64]) -> Array:
        chosen = x[:, self.columns].astype(np.float32)
        if not self.layers:
            self.shift = chosen.mean(axis=0)
            self.scale = 1.0 / np.maximum(chosen.std(axis=0), np.float32(1e-6))
        return (chosen - self.shift) * self.scale
