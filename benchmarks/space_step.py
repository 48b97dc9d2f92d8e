"""A search step of a method of `searchitect.sharing` on the supernet of a ready space, with fast cells and without.

Used by `supernet_step.py --network space`. The supernets are those of `searchitect search`; poolings have no BatchNorm
there, and reductions are other blocks than in the published ones.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn import functional as F

from searchitect.nets import supernet
from searchitect.nets.mixed import speed_up
from searchitect.sharing import method_class
from searchitect.sharing.method import Batch, Setup
from searchitect.spaces import load_space

CLASSES = 10
NAMES = {"darts2": "darts", "darts2-finite": "darts", "single": "spos"}
OPTIONS = {"darts2": {"order": 2}, "darts2-finite": {"order": 2, "second": "finite"}}


class SpaceSearching:
    """A method over a supernet with its optimisers, and two batches of random images."""

    def __init__(self, args: argparse.Namespace, kind: str, dtype: torch.dtype = torch.float32) -> None:
        cls, options = method_class(NAMES.get(args.method, args.method)), OPTIONS.get(args.method, {})
        space = load_space(args.space, cells=args.layers, width=args.channels)
        around = cls.around(**options)
        self.net = supernet(space, (3, args.size, args.size), outputs=CLASSES, seed=args.seed, around=around).to(dtype)
        noise = torch.Generator().manual_seed(args.seed)
        x = torch.randn(2, args.batch, 3, args.size, args.size, generator=noise, dtype=dtype)
        y = torch.randint(CLASSES, (2, args.batch), generator=noise)
        if around is None:  # torch 2.13 crashes in channels_last behind gates that see a part of the channels
            self.net.to(memory_format=torch.channels_last)
            x = torch.stack([part.contiguous(memory_format=torch.channels_last) for part in x.unbind()])
        if kind == "fast":
            speed_up(self.net, always=dtype == torch.float64)
        self.batches = [Batch(*rows) for rows in zip(x.unbind(), y.unbind(), strict=True)]
        self.sgd = torch.optim.SGD(self.net.parameters(), 0.025, 0.9, weight_decay=3e-4)
        self.logits: list[torch.Tensor] = []
        self.method = cls(Setup(self.net, self._loss, self.sgd, None, args.seed, 100), **options)
        self.draw = 0

    def _loss(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.logits.append(outputs.detach())
        return F.cross_entropy(outputs, y)

    def step(self) -> None:
        self.draw += 1
        self.method.architecture_step(*self.batches, self.draw, 0.5, 0.025)
        self.sgd.zero_grad(set_to_none=True)
        self.method.weights_step(self.batches[0], self.draw, 0.5)
        nn.utils.clip_grad_norm_([p for p in self.net.parameters() if p.grad is not None], 5.0)
        self.sgd.step()
        self.logits.clear()

    def first(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The outputs of the first passes of both steps, and all gradients: of the architecture, and of the weights."""
        found: dict[str, torch.Tensor] = {}
        values = getattr(self.method, "logits", None)
        if values is not None:
            values.step = lambda gradients: found.update(
                {f"alpha.{n}": g for n, g in zip(values.values, gradients, strict=True) if g is not None}
            )
        self.method.architecture_step(*self.batches, 1, 0.5, 0.025)
        self.sgd.zero_grad(set_to_none=True)
        self.method.weights_step(self.batches[0], 1, 0.5)
        found |= {name: p.grad for name, p in self.net.named_parameters() if p.grad is not None}
        return torch.cat(self.logits), found
