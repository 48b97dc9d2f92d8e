import math

import pytest
import torch
from torch import nn

from searchitect.nets import NextToken, TokenAttention, TokenConv, TokenEmbedding, TokenMean, build
from searchitect.spaces import load_space
from searchitect.torchseeds import seeded_torch


def some(*shape: int, padded: int = 0) -> torch.Tensor:
    with seeded_torch(0):
        x = torch.randn(*shape)
    if padded:
        x[:, -padded:] = 0
    return x


def by_hand(block: TokenAttention, x: torch.Tensor, causal: bool) -> torch.Tensor:
    """Attention written out, one head, one row and one place at a time."""
    width = x.shape[2]
    part = width // block.heads
    q, k, v = (x @ block.inward.weight[i * width : (i + 1) * width].T for i in range(3))
    out = torch.zeros_like(x)
    for b in range(len(x)):
        here = [i for i in range(x.shape[1]) if x[b, i].abs().sum() > 0]
        for h in range(block.heads):
            cut = slice(h * part, (h + 1) * part)
            for i in here:
                seen = [j for j in here if not causal or j <= i]
                power = torch.tensor([math.exp(float(q[b, i, cut] @ k[b, j, cut]) / math.sqrt(part)) for j in seen])
                out[b, i, cut] = sum(w * v[b, j, cut] for w, j in zip(power / power.sum(), seen, strict=True))
    return out @ block.outward.weight.T


@pytest.mark.parametrize(("causal", "padded"), [(False, 0), (False, 2), (True, 0)])
def test_attention_is_the_formula_over_places_that_are_no_padding(causal, padded):
    x = some(2, 5, 8, padded=padded)
    with seeded_torch(1), torch.no_grad():
        block = TokenAttention(8, 2, causal)
        assert torch.allclose(block(x), by_hand(block, x, causal), atol=1e-6)


def test_a_row_of_padding_alone_stays_zero_and_finite():
    x = torch.zeros(2, 4, 8, requires_grad=True)
    for block in (TokenAttention(8, 2), TokenConv(8, 3), TokenMean()):
        y = block(x)
        assert (y == 0).all()
        y.sum().backward()
        assert torch.isfinite(x.grad).all()


def test_convolution_sees_around_or_before_and_not_into_padding():
    x = some(2, 7, 4, padded=2)
    for block, before, after in ((TokenConv(4, 3), 1, 1), (TokenConv(4, 4, causal=True), 3, 0)):
        weight = block.conv.weight[:, 0]
        for i in range(7):
            places = range(i - before, i + after + 1)
            known = [(n, x[:, j]) for n, j in enumerate(places) if 0 <= j < 7]
            wanted = sum(weight[:, n] * value for n, value in known) if i < 5 else torch.zeros(2, 4)
            assert torch.allclose(block(x)[:, i], wanted, atol=1e-6)


def test_embedding_numbers_places_and_padding():
    block = TokenEmbedding(5, 4, 3)
    y = block(torch.tensor([[1.0, 5.0, 0.0, 6.0], [2.0, -1.0, 3.0, 3.0]]))
    assert torch.equal(y[0, 1], block.tokens.weight[5] + block.places[1])
    assert torch.allclose(y[1, 3] - y[1, 2], block.places[3] - block.places[2], atol=1e-6)
    assert [(y[i] == 0).all(1).tolist() for i in (0, 1)] == [[False, False, True, True], [False, True, False, False]]


def test_mean_counts_tokens_only():
    x = some(2, 5, 3, padded=2)
    assert torch.allclose(TokenMean()(x), x[:, :3].mean(1))


def test_next_token_is_the_last_of_every_place():
    head = NextToken(nn.Linear(4, 6))
    x = some(3, 5, 4)
    assert torch.allclose(head(x), head.each_place(x)[:, -1], atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_padding_changes_nothing_in_any_network_for_text(seed):
    space = load_space("transformer", kind="text", vocabulary=9, length=8, dims=(8, 16), depth=3)
    model = build(space, space.sample(seed), (8,), outputs=3).eval()
    x = (torch.arange(24).reshape(3, 8) % 9 + 1).float()
    x[:, 5:] = 0
    before = model(x)
    with torch.no_grad():  # whatever padding could have looked at
        model[0].places[5:] = 50.0
        model[0].tokens.weight[0] = 50.0
    assert torch.allclose(model(x), before, atol=1e-6)
    assert not torch.allclose(model(x.roll(1, 0)), before, atol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_no_network_for_streams_looks_ahead(seed):
    space = load_space("gpt", vocabulary=9, length=8, dims=(8, 16), depth=3)
    model = build(space, space.sample(seed), (8,), outputs=9).eval()
    x = (torch.arange(16).reshape(2, 8) % 9 + 1).float()
    later = x.clone()
    later[:, 5:] = 10 - later[:, 5:]
    kept = []
    model[-1].register_forward_pre_hook(lambda _m, inputs: kept.append(model[-1].each_place(inputs[0])))
    model(x), model(later)
    assert torch.allclose(kept[0][:, :5], kept[1][:, :5], atol=1e-6)
    assert not torch.allclose(kept[0][:, 5:], kept[1][:, 5:], atol=1e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [(lambda: TokenAttention(6, 4), "heads=4"), (lambda: TokenConv(4, 2), "odd kernels"),
     (lambda: TokenEmbedding(0, 2, 2), "at least 1")],
)  # fmt: skip
def test_blocks_refuse(make, words):
    with pytest.raises(ValueError, match=words):
        make()
