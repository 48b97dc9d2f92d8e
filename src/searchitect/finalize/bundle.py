"""The folder in which a network is handed over: it runs with torch alone and says what it is.

    model.py              the network in plain PyTorch, written out layer by layer; load, predict, --selftest
    weights.safetensors   its weights
    arch.json, space.json the architecture and the space it is from, for this package: nothing in them can run
    members.json          the architectures of an ensemble, where it is one; the first of them is that of arch.json
    preprocess.json       how raw rows become tensors
    card.md               what it is, how good it is, how it was found
    requirements.txt      what model.py imports
    selftest.safetensors  inputs and the outputs that the searched network gave for them
    user_code.py          the user's own classes, where the network has some

It is written beside its place, checked in a fresh interpreter, and only then takes the place of an older one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from searchitect.errors import SpaceError, StorageError, UsageError
from searchitect.finalize import runtime
from searchitect.finalize.card import card_text
from searchitect.finalize.collect import requirement
from searchitect.finalize.sizes import concrete
from searchitect.finalize.writing import USER_FILE, Writer
from searchitect.records import jsonable
from searchitect.seeds import derive
from searchitect.space import Architecture, Plan, Space

MARK = "# ---- copied from here on"
_CHECK_SECONDS = 300
_SELFTEST_NUMBERS = 50_000  # input numbers that the self-test stores at most (at least one row)


@dataclass(frozen=True)
class Bundle:
    """A written bundle: where, what it needs besides torch, and what the user should know."""

    path: Path
    notes: tuple[str, ...]
    requirements: tuple[str, ...]
    user_classes: tuple[str, ...]


def write_bundle(
    folder: str | Path,
    *,
    space: Space,
    architecture: Architecture | Sequence[Architecture],
    model: nn.Module,
    sample_shape: Sequence[int],
    outputs: int | None,
    preprocess: Mapping[str, Any],
    card: Mapping[str, Any],
    check: bool = True,
) -> Bundle:
    """Write the bundle of a trained network, replacing an older bundle at `folder` as a whole.

    architecture: of the network; or those of the members of an ensemble, of which `model` is the `nets.Ensemble`.
    model:        the trained network (left as it is). sample_shape: of one row, without the batch.
    outputs:      what OUTPUTS in the space stands for.
    preprocess:   the plain data of `training.Preprocess.to_json()`, from which task and classes are taken, or
                  {"kind": "none"}: rows come ready, as a function of the user's fed them.
    card:         see `card.card_text`.
    check:        run its self-test in a fresh interpreter; else `check_bundle` is for later.

    Raises StorageError when the folder holds something else or cannot be written, UsageError for an argument that
    source code cannot hold and for a network that gives anything but one tensor, and RuntimeError when the written
    network does not repeat the searched one's outputs (a fault of ours; where code of the user's takes part it becomes
    a note instead).
    """
    place = Path(folder).absolute()
    _check_place(place)
    writer = Writer(space.targets)
    members = [architecture] if isinstance(architecture, Architecture) else list(architecture)
    whole = [concrete(space.plan(one, outputs), sample_shape, space.targets, outputs) for one in members]
    classes = str(preprocess.get("task", "")) == "classification"
    body = writer.write(whole[0] if isinstance(architecture, Architecture) else _ensemble(whole, classes), 4)
    needs = _requirements(writer)
    title = str(card.get("name") or space.name or "network")
    files: dict[str, bytes] = {
        "model.py": _model_source(writer, body, tuple(sample_shape), title).encode(),
        "weights.safetensors": save(_weights(model)),
        "arch.json": members[0].to_json().encode(),
        "preprocess.json": json.dumps(jsonable(preprocess), indent=1, allow_nan=False).encode(),
        "selftest.safetensors": save(_selftest(model, tuple(sample_shape))),
        "requirements.txt": "\n".join([*needs, ""]).encode(),
    }
    if not isinstance(architecture, Architecture):
        texts = [json.loads(one.to_json()) for one in members]
        files["members.json"] = json.dumps({"classes": classes, "members": texts}, indent=1).encode()
    with contextlib.suppress(SpaceError):  # a class made inside a function has no name in a file
        files["space.json"] = space.to_json().encode()
    notes = [*writer.own.notes, *writer.user.notes]
    if writer.user_targets:
        files[f"{USER_FILE}.py"] = _user_source(writer, notes).encode()
    temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        for name, data in files.items():
            _write(temporary / name, data)
        if check:
            notes += check_bundle(temporary, own_only=not writer.user_targets and not writer.imports)
        drawn = [space.draw(one, width=100).replace("OUTPUTS", str(outputs or "OUTPUTS")) for one in members]
        shown = card_text(
            card, space_name=space.name, sample_shape=sample_shape, task=str(preprocess.get("task", "")),
            classes=preprocess.get("classes"), notes=notes, drawing=_drawings(drawn),
        )  # fmt: skip
        _write(temporary / "card.md", shown.encode())
        _replace(place, temporary)
    except OSError as error:
        raise StorageError(f"the bundle {place} cannot be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Bundle(place, tuple(notes), tuple(needs), tuple(writer.user_targets))


def _drawings(drawn: Sequence[str]) -> str:
    if len(drawn) == 1:
        return drawn[0]
    return "\n\n".join(f"member {i}\n{text.rstrip()}" for i, text in enumerate(drawn, 1))


def _ensemble(members: Sequence[Plan], classes: bool) -> Plan:
    """The plan of an ensemble of these networks."""
    return Plan("searchitect.nets.Ensemble", {"*": tuple(members), "classes": classes}, "")


def _model_source(writer: Writer, body: str, shape: tuple[int, ...], title: str) -> str:
    own = writer.own
    imports = [
        "import argparse", "import csv", "import functools", "import json", "import struct", "import sys",
        "import warnings", "from datetime import datetime, timedelta", "from pathlib import Path",
        "from typing import Any", "import torch", "from torch import nn",
    ]  # fmt: skip
    loader = ""
    if writer.user_targets:
        imports.insert(3, "import importlib.util")
        loader = (f'\n_spec = importlib.util.spec_from_file_location("{USER_FILE}", HERE / "{USER_FILE}.py")\n'
                  f"{USER_FILE} = importlib.util.module_from_spec(_spec)\n"
                  f"_spec.loader.exec_module({USER_FILE})\n")  # fmt: skip
    extra = [line for line in [*own.imports, *writer.imports] if line not in imports]
    name = " ".join(title.split()).replace("\\", "").replace('"', "'")
    return "\n".join([
        f'"""{name}: a trained network in plain PyTorch. See card.md.',
        "",
        "    python model.py --selftest      recomputes stored outputs",
        "    import model; model.predict(rows)",
        '"""', "", "from __future__ import annotations", "", *imports[:-2], *sorted(extra), "", *imports[-2:], "",
        "HERE = Path(__file__).resolve().parent",
        f"SHAPE = {shape!r}  # of one row after `preprocess`", loader, "",
        "".join(f"{text}\n\n\n" for text in own.bodies) + "def network() -> nn.Module:",
        '    """The untrained network."""', f"    return {body}", "", "",
        _copied(),
    ])  # fmt: skip


def _copied() -> str:
    text = Path(runtime.__file__).read_text(encoding="utf-8")
    return (
        text[text.index("\n", text.index(MARK)) + 1 :]
        .replace("  # noqa: B905 - same length", "")
        .replace("  # fmt: skip", "")
    )


def _user_source(writer: Writer, notes: list[str]) -> str:
    user = writer.user
    names = ", ".join(writer.user_targets)
    lines = [f'"""Classes of your own that the network uses, copied from your files: {names}."""', "",
             "from __future__ import annotations", "", user.text()]  # fmt: skip
    for name, path in user.missing.items():
        why = f"the source of {path} was not found (is it defined in a notebook or at a prompt?)"
        notes.append(f"{why}: put it into {USER_FILE}.py before model.py can run")
        lines += [f"class {name}:", "    def __init__(self, *args, **kwargs):",
                  f"        raise ImportError({f'{why}: replace this class by it'!r})", ""]  # fmt: skip
    return "\n".join(lines)


def _requirements(writer: Writer) -> list[str]:
    packages = writer.own.packages | writer.user.packages
    return [f"torch>={torch.__version__.split('+')[0]}", *sorted(requirement(p) for p in packages)]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of each tensor of the state, none sharing memory."""
    state = model.state_dict()
    return {n: t.detach().cpu().contiguous().clone() for n, t in state.items() if isinstance(t, torch.Tensor)}


def _selftest(model: nn.Module, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    numbers = max(1, int(torch.Size(shape).numel()))
    rows = max(1, min(7, _SELFTEST_NUMBERS // numbers))
    generator = torch.Generator().manual_seed(derive(0, "selftest"))
    inputs = torch.randn(rows, *shape, generator=generator)
    modes = [(m, m.training) for m in model.modules()]
    first = next(iter(model.parameters()), torch.zeros(()))
    model.eval()
    try:
        with torch.no_grad():
            outputs = model(inputs.to(first.device))
        if not isinstance(outputs, torch.Tensor):
            raise UsageError(f"the network gives {type(outputs).__name__}, a bundle needs one tensor")
    finally:
        for module, mode in modes:
            module.training = mode
    return {"inputs": inputs, "outputs": outputs.detach().cpu().contiguous().clone()}


def check_bundle(folder: Path, own_only: bool) -> list[str]:
    """Run the self-test in a fresh interpreter; a failure is ours to raise unless the user's code takes part."""
    command = [sys.executable, "-I", "-B", str(folder / "model.py"), "--selftest"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=_CHECK_SECONDS, env=environment, check=False
        )
        lines = (run.stdout + run.stderr).strip().splitlines() or [f"exit code {run.returncode}"]
        failed = "" if run.returncode == 0 else lines[-1]
    except subprocess.TimeoutExpired:
        failed = f"no answer within {_CHECK_SECONDS} s"
    if not failed:
        return []
    if own_only:
        raise RuntimeError(f"the bundle does not repeat the searched network: {failed}. Please report this.")
    return [f"model.py --selftest does not pass yet: {failed}"]


def _check_place(place: Path) -> None:
    """Take back what an interrupted replacement left, and refuse to replace anything but a bundle."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        older = _older(place)
        if older.exists():
            if place.exists():
                shutil.rmtree(older)
            else:
                older.rename(place)
    except OSError as error:
        raise StorageError(f"the bundle {place} cannot be written: {error}") from error
    if place.exists() and (not place.is_dir() or (any(place.iterdir()) and not (place / "arch.json").exists())):
        raise StorageError(f"{place} exists and is no bundle; choose another folder or remove it")


def _replace(place: Path, fresh: Path) -> None:
    fresh.chmod(0o755)
    _sync(fresh)
    older = _older(place)
    if place.exists():
        place.rename(older)
    fresh.rename(place)
    _sync(place.parent)
    shutil.rmtree(older, ignore_errors=True)


def _older(place: Path) -> Path:
    return place.with_name(f".{place.name}-replaced")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
