"""Options that come from elsewhere: one for each field of `Settings`, and the shared ones."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from searchitect import settings
from searchitect.cli import completing
from searchitect.cli.app import Command
from searchitect.errors import StorageError

F = TypeVar("F", bound=Callable[..., Any])
METAVARS = {
    "data": "SOURCE", "target": "COLUMN", "space": "SPACE", "budget": "TIME", "objectives": "TEXT", "strategy": "NAME",
    "strategy_options": "KEY=VALUE", "recipe": "KEY=VALUE", "baseline": "OBJECT", "path": "FOLDER", "name": "NAME",
    "device": "DEVICE", "time_limit": "SECONDS", "memory_mb": "MB", "validation": "SHARE", "test": "SHARE",
    "limit_train": "ROWS", "start": "FILE.json", "ray": "[ADDRESS]", "shared": "FOLDER",
}  # fmt: skip


def settings_options(command: F) -> F:
    """Give a command one option for each field of `Settings`; what is not given arrives as None or ()."""
    for name in reversed(settings.names()):
        command = settings_option(name)(command)
    return command


def settings_option(name: str) -> Callable[[F], F]:
    """The option of one field."""
    about: dict[str, Any] = {"default": None, "help": _help(name), "metavar": METAVARS.get(name)}
    about |= completing.about(name)
    usual, flag = settings.default(name), settings.flag(name)
    if isinstance(usual, bool):
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=about["help"])
    if isinstance(usual, dict):
        about |= {"multiple": True, "type": Pair()}
    elif isinstance(usual, list):
        about |= {"multiple": True}
    elif settings.choices(name):
        about |= {"type": click.Choice(settings.choices(name))}
    else:
        about |= {"type": type(settings.example(name))}
    if name == "ray":
        about |= {"is_flag": False, "flag_value": settings.example(name)}
    return click.option(flag, name, **about)


class Sectioned(Command):
    """A command whose options stand under the headings of `settings.sections`, the others at the end."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in sections."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        rows = {p.name: row for p in options if (row := p.get_help_record(ctx)) is not None}
        for heading, names in settings.sections().items():
            shown = [rows.pop(name) for name in names if name in rows]
            if shown:
                with formatter.section(heading):
                    formatter.write_dl(shown)
        with formatter.section("Options"):
            formatter.write_dl(list(rows.values()))


def _help(name: str) -> str:
    text, usual = settings.description(name), settings.default(name)
    again = " May be repeated." if isinstance(usual, (list, dict)) else ""
    stands = f"  [default: {usual}]" if isinstance(usual, (str, int, float)) and not isinstance(usual, bool) else ""
    return f"{text[0].upper()}{text[1:]}.{again}{stands}"


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the user wrote, as plain data for `settings.merge`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or value == ():
            continue
        if isinstance(value, tuple):
            value = dict(value) if isinstance(settings.default(name), dict) else list(value)
        found[name] = value
    return found


class Pair(click.ParamType[tuple[str, Any]]):
    """KEY=VALUE. The value is JSON where it reads as such, a list where it has commas, and text otherwise."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The key and its value."""
        if isinstance(value, tuple):
            return value
        key, sign, text = str(value).partition("=")
        if not sign or not key.strip():
            self.fail(f"{value!r} is not KEY=VALUE; write for example lr=0.01", param, ctx)
        return key.strip(), plain_value(text.strip())


def plain_value(text: str) -> Any:
    """A number, true, false, null, a list or text, as it was meant on a command line."""
    try:
        return json.loads(text, parse_constant=lambda constant: constant)
    except (ValueError, RecursionError):
        pass
    if "," in text:
        return [plain_value(part.strip()) for part in text.split(",") if part.strip()]
    return text


def json_option(command: F) -> F:
    """--json: plain data for other programs instead of text for people."""
    return click.option("--json", is_flag=True, help="Print JSON for other programs.")(command)


def study_argument(command: F) -> F:
    """FOLDER: an existing study."""
    return click.argument("folder", metavar="FOLDER", callback=_study, shell_complete=completing.folders)(command)


def _study(_: click.Context, __: click.Parameter, value: str) -> Path:
    folder = Path(value).expanduser()
    if folder.name == "study.db" and folder.is_file():
        folder = folder.parent
    if not folder.exists():
        raise StorageError(f"there is no folder {folder}; `searchitect list` shows the studies in runs/")
    if not (folder / "study.db").exists():
        raise StorageError(f"{folder} holds no study (no file study.db); `searchitect list {folder}` looks below it")
    return folder


def import_from_here() -> None:
    """Let module:object be found in the current folder, as a script there would find it.

    At the end of the path, so that a file of the user's never hides a module of somebody else.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
