"""The contract of supernets, as tests. Subclass, make the space, give a shape, inherit the tests.

class TestMine(SupernetContract):
    shape, outputs = (3, 8, 8), 10
    refused = "width"

    def make(self):
        return my_space()
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import torch
from torch import nn

from searchitect.errors import SpaceError, UsageError
from searchitect.nets import Supernet, build, recalibrate, supernet
from searchitect.nets.gates import SubsetGate
from searchitect.nets.inherit import pairs
from searchitect.seeds import stream
from searchitect.space import Architecture, Decision, Scalar, Space
from searchitect.torchseeds import seeded_torch

_NETS: dict[type, Supernet] = {}  # one for each contract class


class SupernetContract:
    """Subclass and implement `make`. Each test is one promise that the supernet of every space keeps.

    shape:    one input without the batch. outputs: what OUTPUTS stands for.
    refused:  the decision that weighed methods are refused for; "" when every decision can be weighed.
    paths:    sampled architectures that each promise is tried on.
    """

    shape: tuple[int, ...] = (3, 8, 8)
    outputs = 3
    refused = ""
    paths = 3
    batch = 4

    def make(self) -> Space:
        """The space under test."""
        raise AttributeError("a contract test class implements make()")

    # -- helpers -------------------------------------------------------------------------------------

    @cached_property
    def space(self) -> Space:
        """The space, made once per test."""
        return self.make()

    def net(self, seed: int = 1) -> Supernet:
        """A new supernet."""
        return supernet(self.space, self.shape, outputs=self.outputs, seed=seed)

    def shared(self) -> Supernet:
        """A supernet in training mode that several tests use, whatever its statistics are by then."""
        if type(self) not in _NETS:
            _NETS[type(self)] = self.net()
        net = _NETS[type(self)].train()
        net.zero_grad()
        return net

    def samples(self, n: int | None = None) -> list[Architecture]:
        """Sampled architectures."""
        return [self.space.sample(stream(0, i, "supernet contract")) for i in range(n or self.paths)]

    def input(self, i: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """A batch of random inputs."""
        with seeded_torch(i):
            return torch.randn(self.batch, *self.shape, dtype=torch.float64).to(dtype)

    def onehot(self, net: Supernet, architecture: Architecture) -> tuple[dict[str, torch.Tensor], dict[str, Scalar]]:
        """Weights for `mix` that say what the architecture says, and its sizes."""
        weights = {}
        for gate in net.gates:
            value = architecture.decisions.get(gate.name, gate.labels[0])  # not active: whatever it is
            chosen = set(str(value).split("+")) if isinstance(gate, SubsetGate) else {value}
            weights[gate.name] = torch.tensor([1.0 if label in chosen else 0.0 for label in gate.labels])
        sizes = {n: v for n, v in architecture.decisions.items() if not self.space.by_name[n].modules}
        return weights, sizes

    def alike(self, net: Supernet, architecture: Architecture, x: torch.Tensor, tolerance: float) -> None:
        """Output, statistics and gradients of a path are those of the stand-alone network."""
        alone = net.path(architecture)
        net.zero_grad()
        outputs = []
        for run in (lambda: net(x, architecture), lambda: alone(x)):
            with seeded_torch(7):  # the same dropout in both
                outputs.append(run())  # type: ignore[no-untyped-call]
            outputs[-1].pow(2).sum().backward()
        close(outputs[0], outputs[1], tolerance)
        for pair in pairs(net, architecture, alone):
            close(pair.part(pair.whole), pair.own, tolerance)
            if isinstance(pair.own, nn.Parameter) and pair.own.grad is not None:
                whole = pair.whole.grad
                assert whole is not None, pair.name
                close(pair.part(whole), pair.own.grad, 10 * tolerance)
                close(whole.abs().sum(), pair.own.grad.abs().sum(), 10 * tolerance)  # and none outside the part

    # -- paths ---------------------------------------------------------------------------------------

    def test_a_path_equals_the_stand_alone_network_with_inherited_weights(self) -> None:
        net = self.shared()
        for training in (True, False):
            net.train(training)
            for i, architecture in enumerate(self.samples()):
                self.alike(net, architecture, self.input(i), 1e-5)

    def test_in_double_precision_it_does_to_ten_digits(self) -> None:
        net = self.net().double()
        for architecture in [net.largest(), net.smallest(), *self.samples(1)]:
            self.alike(net, architecture, self.input(dtype=torch.float64), 1e-10)

    def test_paths_that_inherit_nothing_differ(self) -> None:
        net = self.shared().eval()
        architecture = self.samples(1)[0]
        other = build(self.space, architecture, self.shape, outputs=self.outputs, seed=2).eval()
        assert (net(self.input(), architecture) - other(self.input())).abs().max() > 1e-3

    def test_only_the_chosen_path_gets_gradients(self) -> None:
        net = self.shared()
        architecture = self.samples(1)[0]
        net(self.input(), architecture).sum().backward()
        used = {id(pair.whole) for pair in pairs(net, architecture, net.path(architecture))}
        assert all(p.grad is None for p in net.parameters() if id(p) not in used)

    def test_every_weight_is_used_by_some_path(self) -> None:
        net = self.shared().eval()
        unused = {module for module in net.modules() if list(module.parameters(recurse=False))}
        handles = [module.register_forward_pre_hook(lambda module, _args: unused.discard(module)) for module in unused]
        with torch.no_grad():
            for architecture in [*self.spread(), *self.samples(100)]:
                net(self.input()[:1], architecture)
                if not unused:
                    break
        for handle in handles:
            handle.remove()
        assert not unused

    def spread(self) -> list[Architecture]:
        """Architectures in which every option of every decision occurs, in few steps for most spaces."""
        outer = [d for d in self.space.decisions if d.kind in ("subset", "repeat")]
        inner = max([d.n for d in self.space.decisions if d not in outer], default=0) or 1
        turns = inner * max([d.n for d in outer], default=1)

        def decide(decision: Decision, turn: int) -> Scalar:
            if decision.labels is None:
                return decision.low
            return decision.labels[(turn // inner if decision in outer else turn) % decision.n]

        found = (self.space.trace(lambda d, turn=turn: decide(d, turn)) for turn in range(min(turns, 100)))  # type: ignore[misc]
        return [self.space.architecture(decisions) for decisions in found]

    def test_the_largest_and_smallest_path(self) -> None:
        net = self.shared()
        counts = []
        for architecture in (net.smallest(), net.largest()):
            self.space.validate(architecture)
            counts.append(sum(p.numel() for p in net.path(architecture).parameters()))
        assert counts[0] <= counts[1]
        size = net.size()
        assert size.path_params == counts[1] <= size.params == sum(p.numel() for p in net.parameters())
        assert 0 < size.path_activations <= size.activations

    # -- mixtures ------------------------------------------------------------------------------------

    def test_a_mixture_of_one_is_a_path(self) -> None:
        net = self.shared().eval()
        for i, architecture in enumerate(self.samples()):
            weights, sizes = self.onehot(net, architecture)
            close(net.mix(self.input(i), weights, sizes), net(self.input(i), architecture), 1e-6)

    def test_weights_of_one_path_derive_its_architecture(self) -> None:
        net = self.shared()
        for architecture in self.samples(20):
            assert net.derive(*self.onehot(net, architecture)) == architecture

    def test_what_cannot_be_weighed_is_refused_by_name(self) -> None:
        net = self.shared()
        before = copy.deepcopy(net.state_dict())
        refusal = ""
        try:
            net.require_mixable()
        except (UsageError, SpaceError) as error:
            refusal = str(error)
        assert repr(self.refused) in refusal if self.refused else not refusal
        assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
        assert net.training
        net.require_mixable(self.fixed())

    def fixed(self) -> dict[str, Scalar]:
        """A value for every decision that is no gate, and for the one that cannot be weighed."""
        chosen = [d for d in self.space.decisions if not d.modules or d.name == self.refused]
        return {d.name: d.low if d.labels is None else d.labels[0] for d in chosen}

    def test_the_step_of_the_architecture_computes_no_gradients_of_weights(self) -> None:
        net = self.shared()
        fixed, decisions = self.fixed(), net.decisions()
        weights = {
            n: torch.full((len(o),), 1.0 / len(o), requires_grad=True) for n, o in decisions.items() if n not in fixed
        }
        if not weights:
            return
        loss = net.mix(self.input(), weights, fixed).pow(2).sum()
        found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        assert any(g is not None and g.abs().sum() > 0 for g in found)
        assert all(p.grad is None for p in net.parameters())

    # -- states --------------------------------------------------------------------------------------

    def test_seeds_states_and_copies(self) -> None:
        before = torch.get_rng_state()
        net, other = self.net(), self.net(seed=2)
        assert torch.equal(before, torch.get_rng_state())
        start, others = copy.deepcopy(net.state_dict()), other.state_dict()
        assert list(start) == list(others)
        assert not all(torch.equal(a, b) for a, b in zip(start.values(), others.values(), strict=True))
        for architecture in self.samples():
            net(self.input(), architecture)  # statistics move
        other.load_state_dict(net.state_dict())
        twin = copy.deepcopy(net)
        for one in (net, other, twin):
            one.eval()
        for architecture in self.samples():
            expected = net(self.input(), architecture)
            assert torch.equal(other(self.input(), architecture), expected)
            assert torch.equal(twin(self.input(), architecture), expected)
        again = self.net().state_dict()
        assert all(torch.equal(a, b) for a, b in zip(start.values(), again.values(), strict=True))

    def test_recalibration_changes_statistics_only_and_not_the_supernet(self) -> None:
        net = self.shared()
        architecture = self.samples(1)[0]
        before = copy.deepcopy(net.state_dict())
        model = recalibrate(net, architecture, [self.input(i) for i in range(3)])
        assert not model.training
        assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
        plain = dict(net.path(architecture).named_parameters())
        assert all(torch.equal(p, plain[name]) for name, p in model.named_parameters())


def close(a: Any, b: Any, tolerance: float) -> None:
    """Equal to the tolerance, absolute and relative."""
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
