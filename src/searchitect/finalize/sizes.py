"""A plan with every size written out: `LazyConv2d(16, 3)` on eight channels becomes `Conv2d(8, 16, 3)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from searchitect.nets.building import build_plan
from searchitect.space import Plan

_KINDS = {"Conv": "in_channels", "ConvTranspose": "in_channels", "BatchNorm": "num_features",
          "InstanceNorm": "num_features"}  # fmt: skip
# Lazy layers of torch.nn → the argument that they take from their first input; it comes first once it is known.
SIZES = {"LazyLinear": "in_features"} | {f"Lazy{kind}{n}d": size for kind, size in _KINDS.items() for n in (1, 2, 3)}


def concrete(plan: Plan, sample: Sequence[int], targets: Mapping[str, Any], outputs: int | None) -> Plan:
    """The same network without lazy layers of torch.nn; blocks that size themselves stay as they are.

    sample: shape of one input row; targets: the user's classes by path. Raises as `build_plan` does.
    """
    made: list[nn.Module] = []
    recorders = {f"torch.nn.{name}": _recorder(getattr(nn, name), made) for name in SIZES}
    build_plan(plan, tuple(sample), targets={**targets, **recorders}, outputs=outputs)
    return _written_out(plan, iter(made))  # type: ignore[no-any-return]


def _recorder(kind: type[nn.Module], made: list[nn.Module]) -> Callable[..., nn.Module]:
    def make(**args: Any) -> nn.Module:
        made.append(kind(**args))
        return made[-1]

    return make


def _written_out(value: Any, made: Iterator[nn.Module]) -> Any:
    """Goes through a plan in the order in which it is built: arguments first, then the thing itself."""
    if isinstance(value, Plan):
        args = {name: _written_out(argument, made) for name, argument in value.args.items()}
        size = SIZES.get(value.target.removeprefix("torch.nn."))
        if size is None or not value.target.startswith("torch.nn."):
            return Plan(value.target, args, value.path, value.module)
        found = getattr(next(made), size)
        return Plan(value.target.replace(".Lazy", "."), {size: found, **args}, value.path, value.module)
    if isinstance(value, (list, tuple)):
        return type(value)([_written_out(item, made) for item in value])
    if isinstance(value, dict):
        return {key: _written_out(item, made) for key, item in value.items()}
    return value
