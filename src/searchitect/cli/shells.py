"""`searchitect completion` and `searchitect demo`: conveniences for the first minutes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from searchitect.cli.app import Command, app
from searchitect.errors import UsageError

PLACES = {
    "bash": '~/.bashrc: eval "$(searchitect completion bash)"',
    "zsh": '~/.zshrc: eval "$(searchitect completion zsh)"',
    "fish": "~/.config/fish/config.fish: searchitect completion fish | source",
}


@click.command(cls=Command, epilog="\b\nWhere it goes:\n" + "\n".join(f"  {place}" for place in PLACES.values()))
@click.argument("shell", type=click.Choice(list(PLACES)))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and names."""
    maker = get_completion_class(shell)
    if maker is None:
        raise UsageError(f"this version of click cannot complete in {shell}")
    script = maker(app, {}, "searchitect", "_SEARCHITECT_COMPLETE")
    click.echo(script.source_template % script.source_vars())


@click.command(cls=Command)
@click.option("--budget", default="60s", show_default=True, metavar="TIME", help="Time for everything.")
@click.pass_context
def demo(ctx: click.Context, budget: str) -> int:
    """Search a network for handwritten digits that ship along, with verdict, report and bundle.

    The same as: searchitect search --data digits --budget 60s
    """
    from searchitect.cli.searching import search

    code: int = ctx.invoke(search, data="digits", budget=budget)
    return code
