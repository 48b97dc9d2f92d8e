"""`searchitect search` and `searchitect resume`: run a study from the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from searchitect import settings
from searchitect.cli.app import loudness
from searchitect.cli.options import (
    Sectioned,
    given,
    import_from_here,
    json_option,
    settings_option,
    settings_options,
    study_argument,
)
from searchitect.cli.text import as_json
from searchitect.errors import UsageError
from searchitect.settings import Settings
from searchitect.sharing import METHODS

RUNS = Path("runs")
FAILED, INTERRUPTED = 1, 5
RESUMABLE = tuple(
    "data budget trials patience strategy workers threads executor ray cpus_per_trial gpus_per_trial "
    "devices_per_trial shared device time_limit memory_mb finalize seeds".split()
)
F = TypeVar("F", bound=Callable[..., Any])


@click.command(cls=Sectioned)
@settings_options
@click.option("--config", metavar="FILE.toml", help="Read options from a file; see `searchitect init`.")
@click.option("--dry-run", is_flag=True, help="Print the plan and what budgets would buy, and stop.")
@json_option
def search(config: str | None, dry_run: bool, json: bool, **options: Any) -> int:
    """Search for a network, retrain the best, compare it with a baseline and write a report.

    \b
    searchitect search --data digits --budget 3m
    searchitect search --data table.csv --target price --trials 30
    searchitect search --data images.npz --space mine.py:space --workers 2
    """
    layers = [settings.read_toml(config)] if config else []
    chosen = settings.merge(*layers, given(options))
    if chosen.data is None and chosen.table is None:
        raise UsageError(
            "nothing to learn from: give --data digits, --data images.npz, --data table.csv --target COLUMN, or "
            "--data FOLDER; or --table nb201-cifar10 to look results up"
        )
    shares = chosen.strategy in METHODS and chosen.epochs is not None  # epochs of the supernet are an end too
    if chosen.budget is None and chosen.trials is None and chosen.patience is None and not shares:
        raise UsageError("nothing says when to end: give --budget 3m (for everything), --trials 20 or --patience 30")
    chosen = settings.merge(_plain(chosen), placed(chosen))
    import_from_here()
    from searchitect import study
    from searchitect.cli import progress

    with progress.observer(quiet=loudness() < 0, to_errors=json) as screen:
        if dry_run:
            would = study.plan(chosen, probe=chosen.strategy not in METHODS)
            if json:
                click.echo(as_json(would))
            else:
                screen.plan(would)
            return 0
        found = study.search(settings=chosen, observer=screen)
    return outcome(found.summary(), screen.signal, json)


def resume_options(command: F) -> F:
    """The options of `search` that may change when a study goes on."""
    for name in reversed(RESUMABLE):
        command = settings_option(name)(command)
    return command


@click.command(cls=Sectioned)
@study_argument
@resume_options
@click.option("--code", metavar="FILE.py", help="The file that defines the study's own objects; it is run.")
@click.option(
    "--restore", multiple=True, metavar="DECISION=OPTION",
    help="First take back this cut of --shrink, or 'all'. May be repeated.",
)  # fmt: skip
@click.option("--takeover", is_flag=True, help="Take the study from a driver that is dead, or was on another host.")
@click.option("--allow-data-change", is_flag=True, help="Go on although the data are not the same as before.")
@json_option
def resume(
    folder: Path, code: str | None, restore: tuple[str, ...], takeover: bool, allow_data_change: bool, json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Go on with a study that was interrupted, or give it more time or trials.

    \b
    searchitect resume runs/digits-1
    searchitect resume runs/digits-1 --budget 10m
    searchitect resume runs/mine-1 --code train.py
    searchitect resume runs/digits-1 --trials 200 --restore all
    """
    import_from_here()
    from searchitect import study
    from searchitect.cli import progress

    changes = given(options)
    settings.from_mapping(changes)  # a wrong value is named before anything is opened
    for cut in restore:
        decision, sign, option = cut.rpartition("=")
        if not sign and cut != "all":
            raise UsageError(f"--restore {cut}: write DECISION=OPTION as the report names the cut, or all")
        study.Study(folder).restore(*((decision, option) if sign else ()))
    with progress.observer(quiet=loudness() < 0, to_errors=json) as screen:
        found = study.resume(
            folder, code=code, takeover=takeover, allow_data_change=allow_data_change, observer=screen, **changes
        )
    return outcome(found.summary(), screen.signal, json)


def outcome(summary: Mapping[str, Any], signal: str | None, json: bool) -> int:
    """Print the summary where it was asked for; the exit code of a run that ended this way."""
    if json:
        click.echo(as_json(summary))
    if signal is not None or summary.get("stopped") == "interrupted":
        return INTERRUPTED
    return 0 if summary.get("best") else FAILED


def placed(chosen: Settings) -> dict[str, str]:
    """Name and folder of a new study: what was given, else runs/<data>-<space>-<the next free number>."""
    if chosen.path is not None:
        return {"name": chosen.name or Path(chosen.path).name or "study", "path": chosen.path}
    if chosen.name is not None:
        return {"name": chosen.name, "path": str(RUNS / _slug(chosen.name))}
    base = _slug("-".join(_stem(text) for text in (chosen.data, chosen.table, chosen.space) if text))
    taken = {entry.name for entry in RUNS.iterdir()} if RUNS.is_dir() else set()
    number = next(n for n in range(1, len(taken) + 2) if f"{base}-{n}" not in taken)
    return {"name": f"{base}-{number}", "path": str(RUNS / f"{base}-{number}")}


def _stem(text: str) -> str:
    """ "table" of "data/table.csv", "space" of "FILE.py:space"."""
    head, colon, attribute = text.rpartition(":")
    if colon and head and "/" not in attribute and "\\" not in attribute:
        return attribute
    return Path(text).stem


def _slug(text: str) -> str:
    """A safe folder name: letters, digits, - and _, neither empty nor long nor hidden."""
    return re.sub(r"[^\w-]+", "-", text).strip("-_")[:60] or "study"


def _plain(chosen: Settings) -> dict[str, Any]:
    return {name: getattr(chosen, name) for name in settings.names()}
