"""Opening a bundle. Reading runs no code; running its `model.py` needs an explicit yes.

`read_bundle` reads plain files. `rebuild` makes the network again from space, architecture and weights, with layers of
torch and of this package (and classes that the caller's own space brings). `run_bundle` imports the folder's
`model.py`, that is, runs whatever its author wrote.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from searchitect.errors import ArchitectureError, StorageError, UsageError
from searchitect.nets import Ensemble, build
from searchitect.space import Architecture, Space

AGREE = 1e-4  # relative difference of outputs that other processors may cause


@dataclass(frozen=True)
class Opened:
    """What a bundle holds, as plain data. `sample` is the shape of one row, `outputs` the number of outputs. `members`
    are the architectures of an ensemble, of which `architecture` is the first; none where it is a single network."""

    path: Path
    architecture: Architecture
    preprocess: dict[str, Any]
    weights: dict[str, torch.Tensor]
    inputs: torch.Tensor
    expected: torch.Tensor
    space_json: str | None = None
    members: tuple[Architecture, ...] = ()
    classes: bool = True  # whether an ensemble takes the mean of probabilities

    @property
    def sample(self) -> tuple[int, ...]:
        """Shape of one row after preprocessing."""
        return tuple(self.inputs.shape[1:])

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for a row."""
        return int(self.expected.shape[1]) if self.expected.dim() > 1 else 1


def read_bundle(folder: str | Path) -> Opened:
    """Read a bundle's files; runs none of its code. Raises StorageError for anything that is not a whole bundle."""
    place = Path(folder)
    try:
        architecture = Architecture.from_json((place / "arch.json").read_bytes())
        preprocess = json.loads((place / "preprocess.json").read_text(encoding="utf-8"))
        weights = load_tensors((place / "weights.safetensors").read_bytes())
        stored = load_tensors((place / "selftest.safetensors").read_bytes())
        if not isinstance(preprocess, dict):
            raise ValueError("preprocess.json holds no mapping")
        definition = place / "space.json"
        space = definition.read_text(encoding="utf-8") if definition.exists() else None
        members, classes = _members(place / "members.json")
        return Opened(
            place, architecture, preprocess, weights, stored["inputs"], stored["outputs"], space, members, classes
        )
    except FileNotFoundError as error:
        raise StorageError(f"{place} is no bundle: {Path(error.filename).name} is missing") from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, ArchitectureError) as error:
        raise StorageError(f"the bundle {place} cannot be read: {type(error).__name__}: {error}") from None


def _members(file: Path) -> tuple[tuple[Architecture, ...], bool]:
    """The architectures of an ensemble, and whether their outputs are scores of classes."""
    if not file.exists():
        return (), True
    stored = json.loads(file.read_text(encoding="utf-8"))
    return tuple(Architecture.from_json(json.dumps(one)) for one in stored["members"]), bool(stored["classes"])


def rebuild(bundle: Opened, space: Space | None = None) -> nn.Module:
    """The trained network in eval mode, from the architecture and the weights; runs nothing from the folder.

    Without `space` the bundle's own definition serves, which can name layers of torch.nn and searchitect.nets only:
    a network with classes of the user's needs the space that brings them.

    Raises BuildError for such classes, ArchitectureError when the bundle is of another space, StorageError when the
    weights do not fit or the stored outputs are not repeated.
    """
    if space is None:
        if bundle.space_json is None:
            raise StorageError(f"{bundle.path} holds no space.json; pass the space that the network is from")
        space = Space.from_json(bundle.space_json)
    networks = [
        build(space, one, bundle.sample, outputs=bundle.outputs) for one in bundle.members or (bundle.architecture,)
    ]
    model = Ensemble(*networks, classes=bundle.classes) if bundle.members else networks[0]
    try:
        model.load_state_dict(bundle.weights)
    except RuntimeError as error:
        raise StorageError(f"the weights in {bundle.path} do not fit the architecture: {error}") from None
    model.eval()
    with torch.no_grad():
        found = model(bundle.inputs)
    far = float((found - bundle.expected).abs().max() / bundle.expected.abs().max().clamp(min=1))
    if not far <= AGREE:
        raise StorageError(f"the network of {bundle.path} gives other outputs than stored (difference {far:.1e})")
    return model


def run_bundle(folder: str | Path, *, run_its_code: bool) -> ModuleType:
    """The bundle's `model.py` as a module with `load`, `preprocess`, `predict`, `predict_proba`, `selftest`.

    Raises UsageError unless `run_its_code` is True: importing a file runs it, whoever wrote it.
    """
    file = Path(folder).absolute() / "model.py"
    if not file.exists():
        raise StorageError(f"{folder} is no bundle: model.py is missing")
    if run_its_code is not True:
        raise UsageError(f"{file} is code of whoever wrote it and was not run; if you trust its author, allow it")
    spec = importlib.util.spec_from_file_location("searchitect_bundle_model", file)
    if spec is None or spec.loader is None:
        raise StorageError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
