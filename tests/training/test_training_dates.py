"""Dates in frames and CSV files become days since the beginning of 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from searchitect.finalize import runtime
from searchitect.training.columns import days, frame_table, read_csv_features


@pytest.mark.parametrize("text", ["2024-02-29", "1969-12-31 06:00", "2001-09-09T01:46:40", "1970-01-01 00:00:00+02:00"])
def test_days_agree_with_the_clock_of_the_system(text):
    local = datetime.fromisoformat(text).replace(tzinfo=UTC)  # the zone is left out
    assert days(text) == pytest.approx(local.timestamp() / 86_400, abs=1e-9)


def test_columns_of_dates_in_each_form():
    frame = pd.DataFrame({
        "stamp": pd.to_datetime(["1970-01-02 00:00", "1970-01-03 12:00", None]),
        "zone": pd.to_datetime(["1970-01-02 00:00", "1970-01-03 12:00", None]).tz_localize("Europe/Berlin"),
        "text": ["1970-01-02", "1970-01-03T12:00", None],
        "object": [date(1970, 1, 2), datetime(1970, 1, 3, 12), None],
    })  # fmt: skip
    table = frame_table(frame, "X")
    assert table.names == ("stamp", "zone", "text", "object")
    for column in table.numeric.T:
        assert np.array_equal(column, [1.0, 2.5, np.nan], equal_nan=True)


def test_durations_become_seconds():
    table = frame_table(pd.DataFrame({"took": pd.to_timedelta([90, 0.5], unit="s")}), "X")
    assert table.numeric[:, 0].tolist() == [90.0, 0.5]


@pytest.mark.parametrize("cells", [["2024-03-31", "soon"], ["2024-13-31", "2024-01-01"], ["31.03.2024", "01.04.2024"]])
def test_text_that_is_not_all_dates_stays_text(cells):
    table = frame_table(pd.DataFrame({"when": cells}), "X")
    assert table.categorical[:, 0].tolist() == cells


def test_dates_in_a_csv_file(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("when,word\n1970-01-11,a\n,b\n1970-01-01 18:00,c\n")
    table = read_csv_features(path)
    assert table.names == ("when", "word")
    assert np.array_equal(table.numeric[:, 0], [10.0, np.nan, 0.75], equal_nan=True)


def test_a_bundle_reads_dates_as_training_did():
    for cell in ("2024-02-29 06:00", pd.Timestamp("2024-02-29 06:00"), datetime(2024, 2, 29, 6)):
        assert runtime._number(cell, "when") == days("2024-02-29 06:00")
    assert runtime._number("1,5", "n") == 1.5
    with pytest.raises(ValueError, match="'when' holds 'soon', which is neither a number nor a date"):
        runtime._number("soon", "when")
