"""`searchitect init`: a commented configuration file with every option, made from `Settings` itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from searchitect import settings
from searchitect.cli.app import Command
from searchitect.cli.text import as_json, wrap
from searchitect.errors import StorageError, UsageError

HEAD = """\
# A search with searchitect:  searchitect search --config {name}
# Options of the command line win over this file. A line that starts with "#" is not read: it shows an
# option that is chosen for you, with an example. Paths are relative to where the command is started.
"""
ESSENTIAL = ("data", "budget")  # shown with their example, so that the file runs as it is


@click.command(cls=Command)
@click.argument("file", default="searchitect.toml", metavar="[FILE]")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of the file instead, for editors that check TOML.")
def init(file: str, force: bool, schema: bool) -> None:
    """Write a commented configuration file with every option.

    FILE is searchitect.toml unless you name another; "-" prints it.
    """
    if schema:
        click.echo(as_json(json_schema()))
        return
    if file == "-":
        click.echo(template(), nl=False)
        return
    path = Path(file).expanduser()
    try:
        with path.open("w" if force else "x", encoding="utf-8") as out:
            out.write(template(path.name))
    except FileExistsError:
        raise UsageError(f"{path} exists; choose another name, or overwrite it with --force") from None
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose another place") from None
    click.echo(f"wrote {path}")
    click.echo(f"next: edit it, then  searchitect search --config {path}")


def template(name: str = "searchitect.toml") -> str:
    """The file's text: options with a default as they are, the others behind a "#" with an example."""
    blocks, tables = [HEAD.format(name=name)], []
    for heading, options in settings.sections().items():
        blocks.append(f"# ---- {heading} ----\n")
        for option in options:
            if isinstance(settings.default(option), dict):
                tables.append(option)  # all that follows a table would be part of it
            else:
                blocks.append(_entry(option))
    return "\n".join([*blocks, "# ---- Strategy options and recipe ----\n", *map(_table, tables)])


def json_schema() -> dict[str, Any]:
    """What a configuration file may hold, as a JSON schema: names, types, bounds, allowed words and meanings."""
    made = msgspec.json.schema(settings.Settings)
    body = made["$defs"]["Settings"]
    rest = {name: part for name, part in made["$defs"].items() if name != "Settings"}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "searchitect.toml"}
    return head | {k: v for k, v in body.items() if k != "title"} | ({"$defs": rest} if rest else {})


def _entry(option: str) -> str:
    usual = settings.default(option)
    shown = settings.example(option) if usual in (None, []) else usual
    hidden = usual in (None, []) and option not in ESSENTIAL
    return _comment(option) + f"{'# ' if hidden else ''}{option} = {toml_value(shown)}\n"


def _table(option: str) -> str:
    lines = [f"# {key} = {toml_value(value)}\n" for key, value in settings.example(option).items()]
    return _comment(option) + f"[{option}]\n" + "".join(lines)


def _comment(option: str) -> str:
    text = settings.description(option)
    lines = wrap(f"{text[0].upper()}{text[1:]}.", first="# ", indent="# ")
    allowed = settings.choices(option)
    if allowed:
        lines.append(f"# One of: {', '.join(allowed)}.")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """Plain data as a TOML value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's basic strings escape alike
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_value(str(k))} = {toml_value(v)}" for k, v in value.items()) + "}"
    return repr(value)
