"""Supernets: all architectures of a space in one module, with common weights.

`supernet(space, sample)` is the third use of a space, beside architectures and stand-alone networks. A choice
among modules becomes a gate; sizes of layers become slices of the largest; other values one layer each. What a
gate does is said from outside, by one primitive: `Supernet.run(x, combine)`. One path and a weighted mixture
are two uses of it, `net(x, architecture)` and `net.mix(x, weights)`.

Source: one-shot models (Bender et al. 2018), DARTS (Liu et al. 2019, equation 2) for mixtures, Once-for-All
(Cai et al. 2020) for slices; see `slices.py` for where we differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from searchitect.errors import BuildError, UsageError
from searchitect.nets.allocation import allocate, largest_value, run_all
from searchitect.nets.assembly import Assembly, check_no_floats, has_sizes
from searchitect.nets.building import _example, build
from searchitect.nets.cost import _Kept
from searchitect.nets.deriving import derive, extreme
from searchitect.nets.gates import Combine, Gate, Run, SubsetGate, follow, shares_of, weigh
from searchitect.nets.inherit import inherit
from searchitect.nets.mixable import check_mixable
from searchitect.space import Architecture, Scalar, Space
from searchitect.torchseeds import seeded_torch

Weights = Mapping[str, torch.Tensor]
REMEMBERED = 1_000  # architectures whose positions are kept


def supernet(
    space: Space, sample: torch.Tensor | tuple[int, ...], *, outputs: int | None = None, seed: int = 0,
    around: Combine | None = None,
) -> Supernet:  # fmt: skip
    """The supernet of a space, on the CPU, in training mode.

    sample:  an input with batch dimension (B, ...), or its shape without the batch.
    outputs: what OUTPUTS in the space stands for.
    seed:    of the start weights; no global generator is touched.
    around:  `around(gate, inner, *inputs)` stands between every gate of a choice and its input, in the dry run
             too: `inner(*inputs)` is what the gate would give. So PC-DARTS shows its candidates a part of the
             channels. Such a supernet has no paths that equal stand-alone networks.

    Raises BuildError naming what does not fit or cannot be shared, with the decision and what to do.
    """
    x = _example(sample)
    try:
        with seeded_torch(seed):
            root, assembly, elastic = None, None, has_sizes(space)
            while root is None:
                assembly = Assembly(space, outputs, Run(around), elastic=elastic)
                root = assembly.make(space.root, {})
                if allocate(root, assembly, x).uneven and not elastic:
                    root, elastic = None, True
    except RecursionError:
        raise BuildError("the space is nested too deeply for a supernet") from None
    assert assembly is not None
    assembly.settle()
    return Supernet(space, root, assembly, x).train()


class Size(NamedTuple):
    """How large a supernet is.

    params:      all its weights. path_params: those of the path with the most.
    activations: numbers kept for the backward pass when every gate runs all its options, for one sample
                 (an estimate: of the tensors that autograd saves, each storage once). path_activations: for
                 the largest path alone.
    """

    params: int
    path_params: int
    activations: int
    path_activations: int


class Supernet(nn.Module):
    """All architectures of a space with common weights; made by `supernet()`.

    root:  the network, with gates (`searchitect.nets.gates`) in the place of decisions.
    gates: all of them in the order of the network; tied ones have one `name` and a `place` each.

    One pass at a time: what the gates do is kept in one place, so a supernet must not be run from two threads.
    """

    def __init__(self, space: Space, root: nn.Module, assembly: Assembly, sample: torch.Tensor) -> None:
        super().__init__()
        self.space, self.root, self._assembly = space, root, assembly
        self.sample = sample[:1].clone()
        self.outputs = assembly.outputs
        self._run = assembly.run
        self.gates: list[Gate] = []
        for place, module in root.named_modules():
            if isinstance(module, Gate):
                module.place = place
                self.gates.append(module)
        self._positions: dict[Architecture, dict[str, int]] = {}

    # -- passes --------------------------------------------------------------------------------------

    def forward(
        self, x: torch.Tensor, architecture: Architecture | None = None, *, weights: Weights | None = None,
        values: Mapping[str, Scalar] | None = None,
    ) -> Any:  # fmt: skip
        """One path: only what the architecture chose is run. x (B, ...). With `weights` instead, the same as `mix`.

        Raises ArchitectureError for decisions of another space.
        """
        if weights is not None:
            return self.mix(x, weights, values)
        if architecture is None:
            return self.root(x)  # the first gate says what is missing
        positions = self.positions(architecture)
        with self._doing(follow) as run:
            run.chosen, run.values = positions, architecture.decisions
            return self.root(x)

    def mix(self, x: torch.Tensor, weights: Weights, values: Mapping[str, Scalar] | None = None) -> Any:
        """Every gate gives the weighted sum of its options (DARTS, equation 2; GDAS, SNAS and DrNAS by their samples).

        weights: a tensor (O options) for each decision, in the order of `Gate.labels`; the place of a gate instead
                 of its name weighs that gate alone. An option with a weight of exactly zero is not run. A subset
                 without weights gives all of its members, with weights (one for each member) each times its own.
                 Sizes may be weighed too, where they change no shape (a kernel).
        values:  decisions that are fixed instead.

        Raises UsageError when a decision has neither, or its options differ in shape.
        """
        with self._doing(weigh) as run:
            run.shares = {name: shares_of(name, weight) for name, weight in weights.items()}
            run.values = values or {}
            return self.root(x)

    def run(self, x: torch.Tensor, combine: Combine, values: Mapping[str, Scalar] | None = None) -> Any:
        """The primitive: every gate's output is `combine(gate, *inputs)`.

        `gate.name`, `gate.place`, `gate.labels` and, for a choice, `gate.candidates` say what there is;
        `gate.pick(i, *inputs)`, `gate.outputs(*inputs)` and `gate.blend(shares, *inputs)` are the usual answers.
        values: for decisions that are sizes.
        """
        with self._doing(combine) as run:
            run.values = values or {}
            return self.root(x)

    def whole(self, kind: type[nn.Module], function: Callable[..., Any] | None) -> None:
        """Let `function(cell, run, *inputs)` stand for a whole `Cell` or `TwoInputCell`, in `mix` and along a path.

        Its edges are the gates, `run.shares[gate.name]` their weights or `run.chosen[gate.name]` what is run. None goes
        back to the plain way. `nets.mixed` has such functions.
        """
        if function is None:
            self._run.whole.pop(kind, None)
        else:
            self._run.whole[kind] = function

    @property
    def fast(self) -> bool:
        """Whether any cells are run as a whole."""
        return bool(self._run.whole)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made anew from the space, since its parts are known by what they are here."""
        run, state = self._run, self.state_dict(keep_vars=True)
        args = (self.space, self.sample, self.outputs, run.around, run.whole, dict(state), self.training)
        return _restore, args

    @contextmanager
    def _doing(self, combine: Combine) -> Iterator[Run]:
        self._run.combine = combine
        try:
            yield self._run
        finally:
            self._run.rest()

    # -- architectures -------------------------------------------------------------------------------

    def positions(self, architecture: Architecture) -> dict[str, int]:
        """The position of each chosen option of the architecture's gates. Raises ArchitectureError."""
        found = self._positions.get(architecture)
        if found is None:
            self.space.validate(architecture)
            by_name = self.space.by_name
            chosen = ((by_name[name], value) for name, value in architecture.decisions.items())
            found = {decision.name: decision.position(value) for decision, value in chosen if decision.modules}
            if len(self._positions) >= REMEMBERED:
                self._positions.clear()
            self._positions[architecture] = found
        return found

    def path(self, architecture: Architecture) -> nn.Module:
        """The stand-alone network of an architecture, as `build` makes it, with the weights of its path.

        It shares nothing with the supernet. Raises UsageError for a supernet made with `around`.
        """
        if self._run.around is not None:
            raise UsageError("a supernet made with around=... has no stand-alone paths: build() and train the network")
        alone = build(self.space, architecture, self.sample, outputs=self.outputs)
        like = next(self.parameters(), self.sample)
        alone.to(like.device, like.dtype if like.is_floating_point() else None)
        inherit(self, architecture, alone)
        return alone.train(self.training)

    def derive(self, weights: Weights, values: Mapping[str, Scalar] | None = None) -> Architecture:
        """The architecture that the weights say: see `deriving.derive`."""
        return derive(self, weights, values or {})

    def largest(self) -> Architecture:
        """The architecture with the largest values and depths and, at each gate, the option with the most weights."""
        return extreme(self, largest=True)

    def smallest(self) -> Architecture:
        """The counterpart of `largest`; with random ones between them, the sandwich rule (Yu and Huang 2019)."""
        return extreme(self, largest=False)

    # -- before training -----------------------------------------------------------------------------

    def require_mixable(self, values: Mapping[str, Scalar] | None = None) -> None:
        """Raises UsageError unless every decision that is not fixed in `values` can be weighed in `mix`.

        Weighed outputs must have one shape: widths cannot, nor can real numbers. One pass over all options.
        """
        fixed = dict(values or {})
        for name, value in fixed.items():
            if name not in self.space.by_name:
                raise UsageError(f"values={{{name!r}: ...}}: there is no such decision in this space")
            self.space.by_name[name].check(value)
        check_no_floats(self.space, fixed)
        check_mixable(self.root, self._assembly, self._example(), fixed)

    def decisions(self, *, members: bool = False) -> dict[str, tuple[Scalar, ...]]:
        """What `mix` needs weights for: each decision with a gate, and its labels in the order of the weights.

        Search-only options come last. With `members` also the subsets, which take a weight for each member.
        """
        return {g.name: g.labels for g in self.gates if members or not isinstance(g, SubsetGate)}

    def size(self) -> Size:
        """The numbers of weights and of kept activations; one pass forward over all options, one over a path."""
        largest = self.largest()
        alone = build(self.space, largest, self.sample, outputs=self.outputs)
        params, path_params = (sum(p.numel() for p in net.parameters()) for net in (self, alone))
        values = {decision.name: largest_value(decision) for decision in self.space.decisions if not decision.modules}
        everything = self._kept(lambda x: self.run(x, run_all, values))
        return Size(params, path_params, everything, self._kept(lambda x: self(x, largest)))

    def _kept(self, work: Callable[[torch.Tensor], Any]) -> int:
        training, kept = self.training, _Kept(self)
        self.eval()  # a single sample has no batch statistics
        try:
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
                work(self._example())
        finally:
            self.train(training)
        return kept.numbers()

    def _example(self) -> torch.Tensor:
        """The sample, where the weights are."""
        like = next(self.parameters(), self.sample)
        return self.sample.to(like.device, like.dtype if self.sample.is_floating_point() else None)


def _restore(
    space: Space, sample: torch.Tensor, outputs: int | None, around: Combine | None,
    whole: dict[type[nn.Module], Any], state: dict[str, Any], training: bool,
) -> Supernet:  # fmt: skip
    net = supernet(space, sample, outputs=outputs, around=around)
    net.load_state_dict(state, assign=True)
    for kind, function in whole.items():
        net.whole(kind, function)
    return net.train(training)
