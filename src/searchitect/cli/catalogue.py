"""`searchitect spaces` and `searchitect strategies`: what there is to choose from."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from searchitect.cli.app import Command
from searchitect.cli.completing import completing
from searchitect.cli.options import import_from_here, json_option
from searchitect.cli.text import as_json, labelled
from searchitect.errors import UsageError
from searchitect.report.plain import clean, line, plural

if TYPE_CHECKING:
    from searchitect.space import Space


@click.command(cls=Command)
@json_option
def strategies(json: bool) -> None:
    """List the ways to search, for --strategy."""
    from searchitect.sharing import METHODS
    from searchitect.strategies import STRATEGIES

    found = [{"name": "auto", "description": "Chosen by the space and the time, and the reason is shown."}]
    found += [{"name": name, "description": description(place)} for name, place in {**STRATEGIES, **METHODS}.items()]
    if json:
        click.echo(as_json(found))
        return
    for text in labelled([(entry["name"], entry["description"]) for entry in found]):
        click.echo(text)


@click.command(cls=Command)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=completing("space"))
@json_option
def spaces(name: str | None, json: bool) -> None:
    """List the ready search spaces, for --space; or show the size and a drawing of one.

    NAME may also be module:object or FILE.py:object; that runs your code.
    """
    from searchitect.spaces import SPACES

    if name is not None:
        _show_space(name, json)
        return
    found = [{"name": key, "description": description(place)} for key, place in SPACES.items()]
    if json:
        click.echo(as_json(found))
        return
    for text in labelled([(entry["name"], entry["description"]) for entry in found]):
        click.echo(text)
    click.echo("size and drawing of one: searchitect spaces NAME")


def _show_space(name: str, json: bool) -> None:
    space = _load(name)
    title = line(space.name or name, 60)
    facts = {
        "name": title, "fingerprint": space.fingerprint, "size": str(space.size), "finite": space.size.finite,
        "continuous": space.size.continuous, "decisions": len(space.decisions), "baseline": space.baseline is not None,
        "drawing": space.draw(),
    }  # fmt: skip
    if json:
        click.echo(as_json(facts))
        return
    rows = [
        ("size", f"{facts['size']} networks from {plural(len(space.decisions), 'decision')}"),
        ("baseline", "comes with a hand-made network" if space.baseline is not None else "none"),
    ]
    click.echo("\n".join([title, *labelled(rows), "", *clean(space.draw(), 1_000_000).split("\n")]))


def _load(name: str) -> Space:
    from searchitect.space import Space
    from searchitect.spaces import load_space

    if ":" not in name:
        return load_space(name)
    from searchitect.session.userobjects import load_object

    import_from_here()
    found = load_object(name, "space")
    made = found if isinstance(found, Space) or not callable(found) else found()
    if not isinstance(made, Space):
        raise UsageError(
            f"space {name!r} is a {type(made).__name__}; it must be a Space or a function that returns one"
        )
    return made


def description(place: str) -> str:
    """The first sentence about a "module:object", read from its file without running it."""
    module, _, attribute = place.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    named: list[Any] = [
        node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == attribute
    ]
    text = next((found for node in [tree, *named] if (found := ast.get_docstring(node))), "")
    return " ".join(text.split("\n\n")[0].split())
