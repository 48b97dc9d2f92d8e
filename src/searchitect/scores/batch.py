"""Scores of one batch, which share a pass forward and, where several ask for it, the gradient of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from searchitect.errors import NotFiniteError, TrialError
from searchitect.scores.names import OF_LOSS
from searchitect.scores.quiet import ACTIVATIONS, Weighted, first, hooked, lent, weights

Loss = Callable[[Tensor, Tensor], Tensor]
RIDGE = 1e-5  # added to the eigenvalues in jacob_cov
KNOWN = 3  # inputs whose kernels are remembered


def batch_scores(model: nn.Module, x: Tensor, y: Tensor, names: Sequence[str], loss: Loss) -> dict[str, float | str]:
    """The scores of `names.OF_BATCH` that are asked for, each a number or the reason why it has none.

    x: (B, ...), y: (B, ...). One pass forward with BatchNorm on the batch, one backward for the loss, one for the
    Jacobian. See `of_gradients`, `Codes` and `jacob_cov` for what is computed.
    """
    wanted, found = set(names), {}
    codes, outputs = Codes(len(x)), Outputs()
    handles = codes.watch(model) if "naswot" in wanted else []
    handles += outputs.watch(model) if "fisher" in wanted else []
    jacobian, learned = "jacob_cov" in wanted, [name for name in OF_LOSS if name in wanted]
    x = x.detach().requires_grad_(jacobian and x.is_floating_point())
    with lent(model, training=True), torch.set_grad_enabled(jacobian or bool(learned)):
        with hooked(handles):
            out = first(model(x))
        codes.known.clear()
        if "naswot" in wanted:
            found["naswot"] = reason(codes.score)
        if learned:
            found.update(_learned(model, out, y, learned, loss, outputs, jacobian))
        if jacobian:
            found["jacob_cov"] = reason(lambda: jacob_cov(_input_gradient(out, x)))
    return found


def reason(compute: Callable[[], float]) -> float | str:
    """The number, or why there is none."""
    try:
        value = compute()
    except TrialError as error:
        return str(error)
    return value if math.isfinite(value) else f"it is {value}"


def _learned(
    model: nn.Module, out: Tensor, y: Tensor, names: Sequence[str], loss: Loss, outputs: Outputs, keep: bool
) -> dict[str, float | str]:
    value = loss(out, y)
    if not math.isfinite(float(value.detach())):
        return dict.fromkeys(names, f"the loss is {float(value.detach())}")
    if not value.requires_grad:
        return dict.fromkeys(names, "the loss does not depend on any weight")
    parts = weights(model)
    outputs.listening = True
    gradients = torch.autograd.grad(value, parts, retain_graph=keep, allow_unused=True)
    outputs.listening = False  # the pass for the Jacobian goes through the same graph
    pairs = [(p.detach(), g) for p, g in zip(parts, gradients, strict=True) if g is not None]
    if not pairs:
        return dict.fromkeys(names, "the loss does not depend on any weight")
    found = of_gradients(pairs, names)
    if "fisher" in names:
        found["fisher"] = float(outputs.total)
    return {name: number if math.isfinite(number) else f"it is {number}" for name, number in found.items()}


def of_gradients(pairs: Sequence[tuple[Tensor, Tensor]], names: Sequence[str]) -> dict[str, float]:
    """Scores of weights w and their gradients g of the loss.

    snip:      Σ |w · g|, Lee et al. 2019, Eq. 6, not divided by its sum as all of it is the score.
    grad_norm: Σ over weights of ‖g‖₂, Abdelfattah et al. 2021, section 3.1.
    plain:     Σ w · g, the same place. Zero for layers before a BatchNorm, whose loss does not depend on their scale.
    """
    found = {}
    if "grad_norm" in names:
        found["grad_norm"] = float(torch.stack([g.norm() for _, g in pairs]).sum())
    if "snip" in names or "plain" in names:
        products = [w * g for w, g in pairs]
        if "snip" in names:
            found["snip"] = float(torch.stack([p.abs().sum() for p in products]).sum())
        if "plain" in names:
            found["plain"] = float(torch.stack([p.sum(dtype=torch.float64) for p in products]).sum())
    return found


class Outputs:
    """fisher: Σ over channels c of ½ mean over rows of (Σ over places a · ∂L/∂a)², a the output of a convolution or
    linear layer, times the weights of one channel.

    Source: Theis et al. 2018, Eq. 6; Turner et al. 2020; that each weight of a channel counts is Abdelfattah et al.
    2021. Where we differ: the channels of a linear layer are its features also where it sees sequences (B, L, F);
    a layer that is used twice counts with both.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.listening = False

    def watch(self, model: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        """Hooks that gather during the pass backward."""
        return [m.register_forward_hook(self._note) for m in model.modules() if isinstance(m, Weighted)]

    def _note(self, module: nn.Module, _args: object, out: Tensor) -> None:
        if out.requires_grad:
            assert isinstance(module.weight, Tensor)
            size, last = module.weight[0].numel(), isinstance(module, nn.Linear)
            out.register_hook(lambda grad: self._add(out.detach(), grad, size, last))  # type: ignore[no-untyped-call]

    def _add(self, act: Tensor, grad: Tensor, size: int, last: bool) -> None:
        if not self.listening:
            return
        product = act * grad
        places = list(range(1, product.dim() - 1)) if last else list(range(2, product.dim()))
        per_row = product.sum(places) if places else product
        self.total += 0.5 * size * float(per_row.square().mean(0).sum())


class Codes:
    """naswot: ln |K|, K the number of activations that two rows have on the same side of zero, of all layers.

    Source: Mellor et al. 2021, Eq. 2 and 3. Where we differ: any activation function that is a module counts, not
    ReLU alone; two rows with one code, for which K is singular, are a reason instead of -inf.
    """

    def __init__(self, rows: int) -> None:
        self.kernel: Tensor | None = None
        self.rows = rows
        self.known: list[tuple[Tensor, Tensor]] = []  # the latest inputs and their kernels: edges of a cell share them

    def watch(self, model: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        """Hooks that gather during the pass forward."""
        return [m.register_forward_hook(self._note) for m in model.modules() if isinstance(m, ACTIVATIONS)]

    def _note(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        inplace = bool(getattr(module, "inplace", False))
        x = next((kernel for seen, kernel in self.known if seen is args[0] and not inplace), None)
        if x is None:
            relu = isinstance(module, nn.ReLU)  # its output has the sides of its input, and signs come in one pass
            if inplace and not relu:
                raise TrialError(f"naswot cannot see the input of {type(module).__name__}(inplace=True)")
            x = self._agreeing(out.detach().sign() if relu else (args[0].detach() > 0).float())
            self.known = [*self.known[-KNOWN:], (args[0], x)]
        self.kernel = x.clone() if self.kernel is None else self.kernel.add_(x)

    def _agreeing(self, sides: Tensor) -> Tensor:
        """How many sides each pair of rows shares, from sides 0 and 1 of (B, ...): n - |a| - |b| + 2 a · b."""
        if sides.dim() == 4 and sides.is_contiguous(memory_format=torch.channels_last):
            sides = sides.permute(0, 2, 3, 1)  # the order does not matter, a copy costs
        flat = sides.reshape(self.rows, -1)
        both = (flat @ flat.T).double()
        ones = both.diagonal()
        return flat.shape[1] - ones[:, None] - ones[None, :] + 2.0 * both

    def score(self) -> float:
        """ln |K|. Raises NotFiniteError."""
        if self.kernel is None:
            raise NotFiniteError("the network has no activation function that is a module of its own")
        sign, value = torch.linalg.slogdet(self.kernel)
        if float(sign) <= 0.0:
            raise NotFiniteError("two rows of the batch have the same code, so that the kernel is singular")
        return float(value)


def _input_gradient(out: Tensor, x: Tensor) -> Tensor:
    if not x.requires_grad:
        raise NotFiniteError("the input is whole numbers, which have no gradient")
    if not out.requires_grad:
        raise NotFiniteError("the output does not depend on the input")
    (found,) = torch.autograd.grad(out.sum(), x, allow_unused=True)
    if found is None:
        raise NotFiniteError("the output does not depend on the input")
    return found.flatten(1)


def jacob_cov(gradients: Tensor) -> float:
    """-Σ over eigenvalues v of the correlations between rows: ln(v + k) + 1 / (v + k), k = 10⁻⁵.

    Source: Mellor et al. 2020 (first version), Eq. 4 and 5. Where we differ: the matrix is symmetric and treated so;
    negative eigenvalues, which are rounding, are zero; a row with a constant gradient is a reason, not NaN.

    gradients: (B, n) of the summed outputs with respect to each row of the input.
    """
    rows = gradients.double()
    rows = rows - rows.mean(1, keepdim=True)
    size = rows.norm(dim=1, keepdim=True)
    if not bool((size > 0).all()) or not bool(torch.isfinite(size).all()):
        raise NotFiniteError("the output does not depend on the input, or not finitely")
    rows = rows / size
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0.0) + RIDGE
    return -float((values.log() + 1.0 / values).sum())


def grasp(model: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """-Σ w · Hg: by how much less the gradient's square shrinks without each weight; H the Hessian, g the gradient.

    Source: Wang et al. 2020, Eq. 8 and Algorithm 2, with the sign of Abdelfattah et al. 2021, in whose tables it ranks
    as larger is better. Where we differ: one pass forward serves both gradients; the temperature is 1.
    """
    parts = weights(model)
    with (
        lent(model, training=True),
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):  # others have no second gradient
        value = loss(first(model(x.detach())), y)
        if not value.requires_grad:
            raise NotFiniteError("the loss does not depend on any weight")
        gradients = torch.autograd.grad(value, parts, create_graph=True, allow_unused=True)
        used = [(p, g) for p, g in zip(parts, gradients, strict=True) if g is not None]
        half = sum((0.5 * g.square().sum() for _, g in used), torch.zeros(()))
        if not half.requires_grad:
            return 0.0
        products = torch.autograd.grad(half, [p for p, _ in used], allow_unused=True)
    total = sum(float((p.detach() * h).sum()) for (p, _), h in zip(used, products, strict=True) if h is not None)
    return -total
