"""Bundles: they run with torch alone, repeat the searched network, and opening one runs nothing."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from searchitect.errors import ArchitectureError, BuildError, StorageError, UsageError
from searchitect.evaluators.train import places
from searchitect.finalize import bundle, read_bundle, rebuild, run_bundle, write_bundle
from searchitect.finalize.verdict import compare
from searchitect.nets import build
from searchitect.seeds import derive
from searchitect.space import OUTPUTS, Space, lazy, one_of
from searchitect.spaces import (
    SPACES as READY,
)
from searchitect.spaces import (
    cnn,
    darts,
    ft_transformer,
    macro,
    mlp,
    mobilenet,
    nb101,
    nb201,
    resnet,
    rnn,
    tcn,
    transformer,
    vit,
)
from searchitect.spaces.around import space_around
from searchitect.training import Preprocess, Recipe, TrainData, fit
from searchitect.training.data import load
from searchitect.training.terms import Goal

L = lazy(nn)
TINY = Space(L.Sequential(L.Flatten(), L.LazyLinear(one_of(4, 8)), L.ReLU(), L.LazyLinear(OUTPUTS)), name="tiny")


class Columns(nn.Module):
    """A table's first column is a number of one of ten kinds, which has an embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kinds = nn.Embedding(10, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind = x[:, 0].long().clamp(0, 9)
        return torch.cat([self.kinds(kind), x[:, 1:]], dim=1)


def around():
    """A space around a network of somebody's."""

    def block(before):
        return nn.Conv2d(before, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()

    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)
    return space_around(nn.Sequential(*block(1), *block(16), *head), (1, 8, 8))


def columns():
    """A table with an embedding, in a class of the user's."""
    layers = lazy(Columns)(one_of(3, 5)), L.LazyLinear(one_of(8, 16)), L.ReLU(), L.LazyLinear(OUTPUTS)
    return Space(L.Sequential(*layers), name="columns")


SPACES = {
    "cnn": (lambda: cnn.space(12, width=4), (3, 12, 12)),
    "nb201": (lambda: nb201.space(cells=1, width=4), (1, 8, 8)),
    "nb101": (lambda: nb101.space(vertices=5, cells=1, width=6), (1, 8, 8)),
    "darts": (lambda: darts.space(width=4, cells=3), (1, 8, 8)),
    "macro": (lambda: macro.space(layers=3, width=4), (1, 8, 8)),
    "mobilenet": (lambda: mobilenet.space(width=4, depth=2), (1, 16, 16)),
    "transformer": (lambda: transformer.space(dims=(16, 32), depth=2), (1, 16, 16)),
    "mlp": (mlp.space, (7,)),
    "tcn": (lambda: tcn.space(20), (2, 20)),
    "ft_transformer": (lambda: ft_transformer.space(dims=(8,), depth=1), (5,)),
    "resnet": (lambda: resnet.space(widths=(8, 16), depth=1), (1, 8, 8)),
    "rnn": (lambda: rnn.space(length=12, widths=(8, 16)), (2, 12)),
    "vit": (lambda: vit.space(dims=(12, 24), depth=1), (1, 8, 8)),
    "sequences": (lambda: transformer.space(kind="sequence", patch=3, dims=(8, 16), depth=1), (2, 12)),
    "around": (around, (1, 8, 8)),
    "columns": (
        lambda: Space(
            L.Sequential(lazy(Columns)(one_of(3, 5)), L.LazyLinear(one_of(8, 16)), L.ReLU(), L.LazyLinear(OUTPUTS)),
            name="columns",
        ),
        (6,),
    ),
}
# Runs with Python and torch alone: whatever else is imported raises.
CLEAN = """
import importlib.util, json, sys
for hidden in ("searchitect", "safetensors", "sklearn", "scipy", "msgspec", "numpy"):
    sys.modules[hidden] = None
import torch, warnings
warnings.simplefilter("error")
answers = {}
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    rows = torch.linspace(-1, 1, 7).reshape(7, *[1] * len(model.SHAPE)) * torch.ones(7, *model.SHAPE)
    network = model.load()
    with torch.no_grad():
        outputs = [network(rows[:n]).tolist() for n in (1, 7)]
    answers[folder] = {"worst": model.selftest(), "outputs": outputs, "labels": model.predict(rows),
                       "shares": model.predict_proba(rows).tolist()}
print(json.dumps(answers))
"""


@pytest.fixture
def unchecked(monkeypatch):
    """Leaves out the self-test in a fresh interpreter, which takes seconds."""
    monkeypatch.setattr(bundle, "check_bundle", lambda *_, **__: [])


def trained(space, architecture, shape, outputs):
    """A network whose weights and running statistics are not those of a fresh one."""
    model = build(space, architecture, shape, outputs=outputs, seed=derive(5))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor * 0.9 + 0.05 * torch.rand(tensor.shape, generator=generator))
    return model


def figures(shape, **more):
    kind = {1: "table", 2: "sequence", 3: "image"}[len(shape)]
    base = {"kind": kind, "task": "classification", "sample": list(shape), "outputs": 3, "classes": ["a", "b", "c"]}
    if kind == "table":
        column = {"kind": "numeric", "keep": True, "median": 0, "mean": 0, "std": 1, "flag": False, "levels": []}
        return base | {"columns": [column | {"name": f"x{i}"} for i in range(shape[0])]} | more
    return base | {"mean": [0.0] * shape[0], "std": [1.0] * shape[0]} | more


def written(folder, space=TINY, shape=(1, 4, 4), seed=1, outputs=3, card=None, preprocess=None):
    architecture = space.sample(seed)
    model = trained(space, architecture, shape, outputs)
    result = write_bundle(
        folder, space=space, architecture=architecture, model=model, sample_shape=shape, outputs=outputs,
        preprocess=preprocess or figures(shape), card=card or {},
    )  # fmt: skip
    return model, result


def torch_alone(folder):
    """The Python of a virtual environment that has torch, what torch itself asks for, and nothing else."""
    venv.create(folder, with_pip=False, symlinks=True)
    place = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    found, wanted = set(), ["torch"]
    while wanted:
        name = wanted.pop()
        if name.lower() in found:
            continue
        found.add(name.lower())
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (place / top).exists():
                (place / top).symlink_to(distribution.locate_file(top))
        needs = [need for need in distribution.requires or () if "extra ==" not in need]
        wanted += [re.match(r"[\w.-]+", need)[0] for need in needs]
    return folder / "bin" / "python"


def clean_run(folders):
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-I", "-B", "-W", "ignore", "-c", CLEAN, *map(str, folders)],
                         capture_output=True, text=True, env=environment, cwd="/", timeout=240)  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_ready_space_is_tried():
    """But for gpt, which takes ids and answers at every place: see `tests/spaces/test_new_kinds_whole.py`."""
    assert set(READY) - set(SPACES) == {"gpt"}


@pytest.mark.slow
def test_random_architectures_of_every_space_run_with_torch_alone(tmp_path, unchecked):
    cases = {}
    for name, (make, shape) in SPACES.items():
        space = make()
        for seed in range(3):
            folder = tmp_path / f"{name}{seed}"
            cases[str(folder)] = written(folder, space, shape, seed)[0], shape
    answers = clean_run(cases)
    assert len(answers) == 3 * len(SPACES)
    for folder, (model, shape) in cases.items():
        rows = torch.linspace(-1, 1, 7).reshape(7, *[1] * len(shape)) * torch.ones(7, *shape)
        model.eval()
        with torch.no_grad():
            for n, found in zip((1, 7), answers[folder]["outputs"], strict=True):
                np.testing.assert_allclose(found, model(rows[:n]).numpy(), rtol=1e-5, atol=1e-6, err_msg=folder)
            shares = model(rows).softmax(1)
        assert answers[folder]["worst"] <= 1e-6
        assert answers[folder]["labels"] == ["abc"[i] for i in shares.argmax(1)]
        np.testing.assert_allclose(answers[folder]["shares"], shares.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a virtual environment of links")
def test_a_bundle_runs_in_a_virtual_environment_with_torch_alone(tmp_path, unchecked):
    """Not in this one with packages hidden, but where only requirements.txt is installed."""
    python = torch_alone(tmp_path / "venv")
    written(tmp_path / "best", SPACES["cnn"][0](), SPACES["cnn"][1])
    assert (tmp_path / "best" / "requirements.txt").read_text().split(">=")[0] == "torch"
    code = "import importlib.util as u; print([n for n in ('searchitect', 'safetensors', 'msgspec') if u.find_spec(n)])"
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    options = {"capture_output": True, "text": True, "timeout": 120, "env": environment, "cwd": "/", "check": True}
    asked = ["-c", code], [tmp_path / "best" / "model.py", "--selftest"]
    runs = [subprocess.run([python, *arguments], **options) for arguments in asked]
    assert runs[0].stdout == "[]\n"
    assert runs[1].stdout.startswith("ok (largest difference ")


def test_the_auxiliary_classifier_of_a_training_is_not_in_the_bundle(tmp_path, unchecked):
    space, shape = SPACES["darts"][0](), (1, 8, 8)
    model = build(space, space.sample(2), shape, outputs=3, seed=1)
    x = torch.randn(12, *shape, generator=torch.Generator().manual_seed(0))
    data = TrainData(x, torch.arange(12) % 3, None, None, "classification", 3)
    recipe = Recipe(auxiliary=0.4, drop_path=0.2, average="ema")
    fit(model, data, recipe, epochs=1, seed=0, goal=Goal(places=places(model)))
    write_bundle(tmp_path / "best", space=space, architecture=space.sample(2), model=model, sample_shape=shape,
                 outputs=3, preprocess=figures(shape), card={})  # fmt: skip
    module = run_bundle(tmp_path / "best", run_its_code=True)
    assert module.selftest() <= 1e-6
    with torch.no_grad():
        torch.testing.assert_close(module.load()(x), model.eval()(x), rtol=1e-5, atol=1e-6)
    assert not any("auxiliary" in name for name in read_bundle(tmp_path / "best").weights)


@pytest.mark.slow
def test_the_command_passes_and_notices_other_weights(tmp_path):
    _, result = written(tmp_path / "best")  # this one is checked while it is written
    assert result.notes == ()
    assert result.requirements == (f"torch>={torch.__version__.split('+')[0]}",)
    command = [sys.executable, "-I", str(tmp_path / "best" / "model.py"), "--selftest"]
    written(tmp_path / "other", seed=1, preprocess=figures((1, 4, 4)))
    weights = tmp_path / "best" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-200:] = bytes(200)
    weights.write_bytes(data)
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert "FAILED: outputs differ by" in run.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best", "other"], "no temporary folder stays"


def test_a_written_file_that_computes_something_else_is_never_handed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "_weights", lambda model: {n: t * 0 for n, t in model.state_dict().items()})
    with pytest.raises(RuntimeError, match="does not repeat the searched network"):
        written(tmp_path / "best")
    assert list(tmp_path.iterdir()) == []


def test_rebuild_needs_no_code_of_the_folder(tmp_path, unchecked):
    model, _ = written(tmp_path / "best")
    (tmp_path / "best" / "model.py").write_text("raise SystemExit('this must not run')")
    opened = read_bundle(tmp_path / "best")
    assert (opened.sample, opened.outputs) == ((1, 4, 4), 3)
    x = torch.linspace(0, 1, 32).reshape(2, 1, 4, 4)
    for space in (None, TINY):
        assert torch.equal(rebuild(opened, space)(x), model.eval()(x))
    with pytest.raises(UsageError, match="was not run"):
        run_bundle(tmp_path / "best", run_its_code=False)


def test_damaged_and_foreign_bundles_are_refused(tmp_path, unchecked):
    written(tmp_path / "best")
    with pytest.raises(ArchitectureError, match="belongs to space"):
        rebuild(read_bundle(tmp_path / "best"), SPACES["mlp"][0]())
    stored = tmp_path / "best" / "selftest.safetensors"
    data = bytearray(stored.read_bytes())
    data[-3:] = b"\x01\x02\x43"
    stored.write_bytes(data)
    with pytest.raises(StorageError, match="other outputs than stored"):
        rebuild(read_bundle(tmp_path / "best"))
    (tmp_path / "best" / "weights.safetensors").write_bytes(b"\xff" * 30)
    with pytest.raises(StorageError, match="cannot be read"):
        read_bundle(tmp_path / "best")
    with pytest.raises(StorageError, match=r"is no bundle: arch\.json is missing"):
        read_bundle(tmp_path)


def test_an_older_bundle_is_replaced_as_a_whole_and_nothing_else_is(tmp_path, unchecked, monkeypatch):
    place = tmp_path / "best"
    written(place, card={"name": "first"})
    (place / "left_over.txt").write_text("old")
    written(place, card={"name": "second"})
    assert not (place / "left_over.txt").exists()
    assert (place / "card.md").read_text().startswith("# second")
    monkeypatch.setattr(bundle, "card_text", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(place)
    assert (place / "card.md").read_text().startswith("# second"), "the old one stays until the new one is whole"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(StorageError, match="is no bundle"):
        written(mine)
    assert (mine / "thesis.tex").exists()


def test_a_replacement_that_was_cut_off_is_taken_back(tmp_path, unchecked):
    written(tmp_path / "best", card={"name": "first"})
    (tmp_path / "best").rename(tmp_path / ".best-replaced")  # killed between the two renames
    bundle._check_place(tmp_path / "best")
    assert (tmp_path / "best" / "card.md").read_text().startswith("# first")
    assert not (tmp_path / ".best-replaced").exists()


def test_model_py_is_readable_and_imports_torch_and_python_only(tmp_path, unchecked):
    written(tmp_path / "best", SPACES["cnn"][0](), (3, 12, 12), card={"name": 'Quote " and \\ break\nline'})
    text = (tmp_path / "best" / "model.py").read_text()
    imports = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imports <= {"torch"} | sys.stdlib_module_names
    assert "searchitect" not in text
    assert "    return nn.Sequential(\n        nn.Sequential(\n            nn.Conv2d(3, " in text
    assert "Lazy" not in text.split("def load()")[0]
    assert "noqa" not in text
    assert max(map(len, text.splitlines())) <= 125
    compile(text, "model.py", "exec")


def raw_images(r):
    return r.integers(0, 255, (40, 6, 6, 3)).astype(np.uint8), r.integers(0, 3, 40)


def raw_sequences(r):
    return r.normal(size=(40, 2, 30)) * 5 + 3, r.integers(0, 3, 40)


@pytest.mark.parametrize("make", [raw_images, raw_sequences])
def test_preprocessing_of_grids_is_the_trainings(tmp_path, unchecked, make):
    x, y = make(np.random.default_rng(1))
    raw = load((x, y))
    fixed = Preprocess.fit(raw, np.arange(30))
    written(tmp_path / "best", shape=raw.shape, preprocess=fixed.to_json())
    model = run_bundle(tmp_path / "best", run_its_code=True)
    expected = fixed.apply(raw.x)
    for given in (x, x.tolist(), torch.from_numpy(x), raw.x):
        assert torch.allclose(model.preprocess(given), expected, atol=1e-6)
    assert torch.allclose(model.preprocess(x[3]), expected[3:4], atol=1e-6)
    with torch.no_grad():
        assert model.predict(x) == fixed.decode_y(model.load()(expected)).tolist()
    with pytest.raises(ValueError, match="this network takes"):
        model.preprocess(x[:, :, :5])


CSV = "age;colour;income;flat\n" + "\n".join(
    f"{'' if i % 7 == 0 else f'{i},5'};{['red', 'blue', '?', 'green'][i % 4]};{1000 * i % 37};{i % 3 == 0}"
    for i in range(40)
)


def test_preprocessing_of_tables_with_gaps_and_categories_is_the_trainings(tmp_path, unchecked):
    file = tmp_path / "data.csv"
    file.write_text(CSV)
    raw = load(file, target="flat")
    fixed = Preprocess.fit(raw, np.arange(5, 35))
    assert any(c.flag for c in fixed.columns)
    assert any(c.kind == "categorical" for c in fixed.columns)
    written(tmp_path / "best", shape=fixed.sample, outputs=2, preprocess=fixed.to_json())
    model = run_bundle(tmp_path / "best", run_its_code=True)
    expected = fixed.apply(raw.x)
    rows = model._read_rows(file)
    assert torch.allclose(model.preprocess(rows), expected, atol=1e-6)
    lists = [[*n, *t] for n, t in zip(raw.x.numeric.tolist(), raw.x.categorical.tolist(), strict=True)]
    assert torch.allclose(model.preprocess(lists), expected, atol=1e-6)
    with torch.no_grad():
        assert model.predict(rows) == fixed.decode_y(model.load()(expected)).tolist()
    strange = dict(rows[1], colour="violet", age=None)
    assert torch.isfinite(model.preprocess([strange])).all()
    with pytest.raises(ValueError, match="row 0 lacks the column 'age'"):
        model.preprocess([{"colour": "red"}])
    with pytest.raises(ValueError, match="column 'income' holds 'much'"):
        model.preprocess([dict(rows[1], income="much")])


def test_numbers_come_back_in_the_users_units(tmp_path, unchecked):
    r = np.random.default_rng(2)
    raw = load((r.normal(size=(60, 5)), r.normal(size=60) * 40 + 1000))
    fixed = Preprocess.fit(raw, np.arange(50))
    written(tmp_path / "best", shape=(5,), outputs=1, preprocess=fixed.to_json())
    model = run_bundle(tmp_path / "best", run_its_code=True)
    with torch.no_grad():
        expected = fixed.decode_y(model.load()(fixed.apply(raw.x)))
    np.testing.assert_allclose(model.predict(raw.x.numeric), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="no probabilities"):
        model.predict_proba(raw.x.numeric)


def test_ready_inputs_are_taken_as_they_are_and_raw_outputs_given(tmp_path, unchecked):
    model, _ = written(tmp_path / "best", shape=(2, 4), preprocess={"kind": "none", "sample": [2, 4], "outputs": 3})
    module = run_bundle(tmp_path / "best", run_its_code=True)
    x = np.linspace(-1, 1, 24).reshape(3, 2, 4)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(x).float()).tolist()
    for given in (x, torch.from_numpy(x), x.tolist()):
        assert module.predict(given) == expected
    assert module.predict(x[0])[0] == pytest.approx(expected[0])
    with pytest.raises(ValueError, match=r"got an input of shape \(3, 4, 2\); this network takes \(N, 2, 4\)"):
        module.predict(x.transpose(0, 2, 1))  # other layouts are not guessed
    with pytest.raises(ValueError, match="what the outputs mean is not known here"):
        module.predict_proba(x)
    card = (tmp_path / "best" / "card.md").read_text()
    assert "A network for rows of shape (2, 4), found in the space “tiny”, trained and measured by a function" in card
    assert "model.predict(inputs)" in card
    assert "model.predict(rows)" not in card


class Two(nn.Module):
    def forward(self, x):
        return x, x


def test_a_network_with_several_outputs_is_refused_in_words(tmp_path, unchecked):
    with pytest.raises(UsageError, match="the network gives tuple, a bundle needs one tensor"):
        written(tmp_path / "best", Space(L.Sequential(lazy(Two)()), name="two"), shape=(4,))
    assert not (tmp_path / "best").exists()


@pytest.mark.slow
def test_rows_of_a_file_are_predicted_from_the_command_line(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("x0,x1\n1,2\n-3,0.5\n")
    written(tmp_path / "best", shape=(2,), preprocess=figures((2,)))
    run = subprocess.run([sys.executable, "-I", str(tmp_path / "best" / "model.py"), str(file)],
                         capture_output=True, text=True, timeout=120)  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == run_bundle(tmp_path / "best", run_its_code=True).predict([[1, 2], [-3, 0.5]])


def test_the_card_says_what_is_known_and_escapes_it(tmp_path, unchecked):
    r = np.random.default_rng(3).random((3, 500)) < 0.9
    verdict = compare(r, r[::-1] & True, metric="accuracy", direction="max")
    card = {"name": "a|b <i>", "verdict": verdict, "validation": {"accuracy": 0.913}, "params": 12345, "seed": 0,
            "data": {"source": "x_y.csv", "kind": "image", "splits": {"train": 5, "test": 3}}, "finalised": False,
            "notes": ["a note"], "license": "MIT"}  # fmt: skip
    written(tmp_path / "best", card=card)
    text = (tmp_path / "best" / "card.md").read_text()
    for part in (verdict.sentence[:11], "On 500 test items", "accuracy 91.3 %", "12,345", "x\\_y.csv",
                 "train 5, test 3", "**Not finalised**", "- a note", "License: MIT", "3 classes: a, b, c"):  # fmt: skip
        assert part in text, part
    import msgspec

    plain = dict(card, verdict=json.loads(msgspec.json.encode(verdict)))
    written(tmp_path / "best", card=plain)
    assert (tmp_path / "best" / "card.md").read_text() == text
    written(tmp_path / "best")
    assert "## Verdict" not in (tmp_path / "best" / "card.md").read_text()


USER = textwrap.dedent("""
    import sys
    import helper_of_mine_{n}
    from torch import nn
    from searchitect import search
    from searchitect.nets import Residual
    from helper_{n} import twice

    STEPS: dict[str, int] = {{"short": 1}}
    UNUSED = open("/nowhere") if False else None

    def base(width):
        return nn.Linear(width, twice(width) // 2)

    @staticmethod
    def not_needed(): ...

    class Deep(nn.Module):
        def __init__(self, width, steps="short"):
            super().__init__()
            self.body = Residual(nn.Sequential(*[base(width) for _ in range(STEPS[steps])]))

        def forward(self, x):
            return self.body(x).relu()

    if __name__ == "__main__":
        search("this must never run")
""")


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """A file of the user's that imports another one and has more in it than the class needs."""
    n = abs(hash(str(tmp_path))) % 10**8
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"helper_{n}.py").write_text("FACTOR = 2\n\ndef twice(x):\n    return FACTOR * x\n")
    (tmp_path / f"helper_of_mine_{n}.py").write_text("")
    (tmp_path / f"mine_{n}.py").write_text(USER.format(n=n).replace("from searchitect import search", "search = None"))
    module = __import__(f"mine_{n}")
    yield module
    for name in (f"mine_{n}", f"helper_{n}", f"helper_of_mine_{n}"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_users_own_classes_are_copied_with_what_they_need(tmp_path, user_module):
    space = Space(L.Sequential(L.Flatten(), lazy(user_module.Deep)(one_of(16)), L.LazyLinear(OUTPUTS)))
    model, result = written(tmp_path / "best", space)
    assert result.notes == ()
    assert result.user_classes == (f"{user_module.__name__}.Deep",)
    text = (tmp_path / "best" / "user_code.py").read_text()
    for part in ("class Deep", "def base", "def twice", "FACTOR = 2", "class Residual", "STEPS"):
        assert part in text, part
    for part in ("not_needed", "__main__", "helper", "UNUSED", "import sys"):
        assert part not in text.split('"""')[2], part
    answer = clean_run([tmp_path / "best"])[str(tmp_path / "best")]
    rows = torch.linspace(-1, 1, 7).reshape(7, 1, 1, 1) * torch.ones(7, 1, 4, 4)
    with torch.no_grad():
        np.testing.assert_allclose(answer["outputs"][1], model.eval()(rows).numpy(), atol=1e-6)
    with pytest.raises(BuildError, match="class of your own must be brought along"):
        rebuild(read_bundle(tmp_path / "best"))
    assert torch.equal(rebuild(read_bundle(tmp_path / "best"), space)(rows), model(rows))


@pytest.mark.slow
def test_a_class_without_source_is_said_and_the_rest_is_written(tmp_path):
    scope = {"nn": nn, "__name__": "__main__"}
    code = "class Typed(nn.Module):\n    def forward(self, x):\n        return x.relu()\n"
    exec(compile(code, "<stdin>", "exec"), scope)
    space = Space(L.Sequential(L.Flatten(), lazy(scope["Typed"])(), L.LazyLinear(OUTPUTS)))
    _, result = written(tmp_path / "best", space)
    assert any("the source of __main__.Typed was not found" in note for note in result.notes)
    assert any("selftest does not pass yet" in note for note in result.notes)
    assert "the source of" in (tmp_path / "best" / "card.md").read_text()
    (tmp_path / "best" / "user_code.py").write_text("from torch import nn\n" + code)  # what the note asks for
    assert run_bundle(tmp_path / "best", run_its_code=True).selftest() <= 1e-6


@pytest.mark.slow
def test_a_class_made_in_a_function_is_copied_without_space_json(tmp_path):
    class Inner(nn.Module):
        def forward(self, x):
            return np.pi * x

    space = Space(L.Sequential(L.Flatten(), lazy(Inner)(), L.LazyLinear(OUTPUTS)))
    _, result = written(tmp_path / "best", space)
    assert result.notes == ()
    assert result.requirements[1] == f"numpy=={np.__version__}"
    assert not (tmp_path / "best" / "space.json").exists()
    with pytest.raises(StorageError, match=r"holds no space\.json"):
        rebuild(read_bundle(tmp_path / "best"))


SCRIPT = """
import sys
import torch
from torch import nn
from searchitect import Space, lazy, one_of
from searchitect.space import OUTPUTS
from searchitect.finalize import write_bundle
from searchitect.nets import build

class Scaled(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(float(by)))

    def forward(self, x):
        return self.by * x

print("the script runs")
L = lazy(nn)
space = Space(L.Sequential(L.Flatten(), lazy(Scaled)(one_of(2, 3)), L.LazyLinear(OUTPUTS)))
architecture = space.sample(0)
model = build(space, architecture, (4,), outputs=2)
made = write_bundle(sys.argv[1], space=space, architecture=architecture, model=model, sample_shape=(4,), outputs=2,
                    preprocess={"kind": "sequence", "task": "classification"}, card={})
print(made.notes, made.user_classes)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["file", "standard input"])
def test_a_script_is_never_run_again_by_its_bundle(tmp_path, how):
    (tmp_path / "search.py").write_text(SCRIPT)
    place = str(tmp_path / "best")
    arguments, typed = ([str(tmp_path / "search.py"), place], "") if how == "file" else (["-", place], SCRIPT)
    run = subprocess.run([sys.executable, *arguments], input=typed, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    if how == "file":
        assert run.stdout == "the script runs\n() ('__main__.Scaled',)\n"
        text = (tmp_path / "best" / "user_code.py").read_text()
        assert "write_bundle" not in text
        assert "print" not in text
    else:
        assert "put it into user_code.py before model.py can run" in run.stdout


def test_the_model_is_left_as_it_was(tmp_path, unchecked):
    architecture = TINY.sample(2)
    model = trained(TINY, architecture, (4,), 3).train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    write_bundle(tmp_path / "b", space=TINY, architecture=architecture, model=model, sample_shape=(4,), outputs=3,
                 preprocess=figures((4,)), card={})  # fmt: skip
    assert model.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
