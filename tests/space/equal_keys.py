"""Carries the weights of one network over to another with the same canonical key.

The symbolic run of a plan (`symbols.Graph`) and the forward pass of the built network visit the same
operations in the same order; so each weighted value of the first belongs to a module of the second, and two
equal texts name their values in the same order.
"""

import torch

from searchitect.nets import TwoInputCell, build
from searchitect.space import canonical, symbols


class Recording(symbols.Graph):
    """A symbolic run that notes each operation that is a module in the network: (target, value or None)."""

    def __init__(self):
        super().__init__(zero_preserving=False)
        self.seen = []

    def weighted(self, op, inputs, plan=None):
        value = super().weighted(op, inputs, plan)
        if "Dropout" not in plan.target:  # random, but without weights
            self.seen.append((plan.target, value))
        return value

    def apply(self, plan, x):
        before = len(self.seen)
        value = super().apply(plan, x)
        if plan.target not in symbols.RULES and len(self.seen) == before:
            self.seen.append((plan.target, None))
        return value


def values_and_text(plan):
    graph = Recording()
    text, order = canonical.write(graph.apply(plan, symbols.INPUT), graph.twins)
    return graph.seen, text, order


def modules_in_order(network, x, targets):
    """The modules that ran, in order, for the targets that the symbolic run noted (blocks of ours as a whole)."""
    names = {t.rpartition(".")[2] for t in targets}
    ran, handles = [], []

    def inside(module, inner):
        return any(inner is part for part in module.modules() if part is not module)

    def visit(module):
        name = type(module).__name__
        if isinstance(module, TwoInputCell):
            handles.append(module.register_forward_pre_hook(lambda m, _i: ran.extend([(m, "older"), (m, "newer")])))
            for node in module.nodes:
                visit(node)
        elif (name in names or f"Lazy{name}" in names) and noted(module):
            handles.append(module.register_forward_pre_hook(lambda m, _i: ran.append((m, ""))))
        else:
            for child in module.children():
                visit(child)

    visit(network)
    with torch.no_grad():
        y = network(x)
    for handle in handles:
        handle.remove()
    return ran, y


def noted(module):
    """A skip that changes nothing has no value of its own in the symbolic run."""
    return type(module).__name__ != "Skip" or module.stride != 1


def parts(entry):
    module, side = entry
    if side == "older":
        return [module.older, module.older_norm]
    return [module.newer] if side == "newer" else [module]


def scramble(network, seed):
    """Random weights and statistics, so that no two operations agree by their start values."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(drawn + 0.5 if name.endswith("running_var") else drawn - 0.5)


def largest_difference(space, first, second, shape, seed, outputs=3):
    """The largest difference of the outputs of two networks, relative to the largest output."""
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed)) - 0.5
    known, results = None, []
    for architecture in (first, second):
        network = build(space, architecture, shape, outputs=outputs).eval()
        scramble(network, seed + len(results))
        seen, text, order = values_and_text(space.plan(architecture))
        ran, _ = modules_in_order(network, x, [target for target, _ in seen])
        assert len(ran) == len(seen), (text, [t for t, _ in seen], ran)
        modules = {value: entry for (_, value), entry in zip(seen, ran, strict=True) if value is not None}
        used = [modules[value] for value in order if value in modules]
        if known is not None:
            assert len(used) == len(known)
            for old, new in zip(known, used, strict=True):
                for a, b in zip(parts(old), parts(new), strict=True):
                    b.load_state_dict(a.state_dict())
        known = known or used
        with torch.no_grad():
            results.append(network(x))
    return float((results[0] - results[1]).abs().max() / results[0].abs().max().clamp(min=1e-6))
