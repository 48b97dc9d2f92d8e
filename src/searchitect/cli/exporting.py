"""`searchitect export`: take the network or the table of trials away."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from searchitect.cli.app import Command
from searchitect.cli.options import study_argument
from searchitect.cli.text import as_json
from searchitect.errors import UsageError


@click.command(cls=Command)
@study_argument
@click.argument("out", required=False, metavar="[OUT]")
@click.option("--trials", metavar="FILE", help="Write the table of trials as .csv or .jsonl.")
@click.option("--format", "formats", type=click.Choice(["pt2", "onnx", "onnx-int8"]), multiple=True,
              help="Another form of the network beside model.py; may be repeated.")  # fmt: skip
def export(folder: Path, out: str | None, trials: str | None, formats: tuple[str, ...]) -> None:
    """Copy the network that was found to the folder OUT, or write the trials as a table.

    OUT becomes a bundle: plain PyTorch code, weights, preprocessing and a card; it needs no searchitect. A format adds
    a file to it, which was compared with the network before: model.pt2 (torch.export), model.onnx, model.int8.onnx.
    """
    if out is None and formats:
        raise UsageError(f"--format {formats[0]}: name the folder to export to")
    if out is None and trials is None:
        raise UsageError("nothing to export: name a folder for the network, or a file with --trials FILE.csv")
    if trials is not None:
        path = Path(trials).expanduser()
        count = write_trials(folder, path)
        click.echo(f"wrote {count:,} trials to {path}")
    if out is not None:
        from searchitect.study import Study

        target = Path(out).expanduser()
        Study.open(folder).export(target, formats)
        click.echo(f"wrote {target}" + (f", with {', '.join(formats)} (compared in card.md)" if formats else ""))
        click.echo(f"next: searchitect predict {target} DATA")


def write_trials(folder: Path, path: Path) -> int:
    """The table of trials as CSV or JSON lines, by the name's ending; how many there were."""
    from searchitect.report.files import write_atomically
    from searchitect.store import Store

    ending = path.suffix.lower()
    if ending not in (".csv", ".jsonl"):
        raise UsageError(f"--trials {path}: the name must end in .csv or .jsonl")
    with Store.open(folder) as store:
        trials = store.trials()
    if ending == ".csv":
        from searchitect.report import export_csv

        export_csv(folder, path)
    else:
        lines = [as_json(msgspec.to_builtins(trial), indent=None) + "\n" for trial in trials]
        write_atomically(path, "".join(lines).encode())
    return len(trials)
