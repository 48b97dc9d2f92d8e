"""A trial that begins with the weights of another one."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from searchitect.errors import SearchitectError
from searchitect.evaluators.base import Heir
from searchitect.nets import build
from searchitect.nets.morph import difference, grow
from searchitect.space import Architecture, Space

ROWS = 16  # on which child and parent are compared
SAME = 1e-5  # difference, as a share of the largest output, up to which they are one function


def begin_with(
    model: nn.Module, heir: Heir, space: Space, sample: tuple[int, ...] | None, outputs: int | None,
    x: Tensor | None = None,
) -> str:  # fmt: skip
    """Give a new network its parent's weights; what came of it, for the notes of the trial.

    x: rows (B, ...) on which the two are compared, or None. Where the parent cannot be had, the network stays as it is
    and the note says so: its file may have been removed (`keeping`).
    """
    try:
        parent = build(space, Architecture(space.fingerprint, heir.decisions), sample, outputs=outputs)
        parent.load_state_dict(load_file(Path(heir.path)))
    except (OSError, RuntimeError, ValueError, SafetensorError, SearchitectError) as error:
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return f"trained from scratch: the weights of trial {heir.number} cannot be had ({why})"
    found = grow(parent, model)
    told = f"began with weights of trial {heir.number}: {found.whole} tensors, {found.part} in part, {found.fresh} new"
    if x is None:
        return told
    far = difference(parent, model, x[:ROWS])
    return f"{told}; " + ("the same function" if far <= SAME else f"outputs differ by {far:.2g} of the largest")
