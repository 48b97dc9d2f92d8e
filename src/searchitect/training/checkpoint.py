"""One training on disk: weights and optimiser state as safetensors, counters as JSON in the same file.

One file, so that weights and counters can never be of two different epochs. A new one is written beside the
old one, synced, read back, and only then takes its place. Nothing in it can run code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

log = logging.getLogger(__name__)


def write(path: Path, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
    """Replace the file at `path` as a whole. Raises OSError (disk full, ...) and leaves the old one then."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}  # none share memory
    data = save(plain, {"counters": json.dumps(counters), "digest": _digest(plain)})
    fresh = path.with_name(path.name + ".tmp")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if _open(fresh) is None:
            raise OSError(f"{fresh.name} differs from what was written")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and counters; None when there is no file or it is damaged (which is logged)."""
    path.with_name(path.name + ".tmp").unlink(missing_ok=True)  # left by a process that was killed
    if not path.exists():
        return None
    found = _open(path)
    if found is None:
        log.warning("checkpoint %s is damaged; training starts again", path)
    return found


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            header = file.metadata() or {}
        counters = json.loads(header["counters"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    return (tensors, counters) if header.get("digest") == _digest(tensors) else None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pack(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a training: "model.NAME" and "optimizer.NUMBER.KEY" (parameters in group order)."""
    tensors = {f"model.{n}": t for n, t in model.state_dict().items() if isinstance(t, Tensor)}
    for number, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{key}"] = value
    return tensors


def unpack(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the tensors back, in the memory format of the parameters (other strides could round otherwise)."""
    load_weights(model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    for number, parameter in enumerate(_parameters(optimizer)):
        prefix = f"optimizer.{number}."
        state = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        for key, value in state.items():
            like = parameter.detach() if value.shape == parameter.shape else value
            optimizer.state[parameter][key] = torch.empty_like(like, dtype=value.dtype).copy_(value)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the model, whose own tensors stay where they are."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if isinstance(tensor, Tensor):
                tensor.copy_(weights[name])


def shapes(model: nn.Module) -> dict[str, list[int]]:
    """Names and shapes of all weights: what makes two models' checkpoints exchangeable."""
    return {n: list(t.shape) for n, t in model.state_dict().items() if isinstance(t, Tensor)}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
