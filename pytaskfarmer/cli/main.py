"""The commands `pytaskfarmer ...`: which there are, and what every one of them does with an error."""

import difflib
import importlib
import io
import os
import shlex
import sys
from collections.abc import Sequence

import click

from pytaskfarmer import __version__
from pytaskfarmer.errors import FarmError, UsageError

_COMMANDS = (
    "run", "submit", "cancel", "status", "logs", "retry", "results", "show", "scale", "runners", "handlers",
    "completion",
)  # fmt: skip
_SCRIPT = "pytaskfarmer.py"
PROGRAMS = {"pytaskfarmer": "_PYTASKFARMER_COMPLETE", _SCRIPT: "_PYTASKFARMER_PY_COMPLETE"}
"""The programs, and the variables by which a shell asks them what completes a command line."""


class _Commands(click.Group):
    """A group that imports a command only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            raise UsageError(
                f"there is no command {cmd_name!r}. The commands are {', '.join(_COMMANDS)}.{_meant(cmd_name)}"
            )
        module = importlib.import_module(f"pytaskfarmer.cli.{cmd_name}")
        command: click.Command = module.command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pytaskfarmer")
def group() -> None:
    """Run a list of commands on many cores and many nodes, and resume after any crash.

    `pytaskfarmer.py TASKLIST` is the same as `pytaskfarmer run TASKLIST`.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an error of the user's is one line on stderr and 2."""
    _prepare_standard_files()
    words = list(sys.argv[1:] if argv is None else argv)
    status = _status(words)
    try:
        sys.stdout.flush()
    except OSError:
        # Whoever read our output has gone, as `head` does; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _status(words: list[str]) -> int:
    try:
        status = _answer(words)
        if status is None:
            status = _run(words[1:]) if words[:1] == ["run"] else _command(words)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.NoSuchOption as error:
        from pytaskfarmer.cli import hints

        return _complain(hints.about(error))
    except click.MissingParameter as error:
        way = f" See: {error.ctx.command_path} --help" if error.ctx else ""
        return _complain(error.format_message() + way)
    except click.ClickException as error:
        return _complain(error.format_message())
    except FarmError as error:
        return _complain(str(error))
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}.")
    return status if isinstance(status, int) else 0


def _meant(command: str) -> str:
    if os.path.isfile(command):
        return f" Did you mean: pytaskfarmer run {shlex.quote(command)}"
    close = difflib.get_close_matches(command, _COMMANDS, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _command(words: list[str]) -> object:
    return group.main(words, prog_name="pytaskfarmer", standalone_mode=False)


def _answer(words: list[str]) -> object:
    """Answer a shell that asks what could be typed, if that is who started us."""
    if words not in ([], ["run"]):
        return None
    program = _SCRIPT if words else "pytaskfarmer"
    if not (instruction := os.environ.get(PROGRAMS[program])):
        return None
    from pytaskfarmer.cli import completion

    if program != _SCRIPT:
        return completion.answer(program, group, instruction)
    from pytaskfarmer.cli import run

    return completion.answer(program, run.command, instruction)


def _run(words: list[str]) -> object:
    from pytaskfarmer.cli import run
    from pytaskfarmer.cli.arguments import legacy

    name = "pytaskfarmer run"
    if os.path.basename(sys.argv[0]) == _SCRIPT:
        name = _SCRIPT
        if words and words[0] in _COMMANDS and not os.path.exists(words[0]):
            raise UsageError(f"there is no task list {words[0]!r}. Did you mean: pytaskfarmer {shlex.join(words)}")
    words = legacy(words, run.spellings(), os.path.isfile)
    return run.command.main(words, prog_name=name, standalone_mode=False)


def _prepare_standard_files() -> None:
    """Open /dev/null where a descriptor below 3 is closed, and let no text be impossible to print."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or open(0)
    sys.stdout = sys.stdout or open(1, "w")
    sys.stderr = sys.stderr or open(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(message: str) -> int:
    print(f"pytaskfarmer: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return 2
