"""The shipped tables against what their papers and other sources say of them."""

import itertools

import numpy as np
import pytest

from searchitect.bench import TABLES, load_table
from searchitect.bench.nb201_strings import unique_string
from searchitect.spaces import nb201

EDGES = ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")
ROWS = {"nb201": 15_625, "macro": 6_561, "transnas": 4_096, "graph": 26_206, "fcnet": 62_208}


def cell(text):
    """A cell of NAS-Bench-201 from its published string."""
    parts = [edge for node in text.split("+") for edge in node.strip("|").split("|")]
    return {EDGES[i]: part.partition("~")[0] for i, part in enumerate(parts)}


def numbers(table, decisions):
    row = table.row(table.space.architecture(decisions))
    return {name: float(c.values[row]) for name, c in table.columns.items()}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_whole(name):
    table = load_table(name)
    assert table.count == ROWS[name.partition("-")[0]]
    assert table.space.size.finite == (59_049 if name.startswith("graph") else table.count)
    assert table.source
    assert table.licence in ("MIT", "Apache-2.0", "BSD-3-Clause")
    for column in table.columns.values():
        if column.name not in ("valid_acc_200ep_c", "valid_acc"):
            assert np.isfinite(column.values).all(), column.name
    assert {table.signal, table.score} <= set(table.columns)


@pytest.mark.parametrize("name", ["nb201-cifar10", "macro-cifar10", "transnas-scene", "fcnet-protein"])
def test_rows_are_in_the_order_of_enumeration(name):
    table = load_table(name)
    step = table.count // 97
    for row, architecture in itertools.islice(enumerate(table.space.enumerate()), 0, None, step):
        assert table.row(architecture) == row


# -- NAS-Bench-201 ----------------------------------------------------------------------------------------


def test_the_space_is_that_of_the_library():
    assert load_table("nb201-cifar10").space.fingerprint == nb201.space(cells=1).fingerprint
    assert load_table("nb201-cifar100").space.fingerprint == nb201.space(cells=1).fingerprint


@pytest.mark.parametrize(
    ("name", "test", "valid"), [("nb201-cifar10", 94.3733, 91.6067), ("nb201-cifar100", 73.5133, 73.4933)]
)
def test_the_best_networks_of_nb201_are_the_published_ones(name, test, valid):
    table = load_table(name)
    assert table.optimum() == pytest.approx(test, abs=5e-5)
    assert table.columns["valid_acc_200ep_mean"].values.max() == pytest.approx(valid, abs=5e-5)
    best = max(range(table.count), key=lambda row: table.columns["test_acc_200ep"].values[row])
    last = "nor_conv_1x1~1|nor_conv_3x3~2" if name == "nb201-cifar10" else "nor_conv_3x3~1|nor_conv_3x3~2"
    known = f"|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|{last}|"
    assert best == table.row(table.space.architecture(cell(known)))


def test_cells_with_known_numbers():
    """Official indices 0 and 1, and the cell of skips alone, in which DARTS and ENAS end (published 54.30, 15.61)."""
    c10, c100 = load_table("nb201-cifar10"), load_table("nb201-cifar100")
    first = cell("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|")
    found = numbers(c10, first)
    assert found["valid_acc_12ep"] == pytest.approx(63.364)
    assert found["test_acc_200ep"] == pytest.approx(85.8633, abs=1e-4)
    assert found["train_time_200ep_s"] == pytest.approx(1444.2186, abs=1e-3)
    second = cell("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|")
    assert numbers(c10, second)["test_acc_200ep"] == pytest.approx(93.66, abs=1e-4)
    assert numbers(c100, second)["test_acc_200ep"] == pytest.approx(70.2933, abs=1e-4)
    skips = dict.fromkeys(EDGES, "skip_connect")
    assert round(numbers(c10, skips)["test_acc_200ep"], 2) == 54.30
    assert round(numbers(c10, skips)["valid_acc_200ep_mean"], 2) == 39.77
    assert round(numbers(c100, skips)["test_acc_200ep"], 2) == 15.61


def test_flops_obey_their_law_in_every_row():
    """The official count is linear in the convolutions, which ties every row to its cell."""
    table = load_table("nb201-cifar10")
    cells = [list(a.decisions.values()) for a in table.space.enumerate()]
    law = [7.78305 + 35.38944 * c.count("nor_conv_3x3") + 3.93216 * c.count("nor_conv_1x1") for c in cells]
    assert np.allclose(table.columns["flops_m"].values, law, atol=1e-4)


def test_seeds_make_the_mean():
    columns = load_table("nb201-cifar10").columns
    seeds = np.stack([columns[f"valid_acc_200ep_{s}"].values for s in "abc"])
    assert np.isnan(seeds[2]).sum() == 7_456
    assert np.allclose(np.nanmean(seeds, axis=0), columns["valid_acc_200ep_mean"].values, atol=1e-3)


@pytest.mark.slow
def test_classes_of_cells_by_the_published_rules():
    """6,466 classes, the same as the published ones cell by cell; 5,390 without zero summands."""
    table = load_table("nb201-cifar10")
    cells = [a.decisions for a in table.space.enumerate()]
    strings = [unique_string(c) for c in cells]
    published = table.columns["iso_class"].values.tolist()
    assert len(set(strings)) == len(set(published)) == len(set(zip(strings, published, strict=True))) == 6_466
    assert len({unique_string(c, keep_zeros=False) for c in cells}) == 5_390


# -- the others -------------------------------------------------------------------------------------------


def test_macro_has_its_published_best_and_one_number_for_equal_networks():
    """Equal canonical keys have equal measurements in all 6,561 rows, so the stages are where they should be."""
    table = load_table("macro-cifar10")
    means = table.columns["acc_mean"].values
    assert means.max() == pytest.approx(93.1267, abs=1e-4)
    kinds = ("identity", "mb3_k3", "mb6_k5")
    for code in ("22212202", "22212220"):
        best = numbers(table, {f"layer{i}": kinds[int(c)] for i, c in enumerate(code)})
        assert best["acc_mean"] == pytest.approx(93.1267, abs=1e-4)
    first, rest = (table.columns[n].values.astype(float) for n in ("acc_a", "acc_bc"))
    assert np.allclose((first + 2 * rest) / 3, means, atol=1e-3)
    stays = numbers(table, {f"layer{i}": "identity" for i in range(8)})
    assert (stays["params"], stays["flops"]) == (387_882, 7_713_280)
    values: dict[str, set[float]] = {}
    for row, architecture in enumerate(table.space.enumerate()):
        values.setdefault(table.space.key(architecture), set()).add(float(means[row]))
    # a stage of n blocks that may stay: 2^k words of k real blocks, after the first block of three kinds
    assert len(values) == 3 * (1 + 2) * (3 * (1 + 2 + 4)) ** 2 == 3_969
    assert all(len(found) == 1 for found in values.values())


@pytest.mark.parametrize(
    ("task", "best"),
    [("object", 45.586), ("scene", 54.936), ("jigsaw", 95.372), ("normal", 0.58729), ("autoencoder", 0.57723)],
)
def test_transnas_has_its_best_values(task, best):
    table = load_table(f"transnas-{task}")
    assert table.optimum() == pytest.approx(best, rel=1e-5)
    first = dict(zip(EDGES, ("conv1x1", "conv3x3", "conv1x1", "conv3x3", "conv1x1", "conv3x3"), strict=True))
    if task == "scene":  # official string 64-41414-2_32_323
        assert numbers(table, first)["valid_accuracy"] == pytest.approx(53.8366, abs=1e-4)


def test_graph_rows_are_shared_by_equal_graphs_and_missing_for_no_operation():
    table = load_table("graph-cora")
    assert sorted(set(table.rows.table.values())) == list(range(26_206))
    missing = [a.decisions for a in table.space.enumerate() if table.row(a) < 0]
    assert len(missing) == 9
    assert all(d[f"op{i}"] == "skip" for d in missing for i in (1, 2, 3, 4))
    assert table.rows.holes


def test_equal_keys_of_graphs_have_one_row():
    table = load_table("graph-cora")
    rows: dict[str, int] = {}
    for i, architecture in enumerate(table.space.enumerate()):
        if i % 5 == 0 and table.row(architecture) >= 0:
            assert rows.setdefault(table.space.key(architecture), table.row(architecture)) == table.row(architecture)


def test_a_chain_of_graph_operations():
    table = load_table("graph-cora")
    found = numbers(table, {"links": "links_0000", "op1": "gat", "op2": "gat", "op3": "gat", "op4": "gcn"})
    again = numbers(table, {"links": "links_0000", "op1": "gcn", "op2": "gat", "op3": "gat", "op4": "gat"})
    assert found == again
    assert found["valid_acc"] == pytest.approx(0.772667, abs=1e-6)
    assert found["test_acc"] == pytest.approx(0.796667, abs=1e-6)


def test_fcnet_is_minimised_and_has_the_published_minima():
    for name, least in (("fcnet-protein", 0.221379), ("fcnet-naval", 3.19113e-5)):
        table = load_table(name)
        assert table.columns["valid_mse_mean"].values.min() == pytest.approx(least, rel=1e-5)
        assert table.objectives()[0].direction == "min"
        assert table.optimum() == pytest.approx(float(table.columns["valid_mse_bcd"].values.min()))
        seeds = table.columns["valid_mse_a"].values.astype(float) + 3 * table.columns["valid_mse_bcd"].values
        assert np.allclose(seeds / 4, table.columns["valid_mse_mean"].values, rtol=1e-4)
    first = {
        "activation_fn_1": "relu", "activation_fn_2": "relu", "batch_size": 8, "dropout_1": 0.0, "dropout_2": 0.0,
        "init_lr": 0.0005, "lr_schedule": "cosine", "n_units_1": 16, "n_units_2": 32,
    }  # fmt: skip
    found = numbers(load_table("fcnet-protein"), first)
    assert found["params"] == 737
    assert found["valid_mse_a"] == pytest.approx(0.326253, abs=1e-6)
    assert all(d.ordered for d in load_table("fcnet-protein").space.decisions if d.name.startswith(("n_", "init", "b")))


def test_the_files_are_small_and_their_licences_named():
    from searchitect.bench.loading import FOLDER

    files = sorted({FOLDER / name for name in TABLES.values()})
    assert sum(f.stat().st_size for f in files) < 6e6
    text = (FOLDER / "LICENSES").read_text()
    assert all(f.name in text for f in files)


def test_loading_takes_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; from searchitect.bench import load_table; load_table('graph-cora'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
