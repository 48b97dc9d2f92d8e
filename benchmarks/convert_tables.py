"""Make the shipped tables from Parquet files: `python benchmarks/convert_tables.py FOLDER`. Development only.

Writes src/searchitect/bench/tables/*.npz. Rows are put into the order in which the space enumerates its
architectures, so that no architecture codes need to be stored. Needs pandas and pyarrow.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from table_spaces import (
    FCNET,
    GRAPH_LINKS,
    GRAPH_OPERATIONS,
    fcnet_space,
    graph_space,
    macro_space,
    nb201_space,
    transnas_space,
)

from searchitect.space import Space
from searchitect.spaces.nb201 import OPERATIONS

TARGET = Path(__file__).parents[1] / "src/searchitect/bench/tables"
LATENCIES = {  # device and batch size → column of the source
    "latency_1080ti_ms": "1080ti_1", "latency_1080ti_b256_ms": "1080ti_256", "latency_titanrtx_ms": "titan_rtx_1",
    "latency_xeon6240_ms": "gold_6240", "latency_xeon4114_ms": "silver_4114", "latency_pixel2_ms": "pixel2",
    "latency_samsung_s7_ms": "samsung_s7",
}  # fmt: skip
FREE = {"direction": "min", "known": True}


def main(folder: Path) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for make in (nb201, macro, transnas, graph, fcnet):
        make(folder)
    for path in sorted(TARGET.glob("*.npz")):
        print(f"{path.name:14} {path.stat().st_size / 1e6:.2f} MB")


def write(name: str, space: Space, body: dict[str, Any], arrays: dict[str, Any]) -> None:
    """One file: arrays as float32 or small whole numbers, the description as text."""
    text = json.dumps({"format": 1, "space": json.loads(space.to_json()), **body})
    small = {key: _small(np.asarray(values)) for key, values in arrays.items()}
    np.savez_compressed(TARGET / f"{name}.npz", description=np.array(text), **small)


def _small(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def ordered(frame: pd.DataFrame, codes: np.ndarray, sizes: list[int]) -> pd.DataFrame:
    """The rows by the mixed number that their codes make; each number must occur once."""
    number = np.zeros(len(frame), dtype=np.int64)
    for column, size in zip(codes.T, sizes, strict=True):
        number = number * size + column
    if sorted(number) != list(range(len(frame))):
        raise ValueError("the rows do not cover the space")
    return frame.iloc[np.argsort(number)]


# -- NAS-Bench-201 --------------------------------------------------------------------------------------


def nb201(folder: Path) -> None:
    archs = pd.read_parquet(folder / "nb201_archs.parquet")
    latency = pd.read_parquet(folder / "nb201_latency_ms.parquet").drop(columns="arch_id")
    frame = pd.concat([archs, latency], axis=1)
    arrays: dict[str, Any] = {}
    sets = {"c10": "nb201_cifar10", "c100": "nb201_cifar100"}
    for short, file in sets.items():
        frame = pd.concat([frame, pd.read_parquet(folder / f"{file}.parquet").add_prefix(f"{short}:")], axis=1)
    names = [f"op_{a}to{b}" for a, b in ("01", "02", "12", "03", "13", "23")]
    codes = np.stack([frame[n].astype(str).map(OPERATIONS.index).to_numpy() for n in names], axis=1)
    frame = ordered(frame, codes, [5] * 6)
    for short in sets:
        for column in _NB201:
            arrays[f"{short}_{column}"] = frame[f"{short}:{_NB201[column]}"].to_numpy()
    shared = {"flops_m": frame["flops_M"], **{k: frame[v] for k, v in LATENCIES.items()}}
    arrays |= {k: np.asarray(v, dtype=np.float32) for k, v in shared.items()}
    arrays["iso_class"] = frame["iso_class"].to_numpy().astype(np.uint16)
    columns: dict[str, Any] = {
        "flops_m": {**FREE, "unit": "M"},
        **{k: {"direction": "min", "unit": "ms"} for k in LATENCIES},
        "iso_class": {"direction": "min", "about": "number of the published isomorphism class (6,466 of them)"},
    }
    tables = {
        "nb201-cifar10": _nb201_table("c10", "CIFAR-10, 25k training images"),
        "nb201-cifar100": _nb201_table("c100", "CIFAR-100"),
    }
    about = {"about": "NAS-Bench-201: cells of six edges", "source": "Dong and Yang, ICLR 2020", "licence": "MIT"}
    write("nb201", nb201_space(), {**about, "columns": columns, "tables": tables}, arrays)


_NB201 = {
    "valid_acc_12ep": "valid_acc_12ep", "test_acc_12ep": "test_acc_12ep", "valid_acc_200ep_a": "valid_acc_200ep_a",
    "valid_acc_200ep_b": "valid_acc_200ep_b", "valid_acc_200ep_c": "valid_acc_200ep_c",
    "valid_acc_200ep_mean": "valid_acc_200ep_mean", "test_acc_200ep": "test_acc_200ep_mean",
    "train_time_200ep_s": "train_time_200ep_s", "params_m": "params_M",
}  # fmt: skip


def _nb201_table(short: str, what: str) -> dict[str, Any]:
    """Training takes the time of the source plus 3 % for the validation pass; 12 epochs are 6 % of 200."""
    accuracy = {"direction": "max", "unit": "%"}
    whole = {"column": "train_time_200ep_s", "factor": 1.03}
    columns: dict[str, Any] = {
        "valid_acc_12ep": {**accuracy, "epochs": 12, "cost": {**whole, "factor": 0.06 * 1.03}},
        "test_acc_12ep": {**accuracy, "epochs": 12},
        **{f"valid_acc_200ep_{s}": {**accuracy, "epochs": 200, "cost": whole} for s in ("a", "b", "c", "mean")},
        "test_acc_200ep": {**accuracy, "epochs": 200, "about": "mean over seeds"},
        "train_time_200ep_s": {"direction": "min", "unit": "s"},
        "params_m": {**FREE, "unit": "M"},
    }
    for name, column in columns.items():
        column["array"] = f"{short}_{name}"
    levels = {"12": "valid_acc_12ep", "200": "valid_acc_200ep_a"}
    columns["valid_acc"] = {**accuracy, "levels": levels, "about": "12 epochs, or 200 of the first seed; anew for each"}
    return {
        "about": f"NAS-Bench-201 on {what}", "columns": columns, "signal": "valid_acc_12ep", "score": "test_acc_200ep"
    }  # fmt: skip


# -- NAS-Bench-Macro, TransNAS-Bench-101 ------------------------------------------------------------------


def macro(folder: Path) -> None:
    frame = pd.read_parquet(folder / "nas_bench_macro_cifar10.parquet")
    codes = np.array([[int(c) for c in arch] for arch in frame["arch"]])
    frame = ordered(frame, codes, [3] * 8)
    arrays = {f"acc_{run}": frame[f"test_acc_{run}"].to_numpy() for run in "abc"}
    arrays |= {"acc_mean": frame["test_acc_mean"].to_numpy(), "acc_bc": (arrays["acc_b"] + arrays.pop("acc_c")) / 2}
    arrays |= {
        "params": frame["params"].to_numpy().astype(np.uint32),
        "flops": frame["flops"].to_numpy().astype(np.uint32),
    }
    del arrays["acc_b"]
    accuracy = {"direction": "max", "unit": "%"}
    columns = {
        "acc_a": {**accuracy, "about": "first of three runs"},
        "acc_bc": {
            **accuracy,
            "about": "mean of the other two runs, so that the signal's noise is not judged by itself",
        },
        "acc_mean": {**accuracy, "about": "mean of all three runs, as published"},
        "params": FREE,
        "flops": FREE,
    }
    about = {"about": "NAS-Bench-Macro on CIFAR-10: eight blocks of three kinds; one measurement costs 1",
             "source": "Su et al., CVPR 2021", "licence": "Apache-2.0"}  # fmt: skip
    write("macro", macro_space(), {**about, "columns": columns, "signal": "acc_a", "score": "acc_bc"}, arrays)


TASKS = {
    "object": ("class_object_valid", "%"), "scene": ("class_scene_valid", "%"), "jigsaw": ("jigsaw_valid", "%"),
    "normal": ("normal_valid", "SSIM"), "autoencoder": ("autoencoder_valid", "SSIM"),
}  # fmt: skip


def transnas(folder: Path) -> None:
    frame = pd.read_parquet(folder / "transnas101_micro.parquet")
    codes = np.array([json.loads(str(arch).replace("(", "[").replace(")", "]")) for arch in frame["arch"]])
    frame = ordered(frame, codes, [4] * 6)
    arrays = {task: frame[source].to_numpy() for task, (source, _) in TASKS.items()}
    tables = {}
    for task, (_, unit) in TASKS.items():
        name = "accuracy" if unit == "%" else "ssim"
        columns = {f"valid_{name}": {"direction": "max", "unit": unit, "array": task}}
        about = f"TransNAS-Bench-101 micro, {task}: no test column, so signal and score are one; a measurement costs 1"
        tables[f"transnas-{task}"] = {
            "about": about,
            "columns": columns,
            "signal": f"valid_{name}",
            "score": f"valid_{name}",
        }
    about = {"source": "Duan et al., CVPR 2021; Krishnakumar et al., NeurIPS 2022", "licence": "Apache-2.0"}
    write("transnas", transnas_space(), {**about, "tables": tables}, arrays)


# -- NAS-Bench-Graph --------------------------------------------------------------------------------------


def graph(folder: Path) -> None:
    arrays: dict[str, Any] = {}
    tables = {}
    for name in ("cora", "arxiv"):
        frame = pd.read_parquet(folder / f"nas_bench_graph_{name}.parquet").sort_values("hash")
        arrays |= {f"{name}_{c}": frame[c].to_numpy() for c in ("valid_acc", "test_acc", "latency_s", "params_M")}
        arrays["row_of"] = _graph_rows(frame)
        accuracy = {"direction": "max", "unit": ""}
        columns = {
            "valid_acc": {**accuracy, "array": f"{name}_valid_acc"},
            "test_acc": {**accuracy, "array": f"{name}_test_acc"},
            "latency_s": {"direction": "min", "unit": "s", "array": f"{name}_latency_s"},
            "params_m": {**FREE, "unit": "M", "array": f"{name}_params_M"},
        }
        about = f"NAS-Bench-Graph on {name}: means of three seeds; a measurement costs 1"
        tables[f"graph-{name}"] = {"about": about, "columns": columns, "signal": "valid_acc", "score": "test_acc"}
    body = {"source": "Qin et al., NeurIPS 2022", "licence": "Apache-2.0", "rows": "grid", "row_of": "row_of",
            "order": ["links", "op1", "op2", "op3", "op4"], "tables": tables}  # fmt: skip
    write("graph", graph_space(), body, arrays)


def _graph_rows(frame: pd.DataFrame) -> np.ndarray:
    """The row of every architecture: equal graphs share one. -1: not measured (no operation but skips)."""
    known = {}
    for row, entry in enumerate(frame.itertuples()):
        operations = [str(getattr(entry, f"op{i}")) for i in (1, 2, 3, 4)]
        known[_tree(str(entry.links), operations)] = row
    if len(known) != len(frame):
        raise ValueError("two rows are the same graph")
    every = itertools.product(GRAPH_LINKS, *[GRAPH_OPERATIONS] * 4)
    return np.array([known.get(_tree(links, operations), -1) for links, *operations in every], dtype=np.int16)


def _tree(links: str, operations: list[str]) -> Any:
    """The graph without what does nothing, as nested sorted tuples.

    A skip passes its input on. Where it ends at a leaf it is one more summand of the output, unless nothing
    but skips lie between it and the raw input: then the benchmark leaves it out.
    """

    def below(node: int, raw: bool) -> list[Any]:
        found: list[Any] = []
        children = [i + 1 for i, source in enumerate(links) if int(source) == node]
        for child in children:
            operation = operations[child - 1]
            inner = below(child, raw and operation == "skip")
            if operation != "skip":
                found.append((operation, *inner))
            elif inner:
                found += inner
            elif not raw and len(children) > 1:
                found.append(("skip",))
        return sorted(found)

    return tuple(below(0, True))


# -- FC-Net -----------------------------------------------------------------------------------------------


def fcnet(folder: Path) -> None:
    space = fcnet_space()
    names = [d.name for d in space.decisions]
    arrays: dict[str, Any] = {}
    tables = {}
    for short, file in {"protein": "protein_structure", "naval": "naval_propulsion"}.items():
        frame = pd.read_parquet(folder / f"fcnet_{file}.parquet")
        codes = np.stack([_positions(frame[n], FCNET[n]) for n in names], axis=1)
        frame = ordered(frame, codes, [len(FCNET[n]) for n in names])
        others = frame[["valid_mse_b", "valid_mse_c", "valid_mse_d"]].to_numpy(dtype=np.float64).mean(axis=1)
        arrays |= {f"{short}_valid_mse_a": frame["valid_mse_a"].to_numpy(), f"{short}_valid_mse_bcd": others}
        arrays |= {f"{short}_valid_mse_mean": frame["valid_mse_mean"].to_numpy()}
        arrays[f"{short}_train_time_s"] = frame["train_time_s_mean"].to_numpy()
        arrays[f"{short}_params"] = frame["n_params"].to_numpy().astype(np.uint32)
        whole = {"direction": "min", "epochs": 100, "cost": {"column": "train_time_s"}}
        columns: dict[str, Any] = {
            "valid_mse_a": {**whole, "about": "first of four seeds"},
            "valid_mse_bcd": {
                **whole,
                "about": "mean of the other three seeds, so that the signal's noise is not judged by itself",
            },
            "valid_mse_mean": {**whole, "about": "mean of all four seeds"},
            "train_time_s": {"direction": "min", "unit": "s"},
            "params": FREE,
        }
        for name, column in columns.items():
            columns[name] = {**column, "array": f"{short}_{name}"}
        about = f"FC-Net on {file.replace('_', ' ')}: two layers and their training, MSE, no test column"
        tables[f"fcnet-{short}"] = {
            "about": about,
            "columns": columns,
            "signal": "valid_mse_a",
            "score": "valid_mse_bcd",
        }
    about = {"source": "Klein and Hutter, arXiv:1905.04970", "licence": "BSD-3-Clause"}
    write("fcnet", space, {**about, "tables": tables}, arrays)


def _positions(values: pd.Series, labels: tuple[Any, ...]) -> np.ndarray:
    if isinstance(labels[0], str):
        return values.astype(str).map(labels.index).to_numpy()
    gaps = np.abs(values.to_numpy(dtype=np.float64)[:, None] - np.array(labels)[None, :])
    if gaps.min(axis=1).max() > 1e-6:
        raise ValueError(f"{values.name} holds a value that is none of {labels}")
    return gaps.argmin(axis=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
