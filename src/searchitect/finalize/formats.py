"""A bundle's network in forms that other programs read: `model.pt2` (torch.export), `model.onnx`, `model.int8.onnx`.

Each takes a batch of any size, of rows as the bundle's `preprocess` gives them. A file gets its name only after its
outputs were compared with the network's own at batches of 1 and 7. These files are for others: nothing here opens one
that it has not just written, since opening a .pt2 can run code.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from searchitect.errors import StorageError, UsageError
from searchitect.finalize.opening import read_bundle, rebuild
from searchitect.space import Space

FILES = {"pt2": "model.pt2", "onnx": "model.onnx", "onnx-int8": "model.int8.onnx"}
BATCHES = (1, 7)
AGREE = 1e-5  # largest difference, as a share of the largest output
AGREE_INT8 = 0.1  # eight bits: what is lost stands in the card, more than this is an error
HEADING = "## Other forms of the network"

Answer = Callable[[Tensor], Tensor]
Program = Callable[[], Any]  # the network as a graph, made when first asked for


def write_formats(bundle: str | Path, formats: Sequence[str], space: Space | None = None) -> list[tuple[Path, float]]:
    """Write these forms of a bundle's network into its folder, and into its card how far each is from the network; the
    same is returned: file, largest difference of the outputs as a share of the largest.

    formats: of "pt2", "onnx", "onnx-int8" (weights of eight bits, by onnxruntime's dynamic quantisation).
    space:   needed where the network has classes of the user's, as for `rebuild`.

    Raises UsageError for other names and where onnx is not installed, StorageError when a form cannot be made of this
    network or gives other outputs.
    """
    unknown = [name for name in formats if name not in FILES]
    if unknown:
        raise UsageError(f"format {unknown[0]!r}: choose from {', '.join(FILES)}")
    opened = read_bundle(bundle)
    model = rebuild(opened, space)
    x = opened.inputs[:1].repeat_interleave(max(BATCHES), 0)
    x = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) if x.is_floating_point() else x
    program = functools.cache(lambda: _program(model, x))  # the same for all forms: it takes seconds
    written = []
    for name in dict.fromkeys(formats):
        place = opened.path / FILES[name]
        with tempfile.TemporaryDirectory(dir=opened.path, prefix=".format-") as folder:
            file = Path(folder) / place.name
            with _quietly():
                answer = _MAKERS[name](program, x, file)
            far = _distance(model, answer, x)
            if not far <= (AGREE_INT8 if name == "onnx-int8" else AGREE):
                raise StorageError(f"{place.name} gives other outputs than the network (difference {far:.1e})")
            os.replace(file, place)
        written.append((place, far))
    _tell(opened.path / "card.md", written)
    return written


def onnx_file(model: nn.Module, shape: tuple[int, ...], file: Path) -> Path:
    """A network that takes rows of this shape as an ONNX file. Raises as `write_formats`."""
    with _quietly():
        x = torch.zeros(2, *shape)
        _onnx(lambda: _program(model.eval(), x), x, file)
    return file


def _tell(card: Path, written: Sequence[tuple[Path, float]]) -> None:
    """A line in the card for each form; those of an earlier call stay."""
    text, _, before = card.read_text(encoding="utf-8").partition(HEADING)
    lines = {line.partition(":")[0]: line for line in before.splitlines() if line.startswith("- ")}
    for place, far in written:
        line = f"- `{place.name}`: outputs differ by {far:.1g} of the largest at most, on {max(BATCHES)} rows"
        lines[line.partition(":")[0]] = line
    card.write_text("\n".join([text.rstrip(), "", HEADING, "", *lines.values(), ""]), encoding="utf-8")


def _program(model: nn.Module, x: Tensor) -> Any:
    """The network as a graph whose batch may have any size."""
    try:
        return torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    except Exception as error:  # whatever a network of the user's does that no graph can hold
        first = str(error).strip().partition("\n")[0]
        raise StorageError(f"torch.export cannot follow this network: {type(error).__name__}: {first}") from error


def _pt2(program: Program, _x: Tensor, file: Path) -> Answer:
    torch.export.save(program(), file)
    answer: Answer = program().module()
    return answer


def _onnx(program: Program, x: Tensor, file: Path) -> Answer:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _needed(package)
    try:
        made = torch.onnx.export(program(), (x,), dynamo=True, verbose=False, input_names=["x"],
                                 output_names=["y"])  # fmt: skip
        assert made is not None
        made.save(file, external_data=False)
    except StorageError:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise StorageError(f"no ONNX file can be made of this network: {type(error).__name__}: {first}") from error
    return _runtime(file)


def _int8(program: Program, x: Tensor, file: Path) -> Answer:
    whole = file.with_name("whole.onnx")
    _onnx(program, x, whole)
    quantization = importlib.import_module("onnxruntime.quantization")
    # unsigned weights: onnxruntime has no integer convolution on the CPU for signed ones
    quantization.quantize_dynamic(whole, file, weight_type=quantization.QuantType.QUInt8)
    return _runtime(file)


_MAKERS: dict[str, Callable[[Program, Tensor, Path], Answer]] = {"pt2": _pt2, "onnx": _onnx, "onnx-int8": _int8}


def _runtime(file: Path) -> Answer:
    session = _needed("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def answer(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])

    return answer


def _needed(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UsageError(f"ONNX files need the package {package}: pip install 'searchitect[onnx]'") from None


def _distance(model: nn.Module, answer: Answer, x: Tensor) -> float:
    """Largest difference of the outputs at all batch sizes, as a share of the largest output (or of 1)."""
    far = 0.0
    with torch.no_grad():
        for size in BATCHES:
            wanted, found = model(x[:size]), answer(x[:size])
            if found.shape != wanted.shape:
                raise StorageError(f"outputs of shape {tuple(found.shape)} instead of {tuple(wanted.shape)}")
            far = max(far, float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1)))
    return far


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporters tell of every step, by print, warning and log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
