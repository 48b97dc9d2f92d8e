"""One number for each option of each decision, and Adam to move them: what gradient methods learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from searchitect.nets.supernets import Supernet
from searchitect.seeds import derive
from searchitect.space import Scalar


def weighed(net: Supernet, *, members: bool = False) -> dict[str, tuple[Scalar, ...]]:
    """What a mixture needs shares for: the gates, and the values inside layers that can be weighed (a kernel)."""
    values = {d.name: tuple(d.labels) for d in net.space.decisions if not d.modules and d.labels is not None}
    return net.decisions(members=members) | values


class Logits:
    """The architecture's parameters α: a vector (O,) for each decision, tied places sharing it.

    They start as 1e-3 times normal numbers and are moved by Adam with the published settings of DARTS (Liu et al.
    2019, appendix A.1.1): rate 3e-4, betas (0.5, 0.999), weight decay 1e-3.
    """

    def __init__(
        self, net: Supernet, seed: int, *, lr: float = 3e-4, weight_decay: float = 1e-3, start: float = 1e-3,
        betas: tuple[float, float] = (0.5, 0.999), members: bool = False,
    ) -> None:  # fmt: skip
        like = next(net.parameters())
        generator = torch.Generator().manual_seed(derive(seed, "architecture"))
        self.values: dict[str, Tensor] = {}
        for name, labels in weighed(net, members=members).items():
            drawn = start * torch.randn(len(labels), generator=generator, dtype=torch.float64)
            self.values[name] = drawn.to(like.device, like.dtype).requires_grad_()
        self.optimizer = torch.optim.Adam(list(self.values.values()) or [torch.zeros(1)], lr, betas, 1e-8, weight_decay)

    def tensors(self) -> list[Tensor]:
        """The parameters in the order of the decisions."""
        return list(self.values.values())

    def shares(self) -> dict[str, Tensor]:
        """The softmax of each decision's numbers (DARTS, equation 2)."""
        return {name: alpha.softmax(0) for name, alpha in self.values.items()}

    def detached(self) -> dict[str, Tensor]:
        """The same without a way back to the parameters, for weights steps."""
        with torch.no_grad():
            return self.shares()

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """One step of Adam along these gradients, given in the order of `tensors`."""
        for alpha, gradient in zip(self.tensors(), gradients, strict=True):
            alpha.grad = torch.zeros_like(alpha) if gradient is None else gradient.detach()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The numbers and Adam's moments."""
        found = {f"alpha.{name}": alpha.detach().clone() for name, alpha in self.values.items()}
        for name, alpha in self.values.items():
            for key, value in self.optimizer.state.get(alpha, {}).items():
                found[f"adam.{name}.{key}"] = value.detach().clone()
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Back to a state."""
        with torch.no_grad():
            for name, alpha in self.values.items():
                alpha.copy_(state[f"alpha.{name}"])
                kept = {k.rpartition(".")[2]: v for k, v in state.items() if k.startswith(f"adam.{name}.")}
                self.optimizer.state.pop(alpha, None)
                if kept:
                    self.optimizer.state[alpha] = {
                        k: v.clone().to(alpha.device if k != "step" else "cpu") for k, v in kept.items()
                    }
