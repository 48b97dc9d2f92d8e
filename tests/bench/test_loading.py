"""A stranger's table: the simple form, a full space, codes, curves, levels, holes, and what is refused."""

import contextlib
import json

import numpy as np
import pytest

from searchitect.bench import load_table
from searchitect.errors import ArchitectureError, DataError, SearchitectError, UsageError
from searchitect.records import Fidelity
from searchitect.testing.strategy import toy_space

DECISIONS = {"kernel": [1, 3, 5], "act": ["relu", "tanh"]}
COLUMNS = {"valid": {"direction": "max"}, "test": {"direction": "max", "unit": "%"}}


def written(folder, body, name="mine.npz", **arrays):
    path = folder / name
    np.savez(path, description=np.array(json.dumps({"format": 1, **body})), **arrays)
    return path


def simple(**more):
    return {"decisions": DECISIONS, "columns": COLUMNS, "signal": "valid", "score": "test", **more}


def arrays(rows=6):
    return {"valid": np.arange(rows, dtype=float), "test": 10 * np.arange(rows)}


def test_the_simple_form_in_the_order_of_enumeration(tmp_path):
    table = load_table(written(tmp_path, simple(about="toy"), **arrays()))
    assert (table.name, table.about, table.count, str(table.space.size)) == ("mine", "toy", 6, "6")
    for row, architecture in enumerate(table.space.enumerate()):
        assert table.row(architecture) == row
        assert table.measure(architecture) == {"valid": row}
    assert table.row(table.space.architecture({"kernel": 3, "act": "tanh"})) == 3
    assert table.optimum() == 50.0
    assert table.objectives()[0].direction == "max"
    assert not table.rows.holes


def test_rows_by_codes_with_holes(tmp_path):
    codes = np.array([[2, 1], [0, 0]])
    table = load_table(written(tmp_path, simple(rows="codes"), codes=codes, **arrays(2)))
    assert table.row(table.space.architecture({"kernel": 5, "act": "tanh"})) == 0
    assert table.row(table.space.architecture({"kernel": 1, "act": "relu"})) == 1
    absent = table.space.architecture({"kernel": 3, "act": "relu"})
    assert table.row(absent) == -1
    assert not table.feasible(absent)
    assert table.rows.holes
    with pytest.raises(ArchitectureError, match="no such architecture"):
        table.measure(absent)


def test_codes_in_another_order_of_decisions(tmp_path):
    body = simple(rows="codes", order=["act", "kernel"])
    table = load_table(written(tmp_path, body, codes=np.array([[1, 2], [0, 0]], dtype=np.int8), **arrays(2)))
    assert table.row(table.space.architecture({"kernel": 5, "act": "tanh"})) == 0


def test_a_grid_whose_architectures_share_rows(tmp_path):
    body = simple(rows="grid", order=["act", "kernel"], row_of="of")
    table = load_table(written(tmp_path, body, of=np.array([0, 1, -1, 1, 0, 0]), **arrays(2)))
    assert table.row(table.space.architecture({"kernel": 3, "act": "relu"})) == 1
    assert table.row(table.space.architecture({"kernel": 5, "act": "relu"})) == -1
    assert table.row(table.space.architecture({"kernel": 1, "act": "tanh"})) == 1


def test_a_conditional_space_in_both_forms(tmp_path):
    """Depth decides which kernels there are; codes have −1 for those that are not."""
    from searchitect.space import Layer, Space, one_of, repeat

    space = Space(
        Layer("toy.Net", {"blocks": repeat(lambda: Layer("toy.Conv", {"k": one_of(1, 3)}), 0, 2)}), name="deep"
    )
    body = {"space": json.loads(space.to_json()), "columns": COLUMNS, "signal": "valid", "score": "test"}
    everything = list(space.enumerate())
    assert len(everything) == 7
    table = load_table(written(tmp_path, body, **arrays(7)))
    assert [table.row(a) for a in everything] == list(range(7))
    names = [d.name for d in space.decisions]
    codes = [[space.by_name[n].position(a.decisions[n]) if n in a.decisions else -1 for n in names] for a in everything]
    again = load_table(written(tmp_path, {**body, "rows": "codes"}, "codes.npz", codes=np.array(codes), **arrays(7)))
    assert [again.row(a) for a in everything] == list(range(7))


def test_an_architecture_of_another_space_is_an_error(tmp_path):
    table = load_table(written(tmp_path, simple(), **arrays()))
    with pytest.raises(ArchitectureError, match="belongs to space"):
        table.row(toy_space().sample(0))


def test_curves_continue_and_share_out_the_time(tmp_path):
    columns = {
        "valid": {"direction": "max", "epochs": [1, 2, 4], "cost": {"column": "seconds", "factor": 0.5}},
        "test": {"direction": "max"}, "seconds": {"direction": "min", "unit": "s"},
    }  # fmt: skip
    body = simple(columns=columns)
    data = {"valid": np.arange(18.0).reshape(6, 3), "test": np.arange(6), "seconds": np.full(6, 80.0)}
    table = load_table(written(tmp_path, body, **data))
    reading = table.reading(table.objectives())
    assert [level.epochs for level in reading.levels] == [1, 2, 4]
    assert [level.seconds[0] for level in reading.levels] == [10.0, 20.0, 40.0]
    assert [level.values[0][1][1] for level in reading.levels] == [3.0, 4.0, 5.0]
    assert reading.continues
    assert reading.fidelity == Fidelity("table", 4)
    assert [reading.level(Fidelity("table", e)) for e in (0, 1, 2, 3, 4, 99)] == [2, 0, 1, 2, 2, 2]
    first = next(iter(table.space.enumerate()))
    assert table.measure(first, epochs=2) == {"valid": 1.0}
    data["seconds"] = np.cumsum(np.ones((6, 3)), axis=1)
    columns["seconds"]["epochs"] = [1, 2, 4]
    timed = load_table(written(tmp_path, body, "timed.npz", **data))
    assert [level.seconds[0] for level in timed.reading(timed.objectives()).levels] == [0.5, 1.0, 1.5]


def test_levels_are_columns_of_their_own_and_start_anew(tmp_path):
    columns = {
        "v5": {"direction": "max", "epochs": 5, "cost": 2.0}, "v50": {"direction": "max", "epochs": 50, "cost": 20.0},
        "valid": {"direction": "max", "levels": {"50": "v50", "5": "v5"}}, "test": {"direction": "max"},
        "size": {"direction": "min", "known": True},
    }  # fmt: skip
    data = {"v5": np.arange(6), "v50": np.arange(6) + 100, "test": np.arange(6), "size": np.arange(6)}
    table = load_table(written(tmp_path, simple(columns=columns), **data))
    reading = table.reading(table.objectives(["valid", "size < 4"]))
    assert [(level.epochs, level.seconds[3]) for level in reading.levels] == [(5, 2.0), (50, 20.0)]
    assert [{n: v[3] for n, v in level.values} for level in reading.levels] == [
        {"valid": 3, "size": 3},
        {"valid": 103, "size": 3},
    ]  # fmt: skip
    assert not reading.continues
    assert table.optimum(table.objectives(["valid", "size < 4"])) == 3.0


def test_without_a_cost_an_evaluation_counts_one(tmp_path):
    table = load_table(written(tmp_path, simple(), **arrays()))
    reading = table.reading(table.objectives())
    assert not reading.charged
    assert reading.levels[0].seconds == [1.0] * 6


def test_several_tables_in_one_file(tmp_path):
    body = {
        "decisions": DECISIONS, "columns": {"test": {"direction": "max"}}, "score": "test",
        "tables": {n: {"signal": n, "columns": {n: {"direction": "max"}}} for n in ("a", "b")},
    }  # fmt: skip
    path = written(tmp_path, body, a=np.arange(6), b=-np.arange(6), test=np.arange(6))
    table = load_table(f"{path}:b")
    assert (table.name, table.signal, list(table.columns)) == ("b", "b", ["test", "b"])
    with pytest.raises(DataError, match="several tables: write FILE"):
        load_table(path)


def test_the_score_is_hidden(tmp_path):
    table = load_table(written(tmp_path, simple(), **arrays()))
    for text in ("test", "max test", "test > 3"):
        with pytest.raises(UsageError, match="no strategy may see it"):
            table.objectives(["valid", text])
    with pytest.raises(UsageError, match="no column 'loss'; it has valid, test"):
        table.objectives(["min loss"])


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        ({"format": 2}, {}, "format 2"),
        ({"signal": "nothing"}, {}, "signal 'nothing' is none of the columns"),
        ({"columns": {"valid": {"direction": "up"}}}, {}, "direction must be 'max' or 'min'"),
        ({"columns": {"valid": {"direction": "max", "colour": 3}}}, {}, "must be an identifier"),
        ({"columns": {"a b": {"direction": "max"}}}, {}, "must be an identifier"),
        ({"columns": {**COLUMNS, "more": {"direction": "max"}}}, {}, "more"),
        ({}, {"valid": np.arange(5)}, "one number of rows"),
        ({}, {"valid": np.arange(5), "test": np.arange(5)}, "6 architectures, but there are 5 rows"),
        ({}, {"valid": np.array(["a"] * 6)}, "needs numbers"),
        ({}, {"valid": np.ones((6, 3))}, "3 values per row but 0 epochs"),
        ({"columns": {**COLUMNS, "valid": {"direction": "max", "epochs": [3, 2]}}}, {}, "ascend"),
        ({"columns": {**COLUMNS, "valid": {"direction": "max", "cost": -1}}}, {}, "above 0"),
        ({"columns": {**COLUMNS, "valid": {"direction": "max", "cost": {"column": "no"}}}}, {}, "refers to 'no'"),
        (
            {
                "columns": {
                    **COLUMNS,
                    "valid": {"direction": "max", "cost": {"column": "t"}},
                    "t": {"direction": "min", "epochs": [1, 2]},
                }
            },
            {"t": np.ones((6, 2))},
            "as many values",
        ),
        ({"decisions": {"a": []}}, {}, "lists of labels"),
        ({"decisions": [1]}, {}, "lists of labels"),
        ({"rows": "magic"}, {}, "write 'enumeration', 'grid' or 'codes'"),
        ({"rows": "codes"}, {}, "codes"),
        ({"rows": "codes"}, {"codes": np.zeros((6, 3), int)}, "6 rows × 2 decisions"),
        ({"rows": "codes"}, {"codes": np.full((6, 2), 7)}, "does not have"),
        ({"rows": "codes"}, {"codes": np.zeros((6, 2), int)}, "5 rows name an architecture"),
        ({"rows": "grid", "row_of": "of"}, {"of": np.array([0, 1])}, "needs 6 numbers"),
        ({"order": ["kernel"]}, {}, "must name all 2"),
        ({"order": ["kernel", "nope"]}, {}, "nope"),
        ({"space": {"format": 1}}, {}, "not a space file"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, change, data, message):
    path = written(tmp_path, simple(**change), **{**arrays(), **data})
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    np.savez(tmp_path / "json.npz", description=np.array("{not json"))
    np.savez(tmp_path / "list.npz", description=np.array("[1]"))
    for name in ("text", "empty", "other", "json", "list"):
        with pytest.raises(DataError, match=f"{name}.npz"):
            load_table(tmp_path / f"{name}.npz")
    with pytest.raises(DataError, match="no such file"):
        load_table(tmp_path / "nowhere.npz")
    with pytest.raises(UsageError, match="write one of nb201-cifar10"):
        load_table("nb202")


def test_pickles_in_a_file_are_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", description=np.array({"a": 1}, dtype=object))
    with pytest.raises(DataError):
        load_table(tmp_path / "evil.npz")


def test_a_real_number_among_the_decisions_is_refused(tmp_path):
    body = {"space": json.loads(toy_space().to_json()), "columns": COLUMNS, "signal": "valid", "score": "test"}
    with pytest.raises(DataError, match="real number"):
        load_table(written(tmp_path, body, **arrays()))


def test_random_bytes_never_crash(tmp_path):
    body = json.dumps({"format": 1, **simple()})
    draws = np.random.default_rng(0)
    for i in range(60):
        text = list(body)
        for place in draws.integers(0, len(text), 3):
            text[place] = chr(int(draws.integers(32, 127)))
        path = tmp_path / f"{i}.npz"
        np.savez(path, description=np.array("".join(text)), **arrays())
        with contextlib.suppress(SearchitectError):
            load_table(path)
