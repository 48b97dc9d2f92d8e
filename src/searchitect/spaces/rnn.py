"""Recurrent cells for sequences: which earlier node each node follows, and through which activation.

Size: with W widths and n nodes, W · 3 · 4^n · (n - 1)!, the 3 for the dropout (the first two nodes have no
choice of what they follow). Source: ENAS (Pham et al. 2018, section 2.1, with the highway connections of
its appendix): every later node j with source i is h_j = c · f(h_i W) + (1 - c) · h_i, c = sigmoid(h_i V); the new
state is the mean of all nodes that no other follows. Where we differ: whole sequences are classified, by the last state
beside the mean of all states, and they are pooled to at most 32 steps. Weights depend on the sources, so that a
supernet cannot hold this space: search it by training.
Baseline: a chain of tanh nodes.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

import searchitect.nets as nets
from searchitect.errors import UsageError
from searchitect.space import OUTPUTS, Space, lazy, one_of

L, N = lazy(nn), lazy(nets)
STEPS = 32


def space(length: int = 128, widths: tuple[int, ...] = (16, 32, 64), nodes: int = 4) -> Space:
    """Networks for sequences (channels, length).

    length: steps of a sequence; more than 32 are pooled. widths: numbers in the state. nodes: of a cell, at least 1.

    Raises UsageError for numbers that cannot be.
    """
    if min(length, nodes) < 1 or not widths or min(widths) < 1:
        raise UsageError(f"length={length}, nodes={nodes}, widths={widths}: each must be at least 1")
    width, drop = one_of(*widths, tie="width"), one_of(0.0, 0.1, 0.25, tie="dropout")
    activations = [one_of("tanh", "relu", "sigmoid", "identity", tie=f"node{i}.activation") for i in range(nodes)]
    sources = [one_of(*range(i), tie=f"node{i}.source") if i > 1 else 0 for i in range(1, nodes)]
    root = L.Sequential(
        *([L.AvgPool1d(math.ceil(length / STEPS), ceil_mode=True)] if length > STEPS else []),
        L.LazyConv1d(width, 1),
        N.RecurrentCell(width, activations, sources),
        L.Dropout(drop),
        L.LazyLinear(OUTPUTS),
    )
    return Space(root, name="rnn", baseline=_baseline(widths, nodes))


def _baseline(widths: tuple[int, ...], nodes: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"width": sorted(widths)[len(widths) // 2]} if len(widths) > 1 else {}
    chosen |= {"dropout": 0.0} | {f"node{i}.activation": "tanh" for i in range(nodes)}
    return chosen | {f"node{i}.source": i - 1 for i in range(2, nodes)}
