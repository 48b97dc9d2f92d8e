"""export and predict: tables of trials, copies of bundles, and predictions of a real bundle."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from cli_studies import failed, trial, write_study
from click.testing import CliRunner

from searchitect.cli.app import app
from searchitect.cli.predicting import as_csv, predictions, read_rows
from searchitect.errors import DataError
from searchitect.space import Space


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "s", [trial(0, 0.8), trial(1, float("nan")), failed(2, "=cmd()")])


def test_trials_as_csv(study, tmp_path):
    result = run("export", study, "--trials", tmp_path / "t.csv")
    assert result.exit_code == 0, result.stderr
    assert "wrote 3 trials" in result.output
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [r["number"] for r in rows] == ["0", "1", "2"]
    assert [r["metric:accuracy"] for r in rows] == ["0.8", "nan", ""]
    assert rows[2]["message"] == "'=cmd()"


def test_trials_as_json_lines(study, tmp_path):
    assert run("export", study, "--trials", tmp_path / "t.jsonl").exit_code == 0
    found = [json.loads(text) for text in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [t["state"] for t in found] == ["done", "done", "failed"]
    assert found[1]["measurement"]["metrics"]["accuracy"] == "nan"
    assert found[0]["proposal"]["architecture"]["decisions"] == {"depth": 1, "kernel": 3}


def test_trials_in_an_unknown_form(study, tmp_path):
    result = run("export", study, "--trials", tmp_path / "t.xlsx")
    assert result.exit_code == 2
    assert ".csv or .jsonl" in " ".join(result.stderr.split())


def test_another_form_needs_a_folder(study):
    result = run("export", study, "--format", "pt2")
    assert result.exit_code == 2
    assert "--format pt2: name the folder to export to" in result.stderr


def test_nothing_to_export_is_wrong_usage(study):
    result = run("export", study)
    assert result.exit_code == 2
    assert "--trials FILE.csv" in " ".join(result.stderr.split())


def test_the_bundle_is_copied_once(study, tmp_path):
    assert run("export", study, tmp_path / "out").exit_code == 4
    (study / "best").mkdir()
    (study / "best" / "model.py").write_text("x = 1\n")
    result = run("export", study, tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "model.py").read_text() == "x = 1\n"
    assert f"searchitect predict {tmp_path / 'out'} DATA" in result.output
    again = run("export", study, tmp_path / "out")
    assert again.exit_code == 4
    assert "not empty" in again.stderr


@pytest.fixture(scope="module")
def iris_bundle(tmp_path_factory):
    """A bundle for iris, untrained: (folder, its predictions on the raw rows)."""
    from searchitect.finalize.bundle import write_bundle
    from searchitect.nets import build
    from searchitect.spaces import load_space
    from searchitect.training import load
    from searchitect.training.preprocess import Preprocess

    raw = load("iris")
    figures = Preprocess.fit(raw, np.arange(len(raw)))
    space = load_space("mlp")
    architecture = space.sample(0)
    model = build(space, architecture, figures.sample, outputs=3)
    folder = tmp_path_factory.mktemp("bundles") / "best"
    write_bundle(
        folder, space=space, architecture=architecture, model=model, sample_shape=figures.sample, outputs=3,
        preprocess=figures.to_json(), card={"name": "iris"},
    )  # fmt: skip
    from searchitect.training.meters import predict

    return folder, figures.decode_y(predict(model, figures.apply(raw.x))).tolist()


def test_predictions_equal_the_network(iris_bundle, tmp_path):
    folder, expected = iris_bundle
    result = run("predict", folder, "iris")
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.output)))
    assert [r["prediction"] for r in rows] == expected
    assert [r["row"] for r in rows] == [str(i) for i in range(150)]
    assert all(1 / 3 <= float(r["share"]) <= 1 for r in rows)
    found = json.loads(run("predict", folder, "iris", "--json").output)
    assert [f["prediction"] for f in found] == expected
    out = tmp_path / "p.csv"
    assert "wrote 150 predictions" in run("predict", folder, "iris", "--out", out).output
    assert out.read_text() == result.output


def test_the_code_of_a_bundle_is_only_run_on_request(iris_bundle, tmp_path):
    folder, expected = iris_bundle
    evil, canary = tmp_path / "evil", tmp_path / "canary"
    shutil.copytree(folder, evil)
    source = (evil / "model.py").read_text().replace("from __future__", "# from __future__")
    (evil / "model.py").write_text(
        f"open({str(canary)!r}, 'w').close()\n{source.replace('from __future__', '# from __future__')}"
    )
    found = json.loads(run("predict", evil, "iris", "--json").output)
    assert [f["prediction"] for f in found] == expected
    assert not canary.exists()
    again = json.loads(run("predict", evil, "iris", "--json", "--run-code").output)
    assert [f["prediction"] for f in again] == expected
    assert canary.exists()


def test_a_network_with_classes_of_its_authors_says_what_to_do(iris_bundle, tmp_path):
    shutil.copytree(iris_bundle[0], tmp_path / "own")
    definition = (tmp_path / "own" / "space.json").read_text().replace("torch.nn.Sequential", "mine.Sequential")
    (tmp_path / "own" / "space.json").write_text(definition)
    chosen = json.loads((tmp_path / "own" / "arch.json").read_text())
    chosen["space"] = Space.from_json(definition).fingerprint
    (tmp_path / "own" / "arch.json").write_text(json.dumps(chosen))
    result = run("predict", tmp_path / "own", "iris")
    assert result.exit_code == 2, result.stderr
    assert "--run-code" in result.stderr


def test_a_csv_file_with_other_columns_around(iris_bundle, tmp_path):
    from sklearn.datasets import load_iris

    folder, expected = iris_bundle
    data = load_iris()
    names = ["species", *reversed(data.feature_names)]
    lines = [";".join(names), *(";".join(["?", *map(str, row[::-1])]) for row in data.data[:40]), ""]
    (tmp_path / "new.csv").write_text("\ufeff" + "\n".join(lines))
    result = run("predict", folder, tmp_path / "new.csv", "--json")
    assert [f["prediction"] for f in json.loads(result.output)] == expected[:40]


def test_rows_that_do_not_fit_are_code_3(iris_bundle, tmp_path):
    folder, _ = iris_bundle
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    result = run("predict", folder, tmp_path / "a.csv")
    assert result.exit_code == 3
    assert "lacks the column" in result.stderr
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 9)))
    assert run("predict", folder, tmp_path / "x.npz").exit_code == 3
    assert run("predict", folder, tmp_path / "none.csv").exit_code == 3
    assert run("predict", folder, "nothing-known").exit_code == 3


def test_a_study_stands_for_its_bundle(iris_bundle, study):
    folder, expected = iris_bundle
    result = run("predict", study, "iris")
    assert result.exit_code == 4
    assert "searchitect resume" in result.stderr
    (study / "best").symlink_to(folder)
    assert [f["prediction"] for f in json.loads(run("predict", study, "iris", "--json").output)] == expected


def test_no_bundle_is_code_4(tmp_path):
    result = run("predict", tmp_path, "iris")
    assert result.exit_code == 4
    assert "searchitect export STUDY" in result.stderr


def test_arrays_of_npz_files(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.ones((2, 3)), y=np.zeros(2))
    assert read_rows(str(path), None).shape == (2, 3)
    np.savez(path, x_train=np.ones((2, 3)), x_test=np.ones((4, 3)))
    assert read_rows(str(path), None).shape == (4, 3)
    np.savez(path, x_a=np.ones(2), x_b=np.ones(2))
    with pytest.raises(DataError, match="expected one x"):
        read_rows(str(path), None)
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="pickled"):
        read_rows(str(path), None)
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match="cannot be opened"):
        read_rows(str(path), None)


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b\n,\n"])
def test_csv_files_without_rows(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match="no rows"):
        read_rows(str(tmp_path / "a.csv"), None)


def test_numbers_stay_numbers_and_text_is_no_formula():
    class Network:
        def __init__(self, labels):
            self.labels = labels

        def predict(self, rows):
            return self.labels

        def predict_proba(self, rows):
            import torch

            return torch.tensor([[0.25, 0.75]] * len(self.labels))

    assert as_csv(predictions(Network([-1.5, 2.0]), None)) == "row,prediction\n0,-1.5\n1,2.0\n"
    assert as_csv(predictions(Network([[1.0, 2.0]]), None)) == 'row,prediction\n0,"[1.0, 2.0]"\n'
    assert as_csv(predictions(Network(["=cmd()"]), None)) == "row,prediction,share\n0,'=cmd(),0.75\n"
    assert as_csv([]) == "row,prediction\n"
