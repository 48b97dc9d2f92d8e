"""The `searchitect` command: its subcommands, its exit codes, and what happens to errors.

A command returns its exit code (None is 0) or raises. Whatever was raised on purpose is printed as what,
where and what next; anything else is a fault of ours and says so. A traceback is only shown on --debug.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from searchitect.cli.text import wrap
from searchitect.errors import SearchitectError

COMMANDS = {
    "search": "searching:search",
    "resume": "searching:resume",
    "stop": "stopping:stop",
    "status": "reading:status",
    "list": "reading:list_studies",
    "show": "reading:show",
    "report": "reading:report",
    "export": "exporting:export",
    "predict": "predicting:predict",
    "spaces": "catalogue:spaces",
    "space": "checking:space",
    "strategies": "catalogue:strategies",
    "bench": "benching:bench",
    "doctor": "doctor:doctor",
    "init": "template:init",
    "demo": "shells:demo",
    "completion": "shells:completion",
}
EXIT_CODES = {
    0: "done",
    1: "the run failed",
    2: "wrong usage: an option, a name, a space or a configuration file",
    3: "the data cannot be used",
    4: "the study's files cannot be read or written",
    5: "interrupted; finished work is kept and `searchitect resume` goes on",
    130: "interrupted at once",
}
LOUDNESS = "searchitect.loudness"  # key in click's context: -1 quiet, 0 usual, 1 notes, 2 everything


class Command(click.Command):
    """A subcommand that also takes -v, -q and --debug."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=_louder, help="Say more."),
            click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_quieter, help="Say less."),
            click.Option(
                ["--debug"], is_flag=True, expose_value=False, callback=_debug, help="Show tracebacks and all notes."
            ),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Set up logging as loud as was asked for, then run the command."""
        levels = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}
        logging.basicConfig(
            level=levels.get(loudness(ctx), logging.DEBUG),
            format="%(levelname)s %(name)s: %(message)s",
            handlers=[_ToErrors()],
            force=True,
        )
        return super().invoke(ctx)


class _ToErrors(logging.Handler):
    """Writes to what is the error stream at that moment (a live display stands in for it while it runs)."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            click.echo(self.format(record), err=True)


def _louder(ctx: click.Context, _: click.Parameter, value: int) -> None:
    if value:
        ctx.find_root().meta[LOUDNESS] = max(value, loudness(ctx))


def _quieter(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta[LOUDNESS] = -1


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta[LOUDNESS] = 2


def loudness(ctx: click.Context | None = None) -> int:
    """-1 quiet, 0 usual, 1 notes, 2 everything."""
    level: int = (ctx or click.get_current_context()).find_root().meta.get(LOUDNESS, 0)
    return level


class App(click.Group):
    """The group of all commands; each is loaded when it is named, and errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command's file."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(import_module(f"searchitect.cli.{module}"), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual, with the nearest name when there is no such command."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"The commands are {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and end the process with the exit code; `standalone_mode` makes no difference."""
        given = list(sys.argv[1:] if args is None else args)
        _forgive_encodings()
        debug = "--debug" in given
        try:
            code = super().main(given, prog_name or "searchitect", complete_var, standalone_mode=False, **extra)
        except Exception as error:
            code = _explain(error, debug)
        except KeyboardInterrupt:
            code = 130
        _forget_dead_streams()
        sys.exit(code or 0)


def _forget_dead_streams() -> None:
    """What a terminal or reader that has left did not take must not change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _forgive_encodings() -> None:
    """A terminal that cannot show a character gets a question mark instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _explain(error: Exception, debug: bool) -> int:
    """Print an error for a person and return its exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return 2
    if isinstance(error, click.Abort):
        _say("error", "interrupted at once; `searchitect resume DIR` goes on from what was stored")
        return 130
    if isinstance(error, OSError) and error.errno == errno.EPIPE:  # the reader, such as `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, click.ClickException):
        _say("error", error.format_message())
        context = getattr(error, "ctx", None)
        if context is not None:
            _say("next", f"{context.command_path} --help lists what is allowed")
        return 2
    if isinstance(error, SearchitectError):
        _say("error", str(error))
        return error.exit_code
    _say("error", f"unexpected {type(error).__name__}: {error}")
    _say("next", "this is a fault of searchitect: run again with --debug and report what it prints")
    return 1


def _say(label: str, message: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        for line in wrap(message, first=f"{label}: ", indent=" " * (len(label) + 2)):
            click.echo(line, err=True)


def _epilog() -> str:
    lines = [f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\b\nExit codes:\n" + "\n".join(lines)


@click.group(
    cls=App, epilog=_epilog(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)
@click.version_option(package_name="searchitect", prog_name="searchitect")
def app() -> None:
    """Search for the neural network that suits your data, your machine and your time.

    Start with: searchitect search --data digits --budget 3m
    """
