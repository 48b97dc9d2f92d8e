"""Limits on a device, in whole studies: told while searching, measured before anything is returned."""

import json
import re

import pytest
import torch
from torch import nn

import searchitect.session.gauging as gauging
from searchitect import OUTPUTS, Space, Study, lazy, one_of, resume, search
from searchitect.errors import StudyFailedError, UsageError
from searchitect.hardware import LatencyTable, Line, Timing
from searchitect.hardware.predicting import operations
from searchitect.hardware.table import Entry
from searchitect.nets import Costs
from searchitect.session.gauging import device_metrics
from searchitect.session.preparing import Given, prepare
from searchitect.settings import from_mapping

L = lazy(nn)
WIDTHS = (4, 8, 16, 32, 64, 128)


def space():
    return Space(L.Sequential(
        L.Flatten(), L.LazyLinear(one_of(*WIDTHS, name="width")), L.ReLU(), one_of(L.Identity(), L.Dropout(0.1)),
        L.LazyLinear(OUTPUTS)))  # fmt: skip


def by_macs():
    """A millisecond for 1,000 macs: 64 features in and 10 classes out make 0.074 ms a unit of width."""
    one = space()
    costs = Costs(one, (1, 8, 8), 10)
    found = {o.name: o for a in one.enumerate() for o in operations(costs, a)}
    return LatencyTable((Entry(o.name, o.macs / 1e3) for o in found.values()), "a device")


def told(trial):
    return 0.074 * next(v for n, v in trial.architecture.decisions.items() if n.endswith("width"))


OPTIONS = {"epochs": 1, "workers": 1, "executor": "serial", "selftest": False, "strategy": "random", "threads": 1}


def notes(folder, kind):
    with Study(folder)._store() as store:
        return [note.body for note in store.notes(kind)]


def test_a_table_from_a_file_tells_limits_and_numbers_and_is_kept(tmp_path):
    table = by_macs().write(tmp_path / "device.csv")
    options = {**OPTIONS, "finalize": False, "latency_table": str(table), "objectives": ["accuracy", "latency_ms < 2"]}
    study = search(space(), "digits", trials=4, path=str(tmp_path / "run"), **options)
    for trial in study.trials:
        assert trial.value("latency_ms") == pytest.approx(told(trial))
        assert told(trial) < 2
    assert study.meta["hardware"]["latency_ms"]["operations"] == len(by_macs())
    table.unlink()  # what was read stays in the study
    again = resume(tmp_path / "run", trials=6)
    assert len(notes(tmp_path / "run", gauging.NOTE)) == 1
    assert all(t.value("latency_ms") < 2 for t in again.trials)
    assert len([t for t in again.trials if t.source is None]) == 6


def test_a_table_that_lacks_operations_is_refused_with_their_names(tmp_path):
    lacking = LatencyTable(e for e in by_macs().entries.values() if "out_features=32" not in e.operation)
    entries = [Entry(e.operation, e.ms) for e in lacking.entries.values()]  # without macs nothing is told from others
    path = LatencyTable(entries).write(tmp_path / "device.json")
    with pytest.raises(UsageError, match=r"lacks \d operations of this space, such as nn\.Linear.*out_features=32"):
        search(space(), "digits", trials=2, path=str(tmp_path / "run"), latency_table=str(path),
               objectives=["accuracy", "latency_ms < 9"], **OPTIONS)  # fmt: skip


def fake(monkeypatch, slower):
    """The table tells what macs say; measured, networks take `slower(ms)`."""
    monkeypatch.setattr(gauging, "measured_table", lambda *_, **__: (by_macs(), Line(error=0.02, networks=9)))

    def measured(models, *_, **__):
        widths = [next(m.out_features for m in model.modules() if isinstance(m, nn.Linear)) for model in models]
        times = [slower(0.074 * width) for width in widths]
        return [Timing(ms, 0.98 * ms, 1.02 * ms, 9) for ms in times]

    monkeypatch.setattr(gauging, "measured", measured)


def test_who_misses_the_limit_when_measured_is_replaced(tmp_path, monkeypatch):
    """Told, width 64 takes 4.7 ms and 32 takes 2.4; measured, all take twice as long: 64 would break the limit of 6."""
    fake(monkeypatch, lambda ms: 2 * ms)
    study = search(space(), "digits", trials=10, path=str(tmp_path / "run"), **OPTIONS | {"epochs": 3},
                   objectives=["accuracy", "latency_ms < 6"])  # fmt: skip
    widths = [round(told(t) / 0.074) for t in study.trials]
    assert 64 in widths
    assert 128 not in widths
    winner = study.meta["winner"]
    assert winner["latency_ms"] < 6
    assert winner["latency_ms"] == pytest.approx(2 * told(study.trials[winner["trial"]]))
    assert {f["architecture"]["1.width"] for f in study.meta["finalists"]} <= {4, 8, 16, 32}
    measured = notes(tmp_path / "run", "gauged")
    assert all(m["value"] == pytest.approx(2 * m["told"]) for m in measured)
    assert any(m["high"] >= 6 for m in measured)
    assert any("kept the limits as told, not when measured" in n["text"] for n in notes(tmp_path / "run", "finalize"))


def test_an_interval_that_reaches_over_the_limit_does_not_keep_it(tmp_path, monkeypatch):
    fake(monkeypatch, lambda ms: ms)
    study = search(space(), "digits", trials=8, path=str(tmp_path / "run"), **OPTIONS,
                   objectives=["accuracy", f"latency_ms < {1.01 * 0.074 * 64}"])  # fmt: skip
    assert any(told(t) > 4.5 for t in study.trials)  # told, width 64 keeps it
    assert study.meta["winner"]["latency_ms"] < 4


def test_where_nobody_keeps_the_limit_nothing_is_returned(tmp_path, monkeypatch):
    fake(monkeypatch, lambda ms: ms + 7)
    study = search(space(), "digits", trials=4, path=str(tmp_path / "run"), **OPTIONS,
                   objectives=["accuracy", "latency_ms < 5"])  # fmt: skip
    assert not study.meta.get("finalised")
    assert study.verdict is None
    assert not (tmp_path / "run" / "best").exists()
    (note,) = notes(tmp_path / "run", "finalize")
    assert re.search(r"latency_ms < 5: the nearest has 7\.\d.*not finalised: nobody keeps them", note["text"])


def test_a_bundle_that_is_not_finalised_keeps_the_limit_too(tmp_path, monkeypatch):
    fake(monkeypatch, lambda ms: ms + 7)
    search(space(), "digits", trials=2, path=str(tmp_path / "run"), **OPTIONS, finalize=False,
           objectives=["accuracy", "latency_ms < 5"])  # fmt: skip
    assert not (tmp_path / "run" / "best").exists()
    (note,) = notes(tmp_path / "run", "bundle")
    assert "measured alone, the best network does not keep latency_ms < 5" in note["text"]


def prepared(evaluate=None, **options):
    if evaluate is None:
        return prepare(from_mapping({"data": "digits", **options}), Given(space()))
    return prepare(from_mapping(options), Given(space(), evaluate=evaluate, sample=(1, 8, 8), outputs=10))


def test_a_function_that_tells_the_latency_itself_is_believed():
    def telling(model, trial):
        def inner():
            return {"score": 1.0, "latency_ms": 2.0}

        return inner()

    def silent(model, trial):
        return 1.0

    aims = ["max score", "latency_ms < 3"]
    assert device_metrics(prepared(telling, objectives=aims)) == []
    assert device_metrics(prepared(silent, objectives=aims)) == ["latency_ms"]
    assert device_metrics(prepared(silent, objectives=["max score"])) == []
    assert device_metrics(prepared(objectives=["accuracy", "latency_ms"])) == ["latency_ms"]


def test_a_function_of_the_users_searches_within_the_limit(tmp_path, monkeypatch):
    """Joon's: his own training, a limit on latency that he does not measure."""
    fake(monkeypatch, lambda ms: 1.2 * ms)

    def evaluate(model, trial):
        width = next(m.out_features for m in model.modules() if isinstance(m, nn.Linear))
        with torch.no_grad():
            next(model.parameters()).add_(1e-3)
        return {"f1": 1 - 1 / width}

    study = search(space(), evaluate=evaluate, sample=(1, 8, 8), outputs=10, objectives=["max f1", "latency_ms < 5"],
                   trials=8, path=str(tmp_path / "run"), **OPTIONS)  # fmt: skip
    assert all(t.value("latency_ms") == pytest.approx(told(t)) for t in study.trials)
    assert all(told(t) < 5 for t in study.trials)
    assert study.best.value("latency_ms") > 4.5  # width 64, as told
    assert study.meta["winner"]["latency_ms"] == pytest.approx(1.2 * 0.074 * 32)  # 64 takes 5.7 ms when measured


def test_energy_is_refused_where_there_is_no_counter(tmp_path, monkeypatch):
    monkeypatch.setattr("searchitect.hardware.energy.POWERCAP", tmp_path)
    with pytest.raises(UsageError, match=r"energy_mj: no counter can be read"):
        search(space(), "digits", trials=2, path=str(tmp_path / "run"), objectives=["accuracy", "energy_mj"], **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_measure_needs_the_objective_that_it_measures(tmp_path):
    with pytest.raises(UsageError, match="measures latency_ms, which is no objective"):
        search(space(), "digits", trials=2, path=str(tmp_path / "run"), measure=lambda path: 1.0, **OPTIONS)
    with pytest.raises(UsageError, match="measure: got int"):
        search(space(), "digits", trials=2, path=str(tmp_path / "run"), measure=3, **OPTIONS)


@pytest.mark.slow
def test_another_device_is_measured_by_the_users_function(tmp_path, monkeypatch):
    """A device that takes 3 ms and 0.02 a unit of width, reached by the path of an ONNX file."""
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(gauging, "NETWORKS", 2)
    monkeypatch.setattr(gauging, "measured_table", lambda *_, **__: (by_macs(), Line()))
    seen = []

    def device(path):
        graph = onnx.load(path).graph
        width = min(max(d for d in t.dims) for t in graph.initializer if len(t.dims) == 2 and 10 in t.dims)
        seen.append(width)
        return 0.05 * width

    study = search(space(), "digits", trials=2, path=str(tmp_path / "run"), measure=device,
                   objectives=["accuracy", "latency_ms < 3.5"], **OPTIONS)  # fmt: skip
    facts = study.meta["hardware"]["latency_ms"]
    assert facts["device"] == "yours (measure=)"
    assert len(seen) >= 3  # two for the line, then finalists
    assert study.meta["winner"]["latency_ms"] < 3.5
    assert json.dumps(facts)
    with pytest.raises(UsageError, match=r"measures by a function of yours.*measure="):
        resume(tmp_path / "run", trials=3, space=space())
    with pytest.raises(StudyFailedError, match="measure= returned nan"):
        search(space(), "digits", trials=1, path=str(tmp_path / "other"), measure=lambda _: float("nan"),
               objectives=["accuracy", "latency_ms"], **OPTIONS)  # fmt: skip
