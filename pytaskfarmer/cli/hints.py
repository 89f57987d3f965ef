"""What to type instead of an option that a command does not have, for who knows it from somewhere else."""

import click

_FROM_PARALLEL = {
    "--proc": ("-j", "--jobs", "-P", "--max-procs"),
    "--workdir": ("--results", "--outputasfiles"),
    "--retry-failed": ("--resume-failed",),
    "--max-fails": ("--halt", "--halt-on-error"),
    "--mem-per-task": ("--memfree",),
    "--order random": ("--shuf",),
    "--stop-signal and --grace": ("--termseq",),
}
_INSTEAD = {option: f"use {ours}" for ours, theirs in _FROM_PARALLEL.items() for option in theirs}
_INSTEAD |= {
    "--resume": "the same command again resumes",
    "--joblog": "`pytaskfarmer status`, and timeline.json in the work directory, have what it would hold",
    "--delay": "use fewer slots (--proc), or a `sleep` in the tasks",
}
_INSTEAD |= dict.fromkeys(("--bar", "--eta", "--progress"), "progress is shown by itself, on a terminal")
_INSTEAD |= dict.fromkeys(
    ("-k", "--keep-order", "--tag", "--group"), "`pytaskfarmer logs TASKLIST --all` prints task by task"
)
"""For the options of GNU parallel, and some of xargs."""


def about(error: click.NoSuchOption) -> str:
    """Return the line about an option that there is not."""
    context, option = error.ctx, error.option_name
    if context is None:
        return error.format_message()
    parameters = {parameter.name for parameter in context.command.params}
    if option in _INSTEAD and "proc" in parameters:
        return f"No such option {option!r}; {_INSTEAD[option]}."
    if option in {"-w", "--workdir"} and "workdir" in parameters:
        return f"{error.message} The work directory is an argument of this command: {context.command_path} DIR."
    return error.format_message() + ("" if error.possibilities else f" See: {context.command_path} --help")
