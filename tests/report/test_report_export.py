from __future__ import annotations

import csv
import math

import pytest
import report_fakes as fakes

from searchitect.errors import StorageError
from searchitect.records import Cause, Failure, State
from searchitect.report import export_csv


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_trial_is_a_line(tmp_path):
    trials = [
        fakes.trial(0, 0.1 + 0.2, loss=math.nan, decisions={"kernel": 3, "skip": True}),
        fakes.trial(1, None, decisions={"kernel": 5}),
        fakes.trial(2, 0.5, source=0, loss=-math.inf),
    ]
    folder = fakes.write(tmp_path / "s", fakes.meta(), trials)
    path = export_csv(folder, tmp_path / "t.csv")
    first, second, third = rows(path)
    assert float(first["metric:accuracy"]) == 0.1 + 0.2  # to the last bit
    assert (first["metric:loss"], third["metric:loss"]) == ("nan", "-inf")
    assert (first["decision:kernel"], first["decision:skip"], second["decision:skip"]) == ("3", "True", "")
    assert (second["state"], second["cause"], second["message"]) == (
        "failed",
        "not finite",
        "the loss is nan in epoch 1",
    )
    assert (third["source"], third["attempts"]) == ("0", "0")
    assert first["finished"] == "2026-09-21T14:13:30+00:00"
    assert (first["kind"], first["epochs"], first["number"]) == ("train", "5", "0")


EVIL = [
    "=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=2", "  =3", "\x1b[0m=4", "＝5", "\u200b=6", "%0A=1",
    "|x",
]  # fmt: skip


def test_formulas_are_made_text(tmp_path):
    trials = [
        fakes.trial(n, state=State.FAILED, decisions={evil: evil}, failure=Failure(Cause.USER_CODE, evil))
        for n, evil in enumerate(EVIL)
    ]
    found = rows(export_csv(fakes.write(tmp_path / "s", fakes.meta(), trials), tmp_path / "t.csv"))
    assert all(row["message"].startswith("'") for row in found)
    names = [name for name in found[0] if name.startswith("decision:")]
    assert len(names) == len(EVIL)
    assert all(row[name].startswith("'") for row, name in zip(found, names, strict=True))


def test_negative_numbers_stay_numbers(tmp_path):
    trials = [fakes.trial(0, 0.5, r2=-1.5, decisions={"shift": -3})]
    (row,) = rows(export_csv(fakes.write(tmp_path / "s", fakes.meta(), trials), tmp_path / "t.csv"))
    assert (row["metric:r2"], row["decision:shift"]) == ("-1.5", "-3")


def test_an_empty_study_has_a_header(tmp_path):
    path = export_csv(fakes.write(tmp_path / "s", fakes.meta(), []), tmp_path / "t.csv")
    assert path.read_text().startswith("number,state,kind,")
    assert rows(path) == []


def test_a_path_that_cannot_be_written(tmp_path):
    folder = fakes.write(tmp_path / "s", fakes.meta(), [])
    with pytest.raises(StorageError, match="cannot write into"):
        export_csv(folder, tmp_path / "nowhere" / "t.csv")
