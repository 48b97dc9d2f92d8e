"""The later spaces from the search to the files that others read, briefly."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from searchitect import check, search
from searchitect.finalize import read_bundle, rebuild, run_bundle, write_bundle, write_formats
from searchitect.nets import build
from searchitect.spaces import load_space
from searchitect.training import Preprocess

CASES = {
    "text": ({"kind": "text", "vocabulary": 9, "length": 6, "dims": (4, 8), "depth": 2}, (6,)),
    "gpt": ({"vocabulary": 9, "length": 6, "dims": (4, 8), "depth": 2}, (6,)),
    "resnet": ({"widths": (4, 8), "depth": 2}, (3, 8, 8)),
    "vit": ({"dims": (12, 24), "depth": 2}, (3, 8, 8)),
    "ft_transformer": ({"dims": (4, 8), "depth": 2}, (5,)),
    "rnn": ({"length": 6, "widths": (4, 8)}, (2, 6)),
}


def make(name):
    options, shape = CASES[name]
    return load_space("transformer" if name == "text" else name, **options), shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text", "gpt", "ft_transformer", "rnn"])  # the others have blocks of older spaces
def test_every_form_repeats_the_network(name, tmp_path):
    space, shape = make(name)
    architecture = space.sample(5)
    model = build(space, architecture, shape, outputs=3, seed=1).eval()
    write_bundle(tmp_path / "b", space=space, architecture=architecture, model=model, sample_shape=shape, outputs=3,
                 preprocess={"kind": "none"}, card={}, check=False)  # fmt: skip
    assert all(far <= 1e-5 for _, far in write_formats(tmp_path / "b", ("pt2", "onnx"), space))
    own = run_bundle(tmp_path / "b", run_its_code=True).load()
    session = onnxruntime.InferenceSession(str(tmp_path / "b" / "model.onnx"), providers=["CPUExecutionProvider"])
    x = (torch.arange(7 * int(np.prod(shape))) % 9).float().reshape(7, *shape)
    x[:, ..., -2:] = 0  # padding, where that is something
    with torch.no_grad():
        wanted = rebuild(read_bundle(tmp_path / "b"), space)(x)
        assert torch.allclose(own(x), wanted, atol=1e-5)
    assert np.allclose(session.run(None, {"x": x.numpy()})[0], wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_linter_finds_nothing_that_cannot_be_built_or_does_nothing(name):
    space, shape = make(name)
    found = check(space, shape, samples=24, timed=False)
    assert found.invalid.count == 0
    assert found.choices.dead == found.choices.twins == found.choices.never == []
    assert (found.supernet is None) == (name == "rnn")


@pytest.mark.slow
def test_a_text_search_leaves_a_bundle_that_reads_lists(tmp_path):
    rows = [[1 + i % 3] * (1 + i % 4) + [4 if i % 2 else 7] for i in range(60)]
    study = search(data=(rows, np.arange(60) % 2), path=tmp_path / "s", trials=2, epochs=2, executor="serial", seed=0)
    assert study.meta["space"]["name"] == "transformer"
    kept = Preprocess.from_json(json.loads((tmp_path / "s" / "best" / "preprocess.json").read_text()))
    x = kept.apply(kept.read(rows[:3]))
    assert x.shape == (3, 5)
    model = rebuild(read_bundle(tmp_path / "s" / "best"), None)
    assert set(kept.decode_y(model(x)).tolist()) <= {"0", "1"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "resnet", "vit", "ft_transformer", "rnn"])
def test_a_short_search(name, tmp_path):
    _, shape = CASES[name]
    with_seed = np.random.default_rng(0)
    data = (with_seed.normal(size=(40, *shape)).astype(np.float32), np.arange(40) % 2)
    more = {} if name != "gpt" else {"layout": "S:6", "data": np.arange(300) % 9}
    study = search(make(name)[0], **({"data": data} | more), path=tmp_path / "s", trials=2, epochs=1,
                   executor="serial", seed=0, finalize=False)  # fmt: skip
    assert study.summary()["trials"]["done"] == 2
    assert study.meta["space"]["name"] == name
