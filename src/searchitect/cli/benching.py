"""`searchitect bench`: strategies on published tables, many seeds, in virtual time."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from searchitect.cli.app import Command
from searchitect.cli.completing import completing
from searchitect.cli.options import Pair, import_from_here, json_option
from searchitect.cli.text import as_json, columns, labelled, wrap
from searchitect.errors import StorageError, UsageError
from searchitect.report.plain import line, number, show_number

if TYPE_CHECKING:
    from searchitect.bench.compare import Entry, Plan

EVALUATIONS = 100  # where no limit is given
SHOWN_POINTS = 5


@click.command(cls=Command)
@click.option("--table", "-t", multiple=True, metavar="NAME", help="A shipped table, or FILE.npz. May be repeated.",
              shell_complete=completing("table"))  # fmt: skip
@click.option("--strategy", "-s", multiple=True, metavar="NAME", help="How to search. May be repeated.",
              shell_complete=completing("bench strategy"))  # fmt: skip
@click.option(
    "--strategy-option",
    multiple=True,
    type=Pair(),
    metavar="KEY=VALUE",
    help="An option of the strategies that take it; NAME.KEY=VALUE for one of them. May be repeated.",
)
@click.option("--seeds", default=100, show_default=True, help="Searches with each strategy on each table.")
@click.option("--evaluations", type=int, help=f"Evaluations of each search.  [default: {EVALUATIONS}]")
@click.option(
    "--simulated-seconds",
    type=float,
    metavar="SECONDS",
    help="Virtual time of each search; what would end later does not count.",
)
@click.option("--signal", metavar="COLUMN", help="What strategies see, instead of the table's own signal.")
@click.option(
    "--objective",
    multiple=True,
    metavar="TEXT",
    help="A column as goal or limit, as in `search`: 'min params_m', 'latency_pixel2_ms < 20'. May be repeated.",
)
@click.option(
    "--read-out",
    multiple=True,
    metavar="TABLE",
    help="Score the found architectures in this table too. May be repeated.",
)
@click.option("--at", metavar="N,N,...", help="Evaluations at which results are given.  [default: 10,20,50,100,...]")
@click.option("--workers", default=1, show_default=True, help="Virtual workers of each search.")
@click.option("--jobs", type=int, help="Processes that run searches.  [default: one for each core]")
@click.option("--reuse", is_flag=True, help="Equivalents of what was evaluated cost nothing, as in a study.")
@click.option("--csv", metavar="FILE", help="Write every new incumbent of every search.")
@click.option("--html", metavar="FILE", help="Write a page with tables and figures.")
@click.option("--list", "listing", is_flag=True, help="List the shipped tables and their columns.")
@json_option
def bench(**options: Any) -> None:
    """Compare strategies on tables of trained networks, in virtual time.

    \b
    searchitect bench --table nb201-cifar10 --strategy random --strategy auto
    searchitect bench --table mine.npz --strategy auto --evaluations 200
    searchitect bench --list
    """  # fmt: skip
    if options["listing"]:
        _list(options["json"])
        return
    import_from_here()
    plan = _plan(options)
    from searchitect.bench.compare import compare
    from searchitect.bench.results import results, write_csv

    for read_out in options["read_out"]:
        _check_read_out(plan, read_out)
    points = _points(options["at"])
    jobs = options["jobs"] if options["jobs"] is not None else _cores()
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least 1 is needed")
    traces = compare(plan, jobs=min(jobs, len(plan.tables) * len(plan.entries) * plan.seeds), progress=_progress)
    found = results(plan, traces, points, options["read_out"])
    try:
        if options["csv"]:
            write_csv(Path(options["csv"]), plan, traces)
        if options["html"]:
            from searchitect.bench.page import write_page

            write_page(Path(options["html"]), plan, traces, found)
    except OSError as error:
        raise StorageError(f"cannot write the results: {error}") from error
    click.echo(as_json(found) if options["json"] else "\n".join(show(found)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{100 * done // of:3d} % of the searches" + ("\n" if done == of else ""), nl=False, err=True)


def _plan(options: Mapping[str, Any]) -> Plan:
    from searchitect.bench.compare import Plan

    if not options["table"] or not options["strategy"]:
        raise UsageError("give at least one --table and one --strategy; `searchitect bench --list` shows the tables")
    evaluations, seconds = options["evaluations"], options["simulated_seconds"]
    if evaluations is None and seconds is None:
        evaluations = EVALUATIONS
    texts = list(options["objective"])
    if options["signal"]:
        texts.insert(0, options["signal"])
    return Plan(
        tuple(options["table"]), tuple(_entries(options["strategy"], options["strategy_option"])), options["seeds"],
        evaluations, seconds, tuple(texts), options["workers"], options["reuse"],
    )  # fmt: skip


def _entries(names: Sequence[str], given: Sequence[tuple[str, Any]]) -> list[Entry]:
    """Each strategy with the options that it takes. Raises UsageError for an option that none takes."""
    from searchitect.bench.compare import Entry

    chosen: dict[str, dict[str, Any]] = {name: {} for name in names}
    if len(chosen) < len(names):
        raise UsageError(f"--strategy: one is given twice: {', '.join(names)}")
    for key, value in given:
        owner, dot, option = key.rpartition(".")
        if dot and owner not in chosen:
            raise UsageError(f"--strategy-option {key}: {owner!r} is none of the strategies: {', '.join(chosen)}")
        takers = [owner] if dot else [name for name in chosen if option in _parameters(name)]
        if not takers:
            raise UsageError(f"--strategy-option {key}: none of {', '.join(chosen)} takes it")
        for name in takers:
            chosen[name][option] = value
    return [Entry(name, options) for name, options in chosen.items()]


def _parameters(name: str) -> set[str]:
    import inspect

    from searchitect.strategies import strategy_class

    return set() if name == "auto" else set(inspect.signature(strategy_class(name)).parameters) - {"setting"}


def _points(text: str | None) -> list[int]:
    if not text:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--at {text!r}: write whole numbers with commas, for example 10,50,200")
    return sorted({int(part) for part in parts})


def _check_read_out(plan: Plan, name: str) -> None:
    from searchitect.bench.compare import check
    from searchitect.bench.loading import load_table
    from searchitect.bench.results import Judge

    check(plan)
    for table in plan.tables:
        Judge(load_table(name), plan, load_table(table))


def _list(json: bool) -> None:
    from searchitect.bench.loading import TABLES, load_table

    tables = [load_table(name) for name in TABLES]
    if json:
        click.echo(as_json([{
            "name": t.name, "about": t.about, "architectures": t.space.size.finite, "signal": t.signal,
            "score": t.score, "optimum": t.optimum(), "source": t.source, "licence": t.licence,
            "columns": {c.name: {"direction": c.direction, "unit": c.unit, "epochs": list(c.epochs), "about": c.about}
                        for c in t.columns.values()},
        } for t in tables]))  # fmt: skip
        return
    for t in tables:
        others = ", ".join(c for c in t.columns if c not in (t.signal, t.score))
        rows = [("about", f"{t.about}; {t.space.size} architectures"), ("signal", t.signal), ("score", t.score)]
        rows += [("others", others)] if others else []
        click.echo("\n".join([t.name, *labelled(rows), ""]))


# -- for people ---------------------------------------------------------------------------------------------


def show(found: Mapping[str, Any]) -> list[str]:
    """The results in lines of 80 columns."""
    lines: list[str] = []
    for table in found["tables"]:
        lines += [*_table_lines(found, table), ""]
    if found["ranks"]:
        lines += _rank_lines(found["ranks"])
    return lines


def _table_lines(found: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    unit = f" {table['unit']}" if table["unit"] else ""
    ends = f"{show_number(found['evaluations'])} evaluations" if found["evaluations"] else ""
    if found["simulated_seconds"]:
        ends = " or ".join(t for t in (ends, f"{show_number(found['simulated_seconds'])} simulated seconds") if t)
    title = f"{line(table['table'], 60)}: {found['seeds']} searches each, {ends}"
    facts = f"by {', '.join(table['objectives'])}; judged by {table['score']}, best {_digits(table['optimum'])}{unit}"
    lines = [*wrap(title), *wrap(facts, first="  ", indent="  "), ""]
    head = ["strategy", "evals", table["score"], "regret", "95 % interval", "CPU ms"]
    rows = []
    for s in table["strategies"]:
        score, regret = s["end"]["score"], s["end"]["regret"]
        rows.append([
            s["label"], show_number(round(s["evaluations"]["mean"])), _spread(score), _digits(regret["mean"]),
            f"{_digits(regret['low'])} to {_digits(regret['high'])}", f"{s['cpu_ms_per_proposal']:.3g}",
        ])  # fmt: skip
    lines += columns(head, rows)
    lines += [*_at_lines(table), *_front_lines(table)]
    for place, entry in enumerate(table["strategies"][0]["read_out"]):
        lines += ["", f"the same architectures in {entry['table']} ({entry['score_column']})"]
        outs = [(s["label"], s["read_out"][place]["end"]) for s in table["strategies"]]
        read = [[label, _spread(end["score"]), _digits(end["regret"]["mean"])] for label, end in outs]
        lines += columns(["strategy", "score", "regret"], read)
    return lines + _test_lines(table)


def _at_lines(table: Mapping[str, Any]) -> list[str]:
    """Mean regret at a few numbers of evaluations that all searches reached."""
    strategies = table["strategies"]
    common = [p for p in strategies[0]["at"] if all(_reached(s, p) for s in strategies)]
    if len(common) < 2:
        return []
    shown = common[-SHOWN_POINTS:]
    rows = [[s["label"], *(_digits(s["at"][p]["regret"]["mean"]) for p in shown)] for s in strategies]
    return ["", "mean regret after so many evaluations", *columns(["strategy", *shown], rows)]


def _front_lines(table: Mapping[str, Any]) -> list[str]:
    """With several goals: how much of the table's front was found."""
    shares = [(s["label"], s["front"]) for s in table["strategies"] if s["front"]]
    if not shares:
        return []
    rows = [[label, _spread(front["end"])] for label, front in shares]
    return ["", "share of the hypervolume of the table's front", *columns(["strategy", "share"], rows)]


def _reached(strategy: Mapping[str, Any], point: str) -> bool:
    """Whether all searches of a strategy got that far."""
    return bool(point in strategy["at"] and strategy["at"][point]["regret"]["n"] == strategy["runs"])


def _test_lines(table: Mapping[str, Any]) -> list[str]:
    """What the paired tests say against the first strategy; with many strategies the ranks say the rest."""
    if not table["tests"]:
        return []
    first = table["strategies"][0]["label"]
    lines = ["", f"against {line(first, 40)}, over the same seeds (Wilcoxon, Holm)"]
    for test in (t for t in table["tests"] if t["first"] == first):
        sure = (number(test["holm"]) or 0.0) < 0.05
        word = "cannot tell" if not sure else "worse" if (number(test["difference"]) or 0.0) > 0 else "better"
        low, high = _digits(-(number(test["high"]) or 0.0)), _digits(-(number(test["low"]) or 0.0))
        lines += wrap(
            f"{line(test['second'], 40)}: {word}, regret lower by {low} to {high}, p{_p(test['holm'])}",
            first="  ", indent="    ",
        )  # fmt: skip
    return lines


def _rank_lines(ranks: Mapping[str, Any]) -> list[str]:
    order = sorted(zip(ranks["means"], ranks["names"], strict=True), key=lambda p: (number(p[0]) or 0.0, p[1]))
    lines = [f"mean rank over {show_number(ranks['blocks'])} searches (Friedman p{_p(ranks['p'])})"]
    lines += [f"  {_digits(mean):>5}  {line(name, 60)}" for mean, name in order]
    return lines + wrap(
        f"ranks that differ by less than {_digits(ranks['difference'])} cannot be told apart (Nemenyi, 5 %)", first="  "
    )


def _p(value: Any) -> str:
    p = number(value)
    return "=?" if p is None or p != p else "<0.0001" if p < 0.0001 else f"={p:.2g}"


def _spread(score: Mapping[str, Any]) -> str:
    return f"{_digits(score['mean'])} ± {_digits(score['std'])}"


def _digits(value: Any) -> str:
    """Three digits after the point, or four significant ones for small numbers."""
    found = number(value)
    if found is None or found != found:
        return "–"
    text = f"{found:.2f}" if abs(found) >= 10 else f"{found:.3f}" if abs(found) >= 0.1 or found == 0 else f"{found:.3g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text
