"""docs/cli.md against the commands: its tables are made here and must not differ.

To write them anew: python tests/cli/test_cli_docs.py
"""

from pathlib import Path

import click

from searchitect import settings
from searchitect.cli.app import COMMANDS, EXIT_CODES, app

DOC = Path(__file__).parents[2] / "docs" / "cli.md"
MARK = "<!-- The tables below are made from the code by tests/cli/test_cli_docs.py. -->\n"
SHARED = ("verbose", "quiet", "debug", "help")


def reference():
    """The tables of commands, options and exit codes."""
    root = click.Context(app, info_name="searchitect")
    commands = {}
    for name in COMMANDS:
        command = app.get_command(root, name)
        inner = command.commands if isinstance(command, click.Group) else {}
        commands |= {f"{name} {part}": one for part, one in inner.items()} or {name: command}
    lines = ["## Commands", "", "| command | what it does |", "|---|---|"]
    lines += [f"| `{_usage(name, c)}` | {c.get_short_help_str(200)} |" for name, c in commands.items()]
    lines += ["", "Every command also takes:", "", "| option | meaning |", "|---|---|"]
    lines += _options(commands["list"], lambda name: name in SHARED[:3])
    for name, command in commands.items():
        table = _options(command, lambda option: option not in SHARED)
        if table:
            lines += ["", f"## searchitect {name}", "", "| option | meaning |", "|---|---|", *table]
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(lines) + "\n"


def _usage(name, command):
    words = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    return " ".join(["searchitect", name, *words])


def _options(command, wanted):
    context = click.Context(command)
    rows = []
    for option in command.params:
        if isinstance(option, click.Option) and wanted(option.name):
            names, meaning = option.get_help_record(context)
            cells = (f"`{names}`", " ".join(meaning.split()))
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def test_the_tables_are_those_of_the_code():
    text = DOC.read_text(encoding="utf-8")
    assert text.partition(MARK)[2].strip() == reference().strip(), "run: python tests/cli/test_cli_docs.py"


def test_the_tables_have_everything():
    text = reference()
    for name in COMMANDS:
        assert f"`searchitect {name}" in text
    for name in settings.names():
        assert f"`{settings.flag(name)}" in text
    assert all(f"| {code} |" in text for code in EXIT_CODES)


def test_the_commands_in_the_text_exist():
    import re

    told = DOC.read_text(encoding="utf-8").partition(MARK)[0]
    named = set(re.findall(r"searchitect ([a-z]+)", told))
    assert named <= set(COMMANDS)
    for flag in re.findall(r"(?<!\S)(--[a-z-]+)", told):
        assert f"`{flag}" in reference() or f"{flag} " in reference(), flag


if __name__ == "__main__":
    before = DOC.read_text(encoding="utf-8").partition(MARK)[0]
    DOC.write_text(before + MARK + "\n" + reference(), encoding="utf-8")
