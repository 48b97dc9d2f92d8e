"""`searchitect space check`: what can be known of a space before any training."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from searchitect.cli.app import Command
from searchitect.cli.completing import completing
from searchitect.cli.options import import_from_here, json_option
from searchitect.cli.text import as_json, columns, labelled
from searchitect.errors import UsageError
from searchitect.report.plain import clean, line, plural

if TYPE_CHECKING:
    from searchitect.checking import Check
    from searchitect.checking.checks import Share

NAMED = 6  # choices of one kind that are named
COSTS = {"params": "parameters", "macs": "multiply-adds of a row", "memory_mb": "training memory, MB"}


@click.group()
def space() -> None:
    """Look at a search space before searching it: searchitect space check SPACE."""


@space.command(cls=Command)
@click.argument("name", metavar="SPACE", shell_complete=completing("space"))
@click.option("--data", metavar="SOURCE", help="Data as for `search`: they give the shape of a row and the outputs.",
              shell_complete=completing("data"))  # fmt: skip
@click.option("--target", metavar="COLUMN", help="The column or array of the data that holds the answers.")
@click.option("--sample", metavar="SHAPE", help="The shape of one row instead of data, for example 3x32x32.")
@click.option("--outputs", type=click.IntRange(1), help="Classes or target columns; with --sample usually 10.")
@click.option("--limit", "limits", multiple=True, metavar="TEXT", help="Such as 'params < 1e6'. May be repeated.")
@click.option("--samples", default=1000, show_default=True, type=click.IntRange(10), help="Networks to draw.")
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
@click.option("--drawing/--no-drawing", default=True, help="Print the space as well.")
@json_option
def check(name: str, data: str | None, target: str | None, sample: str | None, outputs: int | None,
          limits: tuple[str, ...], samples: int, seed: int, drawing: bool, json: bool) -> int:  # fmt: skip
    """Say how large SPACE is, what its networks cost and which choices do nothing.

    SPACE is as for `search --space`: a ready one, module:object or FILE.py:object; that runs your code. Nothing is
    trained. The exit code is 1 when no network can be built, or none was found that keeps a limit.

    \b
    searchitect space check darts --sample 3x32x32
    searchitect space check mine.py:space --data digits --limit "params < 50000"
    """
    from searchitect.checking import check as look
    from searchitect.session.choosing import find_space
    from searchitect.settings import Settings
    from searchitect.training import load

    if data is not None and sample is not None:
        raise UsageError("--data and --sample both give the shape of a row: leave one out")
    shape = _shape(sample) if sample is not None else None
    raw = load(data, target) if data is not None else None
    import_from_here()
    found_space, _ = find_space(Settings(space=name), None, raw)
    if raw is not None:
        shape, outputs = raw.shape, outputs or raw.outputs
    if shape is None and (limits or found_space.cost_limits):
        raise UsageError("limits on costs need the shape of a row: give --sample 3x32x32 or --data SOURCE")
    found = look(found_space, shape, outputs=outputs, limits=limits, samples=samples, seed=seed)
    if json:
        click.echo(as_json(found.as_data()))
    else:
        click.echo("\n".join(lines(found, line(found_space.name or name, 60), drawing)))
    return int(fails(found))


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*([x×,][1-9]\d*)*", text):
        raise UsageError(f"--sample {text!r}: write the sizes of one row without the batch, for example 3x32x32")
    return tuple(int(n) for n in re.split("[x×,]", text))


def fails(found: Check) -> bool:
    """Whether nothing can be built, or some limit was kept by no network."""
    nothing = found.invalid is not None and found.invalid.count == found.invalid.of
    return nothing or not all(found.reached.values())


def lines(found: Check, title: str, drawing: bool) -> list[str]:
    """The whole answer for a terminal."""
    drawn = f"all {found.drawn:,} networks" if found.everything else f"{found.drawn:,} networks drawn"
    rows = [("size", f"{found.size} networks from {plural(found.decisions, 'decision')}")]
    if found.within is not None and found.within.count < found.within.of:
        rows.append(("usable", f"{_percent(found.within)} of them fit together and keep the limits{_about(found)}"))
    rows.append(("sample", f"{drawn}: {_percent(found.duplicates)} do the same as one before"))
    if found.invalid is not None:
        rows.append(("", f"{_percent(found.invalid)} cannot be built"))
        rows += [("", f"{count:,} times {line(reason, 300)}") for reason, count in found.why_invalid]
    rows += choice_rows(found)
    if found.invalid is not None:
        rows += [("limit", limit_text(found, text)) for text in found.limits]
        count = "" if found.supernet is None else f"{found.supernet:,} parameters for all networks together"
        rows.append(("supernet", count or line(found.supernet_why, 300)))
    rows += [("note", line(note, 400)) for note in found.notes]
    if found.invalid is None:
        rows.append(("costs", "not known without the shape of a row: give --sample 3x32x32 or --data SOURCE"))
    text = [title, *labelled(rows), *_table(found)]
    return [*text, "", *clean(found.drawing, 1_000_000).split("\n")] if drawing else text


def _about(found: Check) -> str:
    assert found.within is not None
    if found.everything or not found.within.count or found.finite > 10**300:
        return ""
    return f", about {found.finite * found.within.share:.2g}"


def _table(found: Check) -> list[str]:
    """Smallest, median, largest of each cost."""
    if not found.costs:
        return []
    rows: list[list[Any]] = [[word, *map(_number, found.costs[key])] for key, word in COSTS.items()]
    if found.latency is not None:
        timed = found.latency
        rows.append([f"ms a row here (of {len(timed.values)}, ± {timed.uncertainty:.0%})", *map(_number, timed.range)])
    return ["", *columns(["cost of a network", "smallest", "median", "largest"], rows)]


def choice_rows(found: Check) -> list[tuple[str, str]]:
    """Choices that do nothing, or never can."""
    choices, rows = found.choices, []
    if choices.dead:
        rows.append(("dead", f"{_names(choices.dead)}: no value changes the network"))
    if choices.twins:
        pairs = [f"{name}: {second} is the same as {first}" for name, second, first in choices.twins]
        rows.append(("shadowed", _names(pairs, "; ")))
    if choices.never and (found.within is None or found.within.count):
        pairs = [f"{name} = {value}" for name, value in choices.never]
        rows.append(("never", f"{_names(pairs)}: in no network that can be built and keeps the limits"))
    often = [f"{name} ({part:.0%})" for name, part in choices.hidden.items() if part >= 0.5]
    if often:
        rows.append(("often idle", f"{_names(often)}: without effect in that share of places"))
    if not (choices.dead or choices.twins or choices.never):
        rows.append(("choices", "each one changes the network, and each value can be had"))
    if choices.looked < found.decisions:
        rows.append(("", f"effects of the first {choices.looked:,} of {found.decisions:,} decisions were looked at"))
    return rows


def limit_text(found: Check, text: str) -> str:
    """How far one limit can be met."""
    one = found.limits[text]
    if text.startswith("latency_ms"):
        return f"{text}: kept by {one.count} of the {one.of} networks measured here"
    if one.count:
        return f"{text}: kept by {_percent(one)} of what can be built"
    if found.reached[text]:
        return f"{text}: kept by {_percent(one)} of what can be built, but some network keeps it"
    return f"{text}: no network was found that keeps it"


def _percent(one: Share) -> str:
    if one.low == one.high:
        return f"{100 * one.share:.3g} %"
    return f"{100 * one.share:.3g} % ({100 * one.low:.3g} to {100 * one.high:.3g})"


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:,.3g} M" if value < 1e9 else f"{value / 1e9:,.3g} G"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _names(items: list[str], joint: str = ", ") -> str:
    shown = joint.join(line(item, 80) for item in items[:NAMED])
    return shown + (f" and {len(items) - NAMED:,} more" if len(items) > NAMED else "")
