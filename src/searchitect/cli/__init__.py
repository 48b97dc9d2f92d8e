"""The command line: parse, call the library, print. Nothing heavy is loaded before a command needs it."""

from searchitect.cli.app import app


def main() -> None:
    """What the `searchitect` command runs; ends the process with one of the documented exit codes."""
    app()


__all__ = ["app", "main"]
