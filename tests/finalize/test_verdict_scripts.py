"""The measurements behind docs/verdict.md, on a small scale."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("verdict_pipeline", "verdict_real"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_studies_of_equal_architectures_are_rarely_told_apart():
    """Of 90 studies at 5 per cent more than 12 come once in 2,000 times; a baseline among the finalists is kept."""
    from verdict_pipeline import study

    given = Counter(study(360, 0.004, 3, i) for i in range(90))
    assert given["better"] + given["worse"] <= 12
    assert given["kept"] == 0
    finalist = Counter(study(360, 0.004, 3, i, own_baseline=False) for i in range(30))
    assert finalist["kept"] > 13
    assert study(360, 0.004, 3, 7) == study(360, 0.004, 3, 7)


@pytest.mark.slow
def test_a_network_against_itself_is_really_trained_with_seeds_of_its_own():
    from verdict_real import comparison, raw_of

    row = comparison(raw_of("digits"), "digits", 3, epochs=1)
    assert len(set(row["winner"] + row["baseline"])) >= 4, "other seeds, other scores"
    assert row["low"] < row["difference"] < row["high"]
    assert row["difference"] == pytest.approx(sum(row["winner"]) / 3 - sum(row["baseline"]) / 3)


def test_what_was_compared_is_not_compared_again(tmp_path, monkeypatch, capsys):
    import verdict_real

    calls = []

    def made_up(raw, name, number):
        calls.append(number)
        row = {"data": name, "number": number, "words": "better" if number == 5 else "cannot tell"}
        return row | {"winner": [0.9], "baseline": [0.8], "cpu_seconds": 1.0}

    monkeypatch.setattr(verdict_real, "comparison", made_up)
    monkeypatch.delenv("SEARCHITECT_DATA", raising=False)
    file = tmp_path / "real.jsonl"
    verdict_real.main(str(file))
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:30]) + "\n")
    verdict_real.main(str(file))
    assert calls == [*range(40), *range(30, 40)]
    assert [json.loads(line)["number"] for line in file.read_text().splitlines()] == list(range(40))
    assert "1 of 40 say better or worse" in capsys.readouterr().out


def test_the_figures_in_the_docs_are_those_of_the_file():
    rows = [json.loads(line) for line in (BENCHMARKS / "verdict-real.jsonl").read_text().splitlines()]
    words = Counter(row["words"] for row in rows)
    assert words == {"cannot tell": 37, "better": 2, "worse": 1}
    text = (BENCHMARKS.parent / "docs" / "verdict.md").read_text()
    assert '37 times "cannot tell", twice "better", once "worse"' in " ".join(text.split())
