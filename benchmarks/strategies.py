"""All strategies on all shipped tables: the figures of docs/strategy-results.md, by one command.

    python benchmarks/strategies.py [--seeds 100] [--jobs 2] [--only a,b] [--cpu 400] [--report]

Each pair of table and strategy is a cell, kept as JSON under runs/strategies/ as soon as it is done; a second call
goes on where the first was cut. Delete a cell to run it again. A strategy so slow that `--seeds` searches would
take more than `--cpu` CPU seconds gets fewer searches, and none below ten (the page says so); bananas and nas-bowl,
the slowest, are searched with 30 seeds and 50 evaluations. `auto` chooses the Gaussian process with its defaults on
all of these tables (the report checks it), so that its searches are those, run once. Settings are the defaults, the
same for all tables; nothing here was tuned by a score column.

Then docs/strategy-results.json and .md are written: mean regret after 50, 100 and 200 evaluations, paired tests
against random search and against Optuna's TPE (Wilcoxon over seeds, Holm over all strategies of a table), mean
ranks over all searches. `--report` only writes them from the cells that there are.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy.stats import rankdata

from searchitect.bench import load_table, stats
from searchitect.bench.compare import Entry, Plan, Trace, compare
from searchitect.bench.results import Judge
from searchitect.records import jsonable
from searchitect.strategies import STRATEGIES, strategy_class

ROOT = Path(__file__).parents[1]
CELLS = ROOT / "runs" / "strategies"
POINTS = (50, 100, 200)
REFERENCES = ("random", "optuna-tpe")
LEAST = 10
SHORT = {"bananas": (30, 50), "nas-bowl": (30, 50)}  # seeds and evaluations of those that are slow
SETTINGS: dict[str, tuple[str, str]] = {  # how it is called → table, signal
    "nb201-cifar10, 12 epochs": ("nb201-cifar10", "valid_acc_12ep"),
    "nb201-cifar100, 12 epochs": ("nb201-cifar100", "valid_acc_12ep"),
    "nb201-cifar10, 200 epochs": ("nb201-cifar10", "valid_acc_200ep_a"),
    "nb201-cifar100, 200 epochs": ("nb201-cifar100", "valid_acc_200ep_a"),
    "macro-cifar10": ("macro-cifar10", "acc_a"),
    "transnas-object": ("transnas-object", "valid_accuracy"),
    "transnas-scene": ("transnas-scene", "valid_accuracy"),
    "transnas-jigsaw": ("transnas-jigsaw", "valid_accuracy"),
    "transnas-normal": ("transnas-normal", "valid_ssim"),
    "transnas-autoencoder": ("transnas-autoencoder", "valid_ssim"),
    "graph-cora": ("graph-cora", "valid_acc"),
    "graph-arxiv": ("graph-arxiv", "valid_acc"),
    "fcnet-protein": ("fcnet-protein", "valid_mse_a"),
    "fcnet-naval": ("fcnet-naval", "valid_mse_a"),
}
PROMOTING = ("successive-halving", "hyperband", "asha")  # compared by time, where a table has two fidelities
TIMED = {"nb201-cifar10, 12 and 200 epochs": "nb201-cifar10", "nb201-cifar100, 12 and 200 epochs": "nb201-cifar100"}
TIMED_SECONDS = {"nb201-cifar10": 100_000.0, "nb201-cifar100": 200_000.0}  # about fifty trainings of 200 epochs


class Cell(msgspec.Struct):
    """The searches of one strategy on one table; `cpu` seconds of one search."""

    label: str
    strategy: str
    cpu: float
    traces: list[Trace]


def plan_of(label: str, strategy: str, seeds: int) -> Plan:
    if label in TIMED:
        options: dict[str, Any] = {"rungs": [12, 200]} if strategy in PROMOTING else {}
        table = TIMED[label]
        return Plan((table,), (Entry(strategy, options),), seeds, None, TIMED_SECONDS[table], ("valid_acc",))
    table, signal = SETTINGS[label]
    most, evaluations = SHORT.get(strategy, (seeds, POINTS[-1]))
    return Plan((table,), (Entry(strategy),), min(seeds, most), evaluations, None, (signal,))


def run_cell(label: str, strategy: str, seeds: int, jobs: int, most: float) -> Cell:
    """As many searches as `most` CPU seconds allow, up to `seeds`; none where that is less than ten."""
    first = compare(plan_of(label, strategy, 2))
    cpu = sum(t.cpu_seconds for t in first) / 2
    count = min(plan_of(label, strategy, seeds).seeds, int(most / max(cpu, 1e-9)))
    traces = compare(plan_of(label, strategy, count), jobs=jobs) if count >= LEAST else []
    return Cell(label, strategy, cpu, traces)


def path_of(label: str, strategy: str) -> Path:
    return CELLS / f"{label.replace(', ', '-').replace(' ', '-')}--{strategy}.json"


def run_all(names: list[str], seeds: int, jobs: int, most: float) -> None:
    CELLS.mkdir(parents=True, exist_ok=True)
    wanted = [(label, name) for name in names for label in SETTINGS if name not in PROMOTING]
    wanted += [(label, name) for name in names for label in TIMED if name not in SHORT]
    for done, (label, name) in enumerate(wanted, 1):
        path = path_of(label, name)
        if path.exists():
            continue
        cell = run_cell(label, name, seeds, jobs, most)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(cell))
        part.replace(path)
        print(f"{done}/{len(wanted)} {label}: {name}, {len(cell.traces)} searches of {cell.cpu:.2f} CPU s", flush=True)


# -- the report ---------------------------------------------------------------------------------------------


def cells_of(label: str) -> dict[str, Cell]:
    found = [msgspec.json.decode(p.read_bytes(), type=Cell) for p in sorted(CELLS.glob("*.json"))]
    order = {name: i for i, name in enumerate(("auto", *STRATEGIES))}
    mine = [c for c in found if c.label == label and c.strategy in order]
    return {c.strategy: c for c in sorted(mine, key=lambda c: order[c.strategy])}


def regrets(cell: Cell, point: int | None) -> np.ndarray:
    """Regret of each search, after so many evaluations or at the end."""
    plan = plan_of(cell.label, cell.strategy, 1)
    judge = Judge(load_table(plan.tables[0]), plan)
    return judge.regrets(judge.scores([t.row(point) for t in sorted(cell.traces, key=lambda t: t.seed)]))


def reached(cell: Cell, point: int | None) -> bool:
    """Whether the cell's searches got to this number of evaluations, up to the end of the space."""
    most = plan_of(cell.label, cell.strategy, 1).evaluations
    return bool(cell.traces) and (point is None or most is None or point <= most)


def signal_regrets(cell: Cell, point: int | None) -> np.ndarray:
    """How far the best by the signal is from the best signal in the table (its full fidelity), for each search."""
    plan = plan_of(cell.label, cell.strategy, 1)
    table = load_table(plan.tables[0])
    aims = table.objectives(plan.objectives)
    signal = np.append(np.array(table.reading(aims).levels[-1].values[0][1], dtype=np.float64), np.nan)
    signal *= 1.0 if aims[0].direction == "max" else -1.0
    rows = [t.row(point) for t in sorted(cell.traces, key=lambda t: t.seed)]
    return np.asarray(np.nanmax(signal) - signal[rows])


def at_floor(cell: Cell, point: int) -> bool:
    """Whether half of the searches hold the best architecture by the signal: no search can be much better."""
    return float(np.mean(signal_regrets(cell, point) <= 0.0)) >= 0.5


def table_of(label: str, points: tuple[int | None, ...]) -> list[dict[str, Any]]:
    """One row for each strategy: summaries at the points, and who is better than the references at each."""
    cells = cells_of(label)
    rows = []
    known = [(point, r) for point in points for r in REFERENCES if r in cells]
    tests = {key: against(cells, key[1], key[0], regrets) for key in known}
    seen = {key: against(cells, key[1], key[0], signal_regrets) for key in known}
    for name, cell in cells.items():
        row: dict[str, Any] = {"strategy": name, "searches": len(cell.traces), "cpu_seconds": cell.cpu, "at": {}}
        for point in (p for p in points if reached(cell, p)):
            numbers = msgspec.to_builtins(stats.summary(regrets(cell, point)))
            numbers["against"] = {r: found[name] for (p, r), found in tests.items() if p == point and name in found}
            numbers["signal"] = {r: found[name] for (p, r), found in seen.items() if p == point and name in found}
            if name == "optuna-tpe" and point is not None:
                numbers["at_floor"] = at_floor(cell, point)
            row["at"][str(point or "end")] = numbers
        rows.append(row)
    return rows


def against(
    cells: dict[str, Cell], reference: str, point: int | None, judge: Callable[[Cell, int | None], np.ndarray]
) -> dict[str, Any]:
    """Paired tests of each strategy against one, over the seeds that both have."""
    known = {name: judge(cell, point) for name, cell in cells.items() if reached(cell, point)}
    if reference not in known:
        return {}
    longest = max(len(values) for values in known.values())
    padded = {n: np.concatenate([v, np.full(longest - len(v), np.nan)]) for n, v in known.items()}
    found = {}
    for pair in stats.pairs(padded, against=reference):
        word = "better" if leans(padded[pair.first], padded[reference]) > 0 else "worse"
        found[pair.first] = {
            "difference": pair.difference,
            "p": pair.holm,
            "word": word if pair.holm < 0.05 else "=",
        }
    return found


def leans(first: np.ndarray, second: np.ndarray) -> float:
    """The signed-rank sum of Wilcoxon's test: positive where the first mostly has less regret. The means may say
    otherwise, where few searches are far off."""
    gained = second - first
    gained = gained[np.isfinite(gained) & (gained != 0)]
    return float((np.sign(gained) * rankdata(np.abs(gained))).sum())


def ranks_of(labels: list[str], point: int) -> stats.Ranks | None:
    """Mean ranks over the searches of all tables, for strategies with as many searches as random search."""
    whole = [cells_of(label) for label in labels]
    if not whole or any("random" not in cells or not cells["random"].traces for cells in whole):
        return None
    full = [n for n in whole[0] if all(n in c and len(c[n].traces) == len(c["random"].traces) for c in whole)]
    blocks = [np.stack([regrets(cells[n], point) for n in full], axis=1) for cells in whole]
    return stats.ranks(np.concatenate(blocks), full)


def report() -> None:
    labels = [label for label in SETTINGS if cells_of(label)]
    found = {label: table_of(label, POINTS) for label in labels}
    timed = {label: table_of(label, (None,)) for label in TIMED if cells_of(label)}
    ranks = {str(p): found_ranks for p in POINTS if (found_ranks := ranks_of(labels, p)) is not None}
    body = {"tables": found, "timed": timed, "ranks": {p: msgspec.to_builtins(r) for p, r in ranks.items()}}
    (ROOT / "docs" / "strategy-results.json").write_text(json.dumps(jsonable(body), indent=1) + "\n")
    (ROOT / "docs" / "strategy-results.md").write_text("\n".join(markdown(found, timed, ranks)) + "\n")


HEAD = """# Strategies on the shipped tables

Made by `python benchmarks/strategies.py`; see [bench.md](bench.md) for the tables and for what is simulated. Numbers
are mean regrets on the score column, which no strategy sees, with the 95 % interval's half width. Every evaluation is
charged. Settings are each strategy's defaults, the same on all tables. ▲ and ▼: better and worse than random search,
△ and ▽: than Optuna's TPE (Wilcoxon over the same seeds, Holm over the strategies of a table, 5 %). Left out:
optuna-gp, which takes about 430 ms for a proposal.
"""


def markdown(found: dict[str, Any], timed: dict[str, Any], ranks: dict[str, stats.Ranks]) -> list[str]:
    lines = [*HEAD.splitlines(), ""]
    shown = {row["strategy"] for rows in [*found.values(), *timed.values()] for row in rows}
    missing = [name for name in STRATEGIES if name not in shown and name != "optuna-gp"]
    lines += [f"Not measured yet: {', '.join(missing)}.", ""] if missing else []
    lines += _counts(found) if found else []
    if ranks:
        lines += _rank_lines(found, ranks)
    for label, rows in found.items():
        lines += [f"## {label}", "", f"| strategy | searches | {' | '.join(map(str, POINTS))} | CPU s per search |"]
        lines += ["|---|---|" + "---|" * len(POINTS) + "---|"]
        for row in rows:
            cells = [_shown(row["at"].get(str(p))) if row["at"] else "too slow" for p in POINTS]
            lines.append(f"| {row['strategy']} | {row['searches']} | {' | '.join(cells)} | {row['cpu_seconds']:.3g} |")
        lines.append("")
    for label, rows in timed.items():
        seconds = TIMED_SECONDS[TIMED[label]]
        lines += [
            f"## {label}, {seconds:,.0f} simulated seconds",
            "",
            "| strategy | searches | regret at the end |",
            "|---|---|---|",
        ]
        lines += [
            f"| {r['strategy']} | {r['searches']} | {_shown(r['at']['end']) if r['at'] else 'too slow'} |" for r in rows
        ]
        lines.append("")
    return lines


def _rank_lines(found: dict[str, Any], ranks: dict[str, stats.Ranks]) -> list[str]:
    last = ranks[max(ranks, key=int)]
    order = sorted(last.names, key=lambda n: last.means[last.names.index(n)])
    lines = [f"## Mean ranks over {len(found)} tables, {last.blocks:,} searches each", ""]
    lines += [f"| strategy | {' | '.join(ranks)} |", "|---|" + "---|" * len(ranks)]
    for name in order:
        shown = [f"{r.means[r.names.index(name)]:.2f}" if name in r.names else "–" for r in ranks.values()]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    told = f"Ranks that differ by less than {last.difference:.2f} cannot be told apart (Nemenyi, 5 %)."
    return [*lines, "", f"1 is best. {told} Left out: strategies with fewer searches on some table.", ""]


def choices() -> set[str]:
    """What `auto` chooses on these tables, with its options where they are not the defaults."""
    from searchitect.bench.simulation import resolve

    chosen = set()
    for label in SETTINGS:
        plan = plan_of(label, "auto", 1)
        table = load_table(plan.tables[0])
        name, options = resolve(table, "auto", plan.limit, table.reading(table.objectives(plan.objectives)))
        given = inspect.signature(strategy_class(name)).parameters
        own = {k: v for k, v in options.items() if given[k].default != v}
        chosen.add(name + (f" with {own}" if own else ""))
    return chosen


def _counts(found: dict[str, Any]) -> list[str]:
    """On how many tables each strategy is better, equal, worse; against TPE also where it is not at its floor."""
    lines = [f"`auto` chooses {' or '.join(sorted(choices()))} with the default options on all of these tables.", ""]
    names = {row["strategy"]: None for rows in found.values() for row in rows}
    for reference, by, what in ((r, by, what) for r in REFERENCES for by, what in JUDGED.items()):
        head = f"## Against {reference} by {what}: better / no difference / worse, of {len(found)} settings"
        lines += [head, "", f"| strategy | {' | '.join(map(str, POINTS))} |", "|---|" + "---|" * len(POINTS)]
        for name in names:
            if name != reference:
                shown = [_words(found, name, (reference, by), str(point)) for point in POINTS]
                lines.append(f"| {name} | {' | '.join(shown)} |")
        lines.append("")
    return [*lines, FLOOR, ""]


JUDGED = {"against": "the score", "signal": "the signal that they see"}
FLOOR = (
    "In brackets: the same where TPE is not at its floor. It is there where half of its searches hold the architecture "
    "with the best signal, so that nothing is left to find. Whoever finds the best signal sooner can be worse by the "
    "score, where that architecture is not the best by the score."
)


def _words(found: dict[str, Any], name: str, against: tuple[str, str], point: str) -> str:
    (reference, by), words, open_ = against, [], []
    for rows in found.values():
        at = {row["strategy"]: row["at"].get(point) for row in rows}
        if not at.get(name) or reference not in at[name][by]:
            continue
        words.append(at[name][by][reference]["word"])
        if reference == "optuna-tpe" and not at[reference]["at_floor"]:
            open_.append(words[-1])
    counted = [" / ".join(str(part.count(w)) for w in ("better", "=", "worse")) for part in (words, open_)]
    return "–" if not words else counted[0] + (f" ({counted[1]})" if open_ else "")


def _shown(numbers: dict[str, Any] | None) -> str:
    if numbers is None:
        return "–"
    half = (numbers["high"] - numbers["low"]) / 2
    signs = {"random": {"better": "▲", "worse": "▼"}, "optuna-tpe": {"better": "△", "worse": "▽"}}
    marks = "".join(signs[r].get(test["word"], "") for r, test in numbers["against"].items())
    return f"{numbers['mean']:.3g} ± {half:.2g} {marks}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="strategies, with commas (default: auto and all)")
    parser.add_argument("--cpu", type=float, default=400.0, help="CPU seconds that a cell may take")
    parser.add_argument("--report", action="store_true", help="write the pages from the cells that there are")
    given = parser.parse_args()
    if not given.report:
        run_all(given.only.split(",") if given.only else ["auto", *STRATEGIES], given.seeds, given.jobs, given.cpu)
    report()


if __name__ == "__main__":
    main()
