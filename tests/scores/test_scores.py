"""Each score against another way of getting the number: enumeration, finite differences, definitions."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import TrialError, UsageError
from searchitect.nets import build
from searchitect.scores import PAPERS, SCORES, score
from searchitect.scores.flow import _flow
from searchitect.spaces import load_space

LEARNED = ("snip", "grad_norm", "plain", "fisher", "grasp")


def images(rows=6, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, 8, 8, generator=draws), torch.randint(4, (rows,), generator=draws)


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        return make()


def convolutional():
    return seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)))  # fmt: skip


def perceptron():
    return seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))).double()


def table(rows=7):
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 4, generator=draws, dtype=torch.float64)
    return x, torch.randint(3, (rows,), generator=draws)


def loss_of(model, x, y):
    return nn.functional.cross_entropy(model(x), y)


def numeric_gradient(f, tensor, step=1e-6):
    """Central differences of a function of the data of a tensor, entry by entry."""
    found, flat = torch.zeros_like(tensor.data), tensor.data.view(-1)
    for i in range(flat.numel()):
        kept = float(flat[i])
        flat[i] = kept + step
        above = f()
        flat[i] = kept - step
        below = f()
        flat[i] = kept
        found.view(-1)[i] = (above - below) / (2 * step)
    return found


def of(model, x, y, name, **more):
    return score(model, x, y, [name], **more).values[name]


def test_gradients_of_the_loss_against_finite_differences():
    model, (x, y) = perceptron(), table()
    both = [model[0].weight, model[2].weight]
    with torch.no_grad():
        slopes = [numeric_gradient(lambda: float(loss_of(model, x, y)), w) for w in both]
    found = score(model, x, y, ["snip", "grad_norm", "plain"]).values
    pairs = list(zip([w.detach() for w in both], slopes, strict=True))
    assert found["snip"] == pytest.approx(sum(float((w * g).abs().sum()) for w, g in pairs), rel=1e-6)
    assert found["plain"] == pytest.approx(sum(float((w * g).sum()) for w, g in pairs), rel=1e-6)
    assert found["grad_norm"] == pytest.approx(sum(float(g.pow(2).sum()) ** 0.5 for _, g in pairs), rel=1e-6)


def test_grasp_against_finite_differences_of_the_gradients_square():
    model, (x, y) = perceptron(), table()
    both = [model[0].weight, model[2].weight]

    def half_square():
        return 0.5 * sum(float(g.square().sum()) for g in torch.autograd.grad(loss_of(model, x, y), both))

    expected = -sum(float((w.data * numeric_gradient(half_square, w, 1e-5)).sum()) for w in both)
    assert of(model, x, y, "grasp") == pytest.approx(expected, rel=1e-5)


def test_fisher_against_a_scale_on_each_channel_of_each_row():
    """½ (∂L/∂s)² for a factor s on one channel in one row, by finite differences."""
    model, (x, y) = perceptron(), table(3)
    scales = [torch.ones(3, 5, dtype=torch.float64), torch.ones(3, 3, dtype=torch.float64)]

    def value():
        hidden = model[1](model[0](x) * scales[0])
        return float(nn.functional.cross_entropy(model[2](hidden) * scales[1], y))

    with torch.no_grad():
        slopes = [numeric_gradient(value, s) for s in scales]
    expected = sum(0.5 * float(s.square().mean(0).sum()) * inputs for s, inputs in zip(slopes, (4, 5), strict=True))
    assert of(model, x, y, "fisher") == pytest.approx(expected, rel=1e-6)


def test_fisher_counts_places_within_and_weights_of_a_channel():
    model, (x, y) = convolutional(), images()
    acts = []
    handles = [m.register_forward_hook(lambda _m, _a, out: acts.append(out)) for m in model if hasattr(m, "weight")
               and not isinstance(m, nn.BatchNorm2d)]  # fmt: skip
    loss = loss_of(model, x, y)
    expected = 0.0
    for act, grad, size in zip(acts, torch.autograd.grad(loss, acts), (27, 45, 6), strict=True):
        per_row = (act * grad).reshape(len(x), act.shape[1], -1).sum(2)
        expected += 0.5 * size * float((per_row**2).mean(0).sum().detach())
    for handle in handles:
        handle.remove()
    assert of(model, x, y, "fisher") == pytest.approx(expected, rel=1e-5)


def test_synflow_is_the_sum_over_all_paths():
    """Each path counts once for each weight on it: three layers, so three times their sum."""
    model = seeded(lambda: nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False), nn.ReLU(),
        nn.Linear(2, 3, bias=False)))  # fmt: skip
    a, b, c = (model[i].weight.detach().abs().double() for i in (0, 2, 4))
    paths = sum(float(a[j, i] * b[k, j] * c[m, k]) for i, j, k, m in product(range(3), range(4), range(2), range(3)))
    assert of(model, torch.zeros(5, 3), None, "synflow") == pytest.approx(math.log(3 * paths), rel=1e-6)


def test_synflow_leaves_normalisations_out_and_needs_no_data():
    bare = seeded(lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)))
    with_norm = nn.Sequential(bare[0], nn.BatchNorm1d(4), nn.ReLU(), nn.LayerNorm(4), bare[2])
    with_norm[1].weight.data.fill_(7.0)
    values = [of(m, x, None, "synflow") for m in (bare, with_norm) for x in (torch.zeros(2, 3), torch.randn(2, 3))]
    assert len(set(values)) == 1


def test_a_flow_too_large_for_single_precision_is_computed_in_double():
    model = nn.Sequential(*(nn.Linear(9, 9, bias=False) for _ in range(30)))
    for layer in model:
        layer.weight.data.fill_(10.0)
    x = torch.zeros(1, 9)
    assert not math.isfinite(_flow(model, x, torch.float32))
    exact = math.log(30) + 30 * math.log(10.0) + 31 * math.log(9)  # 30 weights on each of 9^31 paths
    assert of(model, x, None, "synflow") == pytest.approx(exact, rel=1e-12)


def test_naswot_against_the_kernel_of_hamming_distances():
    model, (x, y) = convolutional(), images()
    codes = []
    model[2].register_forward_pre_hook(lambda _m, args: codes.append((args[0] > 0).flatten(1)))
    model[5].register_forward_pre_hook(lambda _m, args: codes.append((args[0] > 0).flatten(1)))
    found = of(model, x, y, "naswot")
    bits = torch.cat(codes, 1).numpy()
    kernel = np.array([[bits.shape[1] - np.count_nonzero(a != b) for b in bits] for a in bits], dtype=float)
    assert found == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-9)


def test_naswot_is_the_same_in_another_memory_format_and_for_shared_inputs():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.ReLU(), nn.ReLU(), nn.ReLU()

        def forward(self, x):
            return self.a(x) + self.b(x) + self.c(x + 1.0)

    x, _ = images()
    once = [of(Shared(), v, None, "naswot") for v in (x, x.contiguous(memory_format=torch.channels_last))]
    bits = torch.cat([(x > 0).flatten(1)] * 2 + [(x + 1.0 > 0).flatten(1)], 1).double()
    kernel = bits @ bits.T + (1 - bits) @ (1 - bits).T
    assert once == pytest.approx([float(torch.linalg.slogdet(kernel)[1])] * 2, rel=1e-9)


def test_jacob_cov_against_numpy():
    model, (x, y) = convolutional(), images()
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    values = np.linalg.eigvals(np.corrcoef(gradient.flatten(1).double().numpy())).real
    expected = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    assert of(model, x.detach(), y, "jacob_cov") == pytest.approx(expected, rel=1e-3)


def test_zen_by_its_definition():
    """Without normalisation it is ln E‖f(a) - f(a + 0.01 b)‖₁; for one linear map that is known in closed form."""
    model = nn.Sequential(nn.Linear(50, 400, bias=False), nn.Flatten(), nn.Linear(400, 2))
    values = [of(model, torch.zeros(16, 50), None, "zen", seed=s) for s in range(20)]
    expected = math.log(400 * 0.01 * math.sqrt(50) * math.sqrt(2 / math.pi))  # each of 400 is N(0, 0.01² · 50)
    assert np.mean(values) == pytest.approx(expected, abs=0.05)


def test_zen_adds_what_batch_norm_divides_by():
    """The scale of weights before a BatchNorm is given back: 10 channels of variance 50 are ln √50."""
    bare = nn.Sequential(nn.Linear(50, 400, bias=False), nn.Linear(400, 2))
    normed = nn.Sequential(nn.Linear(50, 400, bias=False), nn.BatchNorm1d(400), nn.Linear(400, 2))
    x = torch.zeros(16, 50)
    means = [np.mean([of(m, x, None, "zen", seed=s) for s in range(20)]) for m in (bare, normed)]
    assert means[0] == pytest.approx(means[1], abs=0.1)


def test_counts_and_norms():
    model, (x, _) = convolutional(), images()
    found = score(model, x, None, ["params", "macs", "l2_norm"]).values
    assert found["params"] == 3 * 5 * 9 + 2 * 5 + 5 * 6 * 9 + 6 + 6 * 4 + 4
    assert found["macs"] == 64 * 3 * 5 * 9 + 16 * 5 * 6 * 9 + 6 * 4
    norms = [np.sqrt((model[i].weight.detach().numpy() ** 2).sum()) for i in (0, 4, 8)]
    assert found["l2_norm"] == pytest.approx(sum(norms), rel=1e-6)


def test_together_or_alone_the_scores_are_the_same():
    model, (x, y) = convolutional(), images()
    together = score(model, x, y, SCORES).values
    assert list(together) == list(SCORES)
    for name in SCORES:
        assert of(model, x, y, name) == pytest.approx(together[name], rel=1e-6), name


def test_the_network_is_given_back_as_it_was():
    model, (x, y) = convolutional(), images()
    model.eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state, flags = torch.random.get_rng_state(), [m.training for m in model.modules()]
    score(model, x, y, SCORES)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == flags
    assert model[1].track_running_stats
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())


def test_dropout_does_not_make_scores_a_lottery():
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)))
    x, y = table()
    assert len({of(model, x.float(), y, "snip") for _ in range(4)}) == 1


@pytest.mark.parametrize(
    ("space", "shape"), [("mlp", (6,)), ("tcn", (3, 32)), ("transformer", (3, 16, 16)), ("cnn", (1, 16, 16))]
)  # fmt: skip
def test_any_kind_of_data(space, shape):
    made = load_space(space)
    model = build(made, made.sample(1), shape, outputs=4, seed=0)
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, *shape, generator=draws), torch.randint(4, (12,), generator=draws)
    found = score(model, x, y, SCORES)
    assert set(found.values) | set(found.reasons) == set(SCORES)
    assert set(LEARNED) <= set(found.values)
    assert not set(found.reasons) - {"naswot", "jacob_cov"}, found.reasons


def test_numbers_to_predict_have_a_squared_error():
    model, (x, _) = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))), table()
    x, y = x.float(), torch.linspace(-1, 1, 7)
    (gradient,) = torch.autograd.grad((model(x)[:, 0] - y).pow(2).mean(), [model[2].weight])
    alone = nn.Sequential(model[0].requires_grad_(False), nn.ReLU(), model[2])
    assert of(alone, x, y, "grad_norm") == pytest.approx(float(gradient.norm()), rel=1e-5)


def test_a_network_without_a_path_has_reasons_not_numbers():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 4)

        def forward(self, x):
            return self.head(x.new_zeros(len(x), 3))

    x, y = images()
    found = score(Cut(), x, y, ["synflow", "jacob_cov", "naswot", "params"])
    assert found.values == {"params": 16.0}
    assert "no path" in found.reasons["synflow"]
    assert "does not depend on the input" in found.reasons["jacob_cov"]
    assert "activation" in found.reasons["naswot"]


def test_what_is_not_finite_is_a_reason():
    model, (x, y) = convolutional(), images()
    model[0].weight.data.fill_(math.nan)
    found = score(model, x, y, ["snip", "jacob_cov", "synflow"])
    assert not found.values
    assert found.reasons["snip"] == "the loss is nan"


def test_equal_rows_make_the_kernel_singular():
    x, y = images()
    x[1] = x[0]
    assert "same code" in score(convolutional(), x, y, ["naswot"]).reasons["naswot"]


def test_unknown_names_and_missing_targets_are_named():
    model, (x, _) = convolutional(), images()
    with pytest.raises(UsageError, match="one of synflow, naswot"):
        score(model, x, None, ["sinflow"])
    with pytest.raises(UsageError, match="each once"):
        score(model, x, None, ["snip", "snip"])
    with pytest.raises(TrialError, match=r"snip: .* needs targets"):
        score(model, x, None, ["snip"])
    assert set(PAPERS) == set(SCORES)
