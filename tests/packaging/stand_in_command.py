"""Stands in for `pytaskfarmer` and `pytaskfarmer.py`: reads the command line as they would, and does nothing.

Ends with 2 and one line if the command, or one of its options, does not exist.
"""

import os
import sys

import click

from pytaskfarmer.cli import main, run
from pytaskfarmer.cli.arguments import legacy
from pytaskfarmer.errors import FarmError


def check(words: list[str]) -> None:
    """Parse the words of one command. Raises `click.ClickException` and `FarmError`."""
    if not words or words[0].startswith("-"):
        main.group.make_context("pytaskfarmer", words)
        return
    name, *rest = words
    command = main.group.get_command(click.Context(main.group), name)
    assert command is not None
    if name == "run":
        rest = legacy(rest, run.spellings(), lambda word: word.endswith(".txt"))
    command.make_context(name, rest)


if __name__ == "__main__":
    as_run = os.path.basename(sys.argv[0]) == "pytaskfarmer.py"
    try:
        check((["run"] if as_run else []) + sys.argv[1:])
    except click.exceptions.Exit:
        pass
    except click.ClickException as error:
        sys.exit(f"stand-in: {error.format_message()}")
    except FarmError as error:
        sys.exit(f"stand-in: {error}")
