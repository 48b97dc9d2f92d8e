"""From steps with inputs to nesting: what follows what, and what is summed or concatenated side by side.

Only series-parallel networks can be nested: between a fork and the step where its branches meet again, no other line
comes in or goes out. Residual, dense and inception networks are; the error names the step of one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from searchitect.errors import SpaceError
from searchitect.spaces.around.tracing import Step

Chain = list[Union[Step, "Merge"]]


@dataclass(eq=False)
class Merge:
    """Branches on one input and the step ("add" or "cat") where they meet; an empty branch is the input itself."""

    step: Step
    branches: list[Chain]

    @property
    def body(self) -> Chain | None:
        """Of a residual connection: what is added to the input; else None."""
        full = [b for b in self.branches if b]
        return full[0] if self.step.kind == "add" and len(self.branches) == 2 and len(full) == 1 else None


def chain(steps: list[Step], last: Step) -> Chain:
    """All steps from the input to the last one. Raises SpaceError for a network that cannot be nested."""
    for step in steps:
        for before in dict.fromkeys(step.inputs):
            before.after.append(step)
    return _between(steps[0], last, steps)


def _between(first: Step, last: Step, order: list[Step]) -> Chain:
    """What lies between two steps, the first left out."""
    found: Chain = []
    now = first
    while now is not last:
        region = _region(now, last, order)
        nexts = [step for step in now.after if step in region]
        if len(nexts) == 1 and len(nexts[0].inputs) == 1:
            now = nexts[0]
            found.append(now)
            continue
        meet = _meeting(now, last, [s for s in order if s in region])
        if meet.kind not in ("add", "cat"):
            raise _not_nested(meet)
        inner = [_region(now, one, order) for one in meet.inputs]
        if any(a & b for i, a in enumerate(inner) for b in inner[:i]):
            raise _not_nested(meet)
        found.append(Merge(meet, [_branch(now, one, order) for one in meet.inputs]))
        now = meet
    return found


def _branch(fork: Step, end: Step, order: list[Step]) -> Chain:
    if end is not fork and end not in _region(fork, end, order):
        raise _not_nested(end)
    inner = _region(fork, end, order)
    if any(i is not fork and i not in inner for step in inner for i in step.inputs):
        raise _not_nested(end)
    return _between(fork, end, order)


def _region(first: Step, last: Step, order: list[Step]) -> set[Step]:
    """The steps on some way from the first to the last, the first left out."""
    behind: set[Step] = {first}
    for step in order:
        if any(i in behind for i in step.inputs):
            behind.add(step)
    ahead: set[Step] = {last}
    for step in reversed(order):
        if step in ahead:
            ahead.update(step.inputs)
    return (behind & ahead) - {first}


def _meeting(first: Step, last: Step, order: list[Step]) -> Step:
    """The first step that every way from the first to the last goes through: its ways times those behind it are all."""
    ways = {first: 1}
    for step in order:
        ways[step] = sum(ways.get(i, 0) for i in step.inputs)
    left = {last: 1}
    for step in reversed(order):
        for before in step.inputs:
            left[before] = left.get(before, 0) + left.get(step, 0)
    return next(step for step in order if ways[step] * left.get(step, 0) == ways[last])


def _not_nested(step: Step) -> SpaceError:
    return SpaceError(
        f"no space can be made around this network: at {step.name!r} lines meet that come from different places: "
        "it is not made of parts one after the other and side by side. Put that part into a module of its own"
    )
