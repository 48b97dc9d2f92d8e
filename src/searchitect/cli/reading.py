"""`searchitect status`, `list`, `show` and `report`: look at studies without disturbing them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from searchitect.cli import phrases
from searchitect.cli.app import Command
from searchitect.cli.options import json_option, study_argument
from searchitect.cli.stopping import driver
from searchitect.cli.text import as_json, columns, labelled, metrics, wrap
from searchitect.errors import StorageError
from searchitect.records import Trial
from searchitect.report.plain import clean, line, mapping, show_duration, show_fidelity, show_time, show_value

RUNS = "runs"


def summary(folder: Path) -> dict[str, Any]:
    """What is known about a study (`Study.summary`), and who drives it now."""
    from searchitect.study import Study

    found = dict(Study.open(folder).summary())
    owner = driver(folder)
    if owner is not None:
        found["state"] = "running"
    elif found["state"] == "running":
        found["state"] = "unfinished"  # its driver died
    found["driver"] = None if owner is None else {"pid": owner.pid, "host": owner.host}
    return found


@click.command(cls=Command)
@study_argument
@json_option
def status(folder: Path, json: bool) -> None:
    """Show where a study stands: running or not, counts, best so far, time."""
    found = summary(folder)
    if json:
        click.echo(as_json(found))
        return
    _print([line(found.get("name") or folder.name, 60), *labelled([r for r in _status(found) if r[1]])])


def _status(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    owner, seconds = found.get("driver"), mapping(found.get("seconds"))
    state = line(found.get("state") or "?", 40)
    if owner:
        state += f", driven by process {owner['pid']} on {line(owner['host'], 60)}"
    elif found.get("stopped"):
        state += f", search ended by {line(found['stopped'], 60)}"
    spent = seconds.get("active") or seconds.get("search")
    time = f"{show_duration(spent)} spent" if isinstance(spent, (int, float)) else ""
    if time and isinstance(seconds.get("budget"), (int, float)):
        time += f" of {show_duration(seconds['budget'])}"
    return [
        ("state", state),
        ("trials", phrases.counts_text(mapping(found.get("trials")))),
        ("best", phrases.best_text(found)),
        ("time", time),
        ("verdict", line(mapping(found.get("verdict")).get("sentence") or "", 600)),
        ("next", "" if owner else phrases.next_command(found)),
    ]


@click.command(cls=Command)
@click.argument("root", default=RUNS, metavar="[FOLDER]")
@json_option
def list_studies(root: str, json: bool) -> None:
    """List the studies in a folder (runs/ unless you name another), newest first."""
    place = Path(root).expanduser()
    if not place.is_dir():
        if root != RUNS:
            raise StorageError(f"there is no folder {place}; name one that holds studies")
        found = []
    else:
        found = [_entry(folder) for folder in _studies(place)]
    if json:
        click.echo(as_json(found))
    elif not found:
        click.echo(f"no studies in {line(place, 200)}; start one: searchitect search --data digits --budget 3m")
    else:
        _print(columns(("folder", "state", "trials", "best", "verdict"), [_row(entry) for entry in found]))


def _studies(place: Path) -> list[Path]:
    """Folders with a study, the last changed first."""
    try:
        folders = [place, *(Path(entry.path) for entry in os.scandir(place) if entry.is_dir())]
    except OSError as error:
        raise StorageError(f"cannot read {place}: {error.strerror}") from None
    dated = [(file.stat().st_mtime, str(f)) for f in folders if (file := f / "study.db").is_file()]
    return [Path(name) for _, name in sorted(dated, reverse=True)]


def _entry(folder: Path) -> dict[str, Any]:
    try:
        return summary(folder)
    except StorageError as error:
        return {"name": folder.name, "path": str(folder), "state": "unreadable", "error": str(error)}


def _row(entry: Mapping[str, Any]) -> list[str]:
    trials, best, verdict = (mapping(entry.get(key)) for key in ("trials", "best", "verdict"))
    words = verdict.get("words") or entry.get("error") or ""
    measured = metrics(phrases.goals_only(mapping(best.get("validation")), entry.get("objectives")))
    return [
        line(entry.get("path"), 200),
        line(entry.get("state"), 30),
        str(trials.get("done", "")),
        measured,
        line(words),
    ]


@click.command(cls=Command)
@study_argument
@click.argument("trial", required=False, type=click.IntRange(0), metavar="[TRIAL]")
@json_option
def show(folder: Path, trial: int | None, json: bool) -> None:
    """Show what a study found, or everything about one trial."""
    if trial is not None:
        _show_trial(folder, trial, json)
    elif json:
        from searchitect.study import Study

        click.echo(as_json(Study.open(folder).summary()))
    else:
        from searchitect.report import text_summary

        _print(clean(text_summary(folder), 1_000_000).split("\n"))


def _show_trial(folder: Path, number: int, json: bool) -> None:
    from searchitect.store import Store

    with Store.open(folder) as store:
        trial, steps = store.trial(number), store.reports(number)
    if json:
        click.echo(as_json(msgspec.to_builtins(trial)))
        return
    rows = [r for r in _trial(trial) if r[1]]
    _print([f"trial {number}", *labelled(rows)])
    curve = trial.measurement.curve if trial.measurement and trial.measurement.curve else [m for _, m in steps]
    for step, values in enumerate(curve, 1):
        _print(wrap(metrics(values), first=f"  step {step:>3}  ", indent=" " * 12))
    if trial.failure is not None and trial.failure.traceback:
        _print(["  traceback", *("    " + text for text in clean(trial.failure.traceback, 20_000).split("\n"))])


def _trial(trial: Trial) -> list[tuple[str, str]]:
    measured, failure, proposal = trial.measurement, trial.failure, trial.proposal
    state = str(trial.state) if trial.source is None else f"{trial.state} (result of trial {trial.source} reused)"
    origin = proposal.origin + (f" of {', '.join(map(str, proposal.parents))}" if proposal.parents else "")
    return [
        ("state", state),
        ("failure", "" if failure is None else f"{failure.cause}: {failure.message}"),
        ("metrics", metrics(measured.metrics) if measured else ""),
        ("training", show_fidelity(proposal.fidelity)),
        ("took", show_duration(measured.seconds) if measured else ""),
        ("attempts", str(trial.attempts)),
        ("origin", line(origin)),
        ("started", show_time(trial.started)),
        *(("decision" if i == 0 else "", f"{line(k, 80)} = {show_value(v)}") for i, (k, v) in enumerate(
            trial.architecture.decisions.items())),
        ("notes", "; ".join(measured.notes) if measured else ""),
    ]  # fmt: skip


@click.command(cls=Command)
@study_argument
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def report(folder: Path, open_it: bool) -> None:
    """Write the study's report.html anew (one page that loads nothing)."""
    from searchitect.report import write_report

    page = write_report(folder)
    click.echo(f"wrote {page}")
    if open_it:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            click.echo(f"no browser was found here; open {page} yourself", err=True)


def _print(lines: list[str]) -> None:
    click.echo("\n".join(lines))
