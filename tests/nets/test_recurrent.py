import math

import pytest
import torch

from searchitect.errors import BuildError
from searchitect.nets import ColumnTokens, RecurrentCell, build, supernet
from searchitect.spaces import load_space
from searchitect.torchseeds import seeded_torch


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def test_a_cell_is_the_published_recurrence():
    """One channel, so that every step can be written out with plain numbers."""
    with seeded_torch(0):
        cell = RecurrentCell(1, ["tanh", "relu", "sigmoid", "identity"], [0, 0, 1])
        x = torch.randn(1, 1, 3)
    w0, b0 = cell.first.weight.tolist(), cell.first.bias.tolist()

    def later(j: int, h: float, f) -> float:
        (w, v), (b, d) = [r[0] for r in cell.later[j].weight.tolist()], cell.later[j].bias.tolist()
        c = sigmoid(v * h + d)
        return c * f(w * h + b) + (1 - c) * h

    h, states = 0.0, []
    for t in range(3):
        a = float(x[0, 0, t])
        c = sigmoid(w0[1][0] * a + w0[1][1] * h + b0[1])
        n0 = c * math.tanh(w0[0][0] * a + w0[0][1] * h + b0[0]) + (1 - c) * h
        n1 = later(0, n0, lambda v: max(0.0, v))
        n2 = later(1, n0, sigmoid)
        n3 = later(2, n1, lambda v: v)
        h = (n2 + n3) / 2  # the two that none follows
        states.append(h)
    assert cell(x)[0].tolist() == pytest.approx([h, sum(states) / 3], abs=1e-6)


@pytest.mark.parametrize(
    ("activations", "sources", "words"),
    [(["tanh", "tanh"], [1], "follows an earlier"), (["tanh"], [0], "a source for each"),
     (["tan"], [], "one of tanh, relu")],
)  # fmt: skip
def test_cells_that_cannot_be(activations, sources, words):
    with pytest.raises(ValueError, match=words):
        RecurrentCell(4, activations, sources)


def test_long_sequences_are_pooled_and_a_supernet_is_refused_with_the_reason():
    space = load_space("rnn", length=100, widths=(4,))
    model = build(space, space.architecture(space.baseline), (2, 100), outputs=3)
    assert model[1](model[0](torch.zeros(1, 2, 100))).shape == (1, 4, 25)
    with pytest.raises(BuildError, match="has weights"):
        supernet(space, (2, 100), outputs=3)


def test_each_column_has_a_vector_of_its_own():
    block = ColumnTokens(3)
    x = torch.tensor([[2.0, -1.0]])
    y = block(x)
    for i in (0, 1):
        assert torch.allclose(y[0, i], x[0, i] * block.weight[i] + block.bias[i])
    assert block.weight.abs().max() <= 3**-0.5
