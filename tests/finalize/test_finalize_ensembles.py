"""Ensembles: the mean of probabilities by hand, and a bundle that holds every member."""

import json

import numpy as np
import pytest
import torch
from test_finalize_bundle import SPACES, TINY, figures, trained, unchecked
from torch import nn

from searchitect.cli.predicting import network
from searchitect.errors import StorageError
from searchitect.finalize import read_bundle, rebuild, run_bundle, write_bundle, write_formats
from searchitect.nets import Ensemble

__all__ = ["unchecked"]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def written(folder, space, shape, seeds=(1, 2, 3), outputs=3, preprocess=None, card=None):
    architectures = [space.sample(seed) for seed in seeds]
    preprocess = preprocess or figures(shape)
    networks = [trained(space, one, shape, outputs).eval() for one in architectures]
    model = Ensemble(*networks, classes=preprocess.get("task") == "classification")
    result = write_bundle(
        folder, space=space, architecture=architectures, model=model, sample_shape=shape, outputs=outputs,
        preprocess=preprocess, card=card or {},
    )  # fmt: skip
    return networks, result


def test_the_softmax_of_its_output_is_the_mean_probability():
    members = [nn.Linear(4, 3), nn.Linear(4, 3)]
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)) * 20
    with torch.no_grad():
        each = np.stack([m(x).numpy().astype(float) for m in members])
        found = Ensemble(*members)(x)
        assert torch.equal(Ensemble(*members, classes=False)(x), (members[0](x) + members[1](x)) / 2)
        one = Ensemble(members[0])(x)
    np.testing.assert_allclose(softmax(found.numpy()), softmax(each).mean(0), atol=1e-6)
    np.testing.assert_allclose(np.exp(found.numpy()).sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(softmax(one.numpy()), softmax(each[0]), atol=1e-6)
    assert torch.isfinite(Ensemble(*members)(x * 1e4)).all()
    with pytest.raises(ValueError, match="at least one network"):
        Ensemble()


def test_a_bundle_holds_all_members_and_predicts_by_their_mean(tmp_path, unchecked):
    space, shape = SPACES["cnn"][0](), SPACES["cnn"][1]
    networks, _ = written(tmp_path / "best", space, shape)
    opened = read_bundle(tmp_path / "best")
    assert opened.members == tuple(space.sample(seed) for seed in (1, 2, 3))
    assert opened.architecture == opened.members[0], "arch.json names the winner, for --start"
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = torch.stack([n(x).softmax(1) for n in networks]).mean(0)
        text = (tmp_path / "best" / "model.py").read_text()
        assert text.count("class Ensemble") == 1
        assert "    return Ensemble(\n        nn.Sequential(" in text
        assert "searchitect" not in text
        module = run_bundle(tmp_path / "best", run_its_code=True)
        assert module.selftest() <= 1e-6
        torch.testing.assert_close(module.predict_proba(x), expected, atol=1e-5, rtol=1e-5)
        for rebuilt in (rebuild(opened), rebuild(opened, space)):
            torch.testing.assert_close(rebuilt(x).softmax(1), expected, atol=1e-5, rtol=1e-5)
    assert network(tmp_path / "best", run_code=False).predict(x) == ["abc"[i] for i in expected.argmax(1)]
    drawn = (tmp_path / "best" / "card.md").read_text().split("## The network")[1].split("```")[1]
    assert drawn.count("AdaptiveAvgPool2d") == 3


def test_numbers_are_averaged_as_numbers(tmp_path, unchecked):
    facts = figures((4,), task="regression", classes=None, y_mean=[10.0], y_std=[2.0])
    networks, _ = written(tmp_path / "best", TINY, (4,), outputs=1, preprocess=facts)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = 10 + 2 * torch.stack([n(x)[:, 0].double() for n in networks]).mean(0)
    module = run_bundle(tmp_path / "best", run_its_code=True)
    np.testing.assert_allclose(module.predict(x), expected, rtol=1e-6)
    assert "classes=False" in (tmp_path / "best" / "model.py").read_text()
    assert rebuild(read_bundle(tmp_path / "best")).classes is False


def test_a_damaged_list_of_members_is_refused(tmp_path, unchecked):
    written(tmp_path / "best", TINY, (4,))
    file = tmp_path / "best" / "members.json"
    whole = json.loads(file.read_text())
    for wrong in ([], {"classes": True}, {"classes": True, "members": [3]}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(StorageError, match="cannot be read"):
            read_bundle(tmp_path / "best")
    file.write_text(json.dumps(whole | {"members": whole["members"][:2]}))
    with pytest.raises(StorageError, match="do not fit the architecture"):
        rebuild(read_bundle(tmp_path / "best"))


@pytest.mark.slow
def test_an_ensemble_has_other_forms_too(tmp_path, unchecked):
    written(tmp_path / "best", TINY, (4,), seeds=(4, 5))
    forms = write_formats(tmp_path / "best", ["pt2", "onnx"])
    assert [path.name for path, _ in forms] == ["model.pt2", "model.onnx"]
    assert all(far <= 1e-5 for _, far in forms)
