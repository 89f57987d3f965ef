"""`pytaskfarmer completion SHELL`, and what a shell is told when somebody presses TAB.

The script that a shell reads is click's. It starts the command anew for each TAB, with a variable in the environment
that says what was typed so far; `main` gives the question to `answer`. So an answer may cost no more than a person
notices: names of commands are told without importing any of them, and what completes a parameter follows from its
name, here, so that the commands know nothing of it.
"""

import os

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from pytaskfarmer.cli.main import PROGRAMS
from pytaskfarmer.errors import FarmError, UsageError

SHELLS = ("bash", "zsh", "fish")
_ZSH_FIRST = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"


class _Names(click.ParamType):  # type: ignore[type-arg]  # generic only in later releases of click
    """The name of a runner or of a handler."""

    def __init__(self, kind: str) -> None:
        self.name = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that can be used here; no class is imported for that."""
        from pytaskfarmer.plugins.definitions import Definition
        from pytaskfarmer.plugins.registry import Registry

        found = [entry.name for entry in Registry.read().known(self.name).entries if isinstance(entry, Definition)]
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]


_FILE, _DIRECTORY = click.Path(), click.Path(file_okay=False)
_OF_OPTIONS = {"workdir": _DIRECTORY, "output": _DIRECTORY, "runner": _Names("runner"), "handler": _Names("handler")}
_OF_ARGUMENTS = {"tasklist": _FILE, "workdir": _FILE}  # the latter may be the list of a work directory
_OF_NAMES = {"runners": _Names("runner"), "handlers": _Names("handler")}


class _Commands(click.Group):
    """The commands of a group, with what completes their parameters."""

    def __init__(self, group: click.Group) -> None:
        super().__init__(group.name, params=group.params)
        self._group = group

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._group.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = self._group.get_command(ctx, cmd_name)
        return None if command is None else _completing(command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


def answer(program: str, command: click.Command, instruction: str) -> int:
    """Print what could stand where the cursor is; return the exit status. What cannot be understood has no answer."""
    cli = _Commands(command) if isinstance(command, click.Group) else _completing(command)
    try:
        return shell_complete(cli, {}, program, PROGRAMS[program], instruction)
    except (FarmError, click.ClickException):
        return 1


def _completing(command: click.Command) -> click.Command:
    """Say what completes the parameters of a command, and show the options that it takes over from `run`."""
    for param in command.params:
        name = param.name or ""
        if isinstance(param, click.Option):
            param.type = _OF_OPTIONS.get(name, param.type)
            param.hidden = name == "no_verbose"
        elif name == "name" and command.name in _OF_NAMES:
            param.type = _OF_NAMES[command.name]
        else:
            param.type = _OF_ARGUMENTS.get(name, param.type)
    return command


def script(shell: str) -> str:
    """Return what `shell` is to read so that it completes both programs."""
    made = get_completion_class(shell)
    assert made is not None
    parts = [made(click.Command(name), {}, name, variable).source() for name, variable in PROGRAMS.items()]
    return (_ZSH_FIRST if shell == "zsh" else "") + "\n".join(parts)


@click.command("completion", short_help="Print what makes a shell complete these commands.")
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def command(shell: str | None) -> None:
    """Print what makes a SHELL (by default yours) complete `pytaskfarmer` and `pytaskfarmer.py`.

    Add one line to ~/.bashrc or ~/.zshrc: eval "$(pytaskfarmer completion bash)", or zsh; or to
    ~/.config/fish/config.fish: pytaskfarmer completion fish | source
    """
    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))
    if not chosen:
        raise UsageError(
            "SHELL does not say what your shell is; name bash, zsh or fish, as in: pytaskfarmer completion bash"
        )
    if chosen not in SHELLS:
        raise UsageError(f"your shell, {chosen}, is none of {', '.join(SHELLS)}.")
    print(script(chosen), end="")
