"""Other forms of a bundle's network: equal to it at every batch size, and readable without this package.

SEARCHITECT_FORMATS sets how many architectures of each space are written (2).
"""

import json
import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from test_finalize_bundle import SPACES
from torch import nn

from searchitect import Space, lazy, one_of
from searchitect.cli.exporting import export
from searchitect.errors import StorageError, UsageError
from searchitect.finalize import formats, read_bundle, rebuild, run_bundle, write_bundle, write_formats
from searchitect.nets import build
from searchitect.seeds import stream

LATER = {"ft_transformer", "nb101", "resnet", "rnn", "vit"}  # in `tests/spaces/` each time
MANY = int(os.environ.get("SEARCHITECT_FORMATS", "2"))
L = lazy(nn)
WITH_TORCH_ALONE = """
import json, sys
for hidden in ("searchitect", "safetensors", "sklearn", "onnx", "msgspec"):
    sys.modules[hidden] = None
import torch
model = torch.export.load(sys.argv[1]).module()
rows = torch.tensor(json.loads(sys.stdin.read()))
print(json.dumps([model(rows[:n]).tolist() for n in (1, 2, 5)]))
"""


def bundle_of(folder, space, shape, number=0, check=True):
    architecture = space.sample(stream(3, number, "formats"))
    model = build(space, architecture, shape, outputs=3, seed=1).eval()
    with torch.no_grad():  # statistics of some data, as after a training
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.8, 1.2)
    write_bundle(folder, space=space, architecture=architecture, model=model, sample_shape=shape, outputs=3,
                 preprocess={"kind": "none"}, card={}, check=check)  # fmt: skip
    return model


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats") / "best"
    space = Space(L.Sequential(L.Linear(4, one_of(5, 6)), L.ReLU(), L.LazyLinear(3)))
    return folder, bundle_of(folder, space, (4,))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SPACES if MANY > 2 or name not in LATER])
@pytest.mark.timeout(120 + 90 * MANY)
def test_every_form_repeats_the_network(name, tmp_path):
    """At 1 and 7 rows to 1e-5, by what it says and when its file is opened by others."""
    make, shape = SPACES[name]
    for number in range(MANY):
        folder = tmp_path / f"{number}"
        space = make()
        bundle_of(folder, space, shape, number, check=False)  # tried below, in this process
        written = write_formats(folder, ("pt2", "onnx"), space)
        assert [path.name for path, _ in written] == ["model.pt2", "model.onnx"]
        assert all(far <= 1e-5 for _, far in written)
        model, own = rebuild(read_bundle(folder), space), run_bundle(folder, run_its_code=True)
        assert own.selftest() <= 1e-5
        own = own.load()
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        program = torch.export.load(folder / "model.pt2").module()
        for size in (1, 7):
            x = torch.linspace(-1, 1, size * int(np.prod(shape))).reshape(size, *shape)
            with torch.no_grad():
                wanted = model(x)
                assert torch.allclose(own(x), wanted, atol=1e-5)
            assert torch.allclose(program(x), wanted, atol=1e-5)
            assert np.allclose(session.run(None, {"x": x.numpy()})[0], wanted.numpy(), atol=1e-5)


def test_a_pt2_file_needs_torch_alone(small):
    folder, model = small
    [(path, far)] = write_formats(folder, ["pt2"])
    assert (path, far) == (folder / "model.pt2", 0.0)
    rows = torch.linspace(-2, 2, 20).reshape(5, 4)
    done = subprocess.run([sys.executable, "-P", "-c", WITH_TORCH_ALONE, str(path)], input=json.dumps(rows.tolist()),
                          capture_output=True, text=True, check=True)  # fmt: skip
    with torch.no_grad():
        for n, answer in zip((1, 2, 5), json.loads(done.stdout), strict=True):
            assert torch.allclose(torch.tensor(answer), model(rows[:n]), atol=1e-6)


@pytest.mark.slow
def test_eight_bits_are_near_and_smaller(tmp_path):
    folder = tmp_path / "best"
    bundle_of(folder, Space(L.Sequential(L.Linear(64, one_of(256, 300)), L.ReLU(), L.LazyLinear(3))), (64,))
    [(_, exact), (_, coarse)] = write_formats(folder, ["onnx", "onnx-int8", "onnx"])
    assert exact < 1e-6 < coarse < 0.05
    card = (folder / "card.md").read_text()
    assert card.count(formats.HEADING) == 1
    assert f"- `model.int8.onnx`: outputs differ by {coarse:.1g} of the largest at most" in card
    write_formats(folder, ["pt2"])
    again = (folder / "card.md").read_text()
    assert again.startswith(card.rstrip())
    assert "- `model.pt2`: outputs differ by 0 of" in again
    assert (folder / "model.int8.onnx").stat().st_size < 0.4 * (folder / "model.onnx").stat().st_size
    assert not list(folder.glob(".format-*"))


def test_a_form_that_differs_gets_no_name(small, monkeypatch):
    folder, _ = small
    (folder / "model.pt2").unlink(missing_ok=True)

    def wrong(_model, _x, file):
        file.write_bytes(b"")
        return lambda x: x.sum(1, keepdim=True).repeat(1, 3)

    monkeypatch.setitem(formats._MAKERS, "pt2", wrong)
    with pytest.raises(StorageError, match=r"model.pt2 gives other outputs than the network \(difference"):
        write_formats(folder, ["pt2"])
    assert not (folder / "model.pt2").exists()
    monkeypatch.setitem(formats._MAKERS, "pt2", lambda _m, _x, _f: lambda x: x)
    with pytest.raises(StorageError, match=r"shape \(1, 4\) instead of \(1, 3\)"):
        write_formats(folder, ["pt2"])


def test_the_command_line_knows_the_same_forms():
    [option] = [p for p in export.params if p.name == "formats"]
    assert list(option.type.choices) == list(formats.FILES)


def test_what_cannot_be_written_is_said(small, monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="'tflite': choose from pt2, onnx, onnx-int8"):
        write_formats(small[0], ["tflite"])
    with pytest.raises(StorageError, match="no bundle"):
        write_formats(tmp_path, ["pt2"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'searchitect\[onnx\]'"):
        write_formats(small[0], ["onnx"])


class Moody(nn.Module):
    def forward(self, x):
        return x[:, :3] if float(x.sum()) > 0 else x[:, 1:4]


def test_a_network_that_no_graph_can_hold_is_said(tmp_path):
    space = Space(lazy(Moody)())
    bundle_of(tmp_path / "best", space, (4,))
    with pytest.raises(StorageError, match=r"torch\.export cannot follow this network"):
        write_formats(tmp_path / "best", ["pt2"], space)
