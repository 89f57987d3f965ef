"""`pytaskfarmer show TASKLIST`."""

import os
import shlex
import sys
from collections.abc import Collection, Iterator
from itertools import islice

import click

from pytaskfarmer.cli.values import HANDLER, HANDLER_OPTIONS, RUNNER_OPTIONS, TRUST_INI, Directory
from pytaskfarmer.errors import DefinitionError, FarmError, UsageError
from pytaskfarmer.plugins import registry, trust
from pytaskfarmer.plugins.contracts import Command, TaskContext, Tasklist, WorkerRunner
from pytaskfarmer.task import Task, decode, encode, printable
from pytaskfarmer.views import words
from pytaskfarmer.workdir import spool
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.source import Source

_OF_EVERY_SHELL = frozenset({"_", "OLDPWD", "PWD", "SHLVL"})
"""Variables that each shell sets for itself; nobody wants to read them here."""

_COUNT = 10
_LONGEST_REQUEST = 2000
_LONGEST_SCRIPT = 5
"""Lines."""


@click.command("show", short_help="Print tasks of a list as they would run.")
@click.argument("tasklist", metavar="TASKLIST")
@click.argument("ids", nargs=-1, type=click.IntRange(min=0), metavar="[ID]...")
@HANDLER
@HANDLER_OPTIONS
@click.option("-r", "--runner", metavar="NAME", help="Print what this runner would start, too.")
@RUNNER_OPTIONS
@click.option(
    "-w", "--workdir", type=Directory(), metavar="DIR",
    help="The work directory of the run.  [default: TASKLIST_workdir]",
)  # fmt: skip
@click.option(
    "-n", "--count", type=click.IntRange(min=1), metavar="N", help=f"Print the first N tasks.  [default: {_COUNT}]"
)
@TRUST_INI
def command(
    tasklist: str, ids: tuple[int, ...], handler: str, handler_options: dict[str, str], runner: str | None,
    runner_options: dict[str, str], workdir: str | None, count: int | None, trust_ini: bool,
) -> None:  # fmt: skip
    """Print the first tasks of TASKLIST, or those with these IDs, as they would run.

    There is a line for each: the id and the text of the task.

    With a runner, the process that it would start stands below each task, as words for a shell; of a script of many
    lines, only the last one. If tasks are handed to a worker, its process stands above the first task, and what it
    would be sent below each, where that is not the task's text. Nothing is started, and nothing is left behind.
    TASKLIST may be `-` for standard input.
    """
    if ids and count is not None:
        raise UsageError("name the ids of tasks, or use --count, one of them.")
    layout = Layout(os.path.abspath(workdir or os.path.normpath(tasklist) + "_workdir"))
    names = registry.Registry.read(distrust=trust.rule(tasklist, trust_all=trust_ini))
    reader = names.handler(handler, handler_options)
    name = runner or ("default" if runner_options else None)
    starter = names.runner(name, runner_options) if name else None
    for note in (*names.notes("handler", handler), *(names.notes("runner", name) if name else ())):
        print(f"pytaskfarmer: {note}", file=sys.stderr)
    with spool.kept(tasklist, layout, keep=False) as path:
        source = Source(Tasklist(path, layout.root), reader, handler)
        stream = (Task(task_id, decode(text)) for task_id, text in source.stream())
        tasks = _named(stream, ids) if ids else islice(stream, count or _COUNT)
        try:
            for line in _starts(tasks, starter, layout, f"runner {name!r}") if starter else map(_line, tasks):
                sys.stdout.buffer.write(encode(line) + b"\n")
        finally:
            getattr(starter, "close", bool)()
    sys.stdout.flush()


def _named(tasks: Iterator[Task], ids: Collection[int]) -> Iterator[Task]:
    """Yield those of these ids. Raises `UsageError` if the list is too short for one."""
    last, read = max(ids), 0
    for task in islice(tasks, last + 1):
        read += 1
        if task.id in ids:
            yield task
    if read <= last:
        raise UsageError(f"there is no task {last}: the list has {words.count(read, 'task')}, from 0 on.")


def _line(task: Task) -> str:
    return f"{task.id} {task.text}"


def _starts(tasks: Iterator[Task], runner: registry.AnyRunner, layout: Layout, who: str) -> Iterator[str]:
    """Yield the line of each task, with what `runner` would start. Raises `FarmError` where it fails."""
    for number, task in enumerate(tasks):
        context = _context(task, layout)
        try:
            if not isinstance(runner, WorkerRunner):
                lines = [_line(task), f"    {_words(runner.command(task, context), who)}"]
            else:
                request = decode(runner.request(task, context))
                above = [] if number else [f"worker: {_words(runner.worker(context), who)}"]
                below = [] if request == task.text else [f"    {printable(request, _LONGEST_REQUEST)}"]
                lines = [*above, _line(task), *below]
        except FarmError:
            raise
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {printable(str(error).partition(chr(10))[0])}"
            raise DefinitionError(who, f"failed at task {task.id}: {told}") from error
        yield from lines


def _context(task: Task, layout: Layout) -> TaskContext:
    number = str(task.id)
    environment = {
        **os.environ,
        "PROC_NUMBER": number,
        "PYTASKFARMER_TASK_ID": number,
        "PYTASKFARMER_SLOT": "0",
        "PYTASKFARMER_ATTEMPT": "1",
        "PYTASKFARMER_WORKDIR": layout.root,
    }
    return TaskContext(0, 1, layout.root, environment)


def _words(command: Command, who: str) -> str:
    """Return a command as a line for a shell; scripts of many lines are cut. Raises `DefinitionError` for another."""
    if not isinstance(command, Command):
        raise DefinitionError(who, f"returned {printable(repr(command), 60)}, which is no Command")
    changes = {name: value for name, value in command.environment.items() if name not in _OF_EVERY_SHELL}
    unset = [f"-u {shlex.quote(name)}" for name, value in changes.items() if value is None]
    values = [f"{name}={_quoted(value)}" for name, value in changes.items() if value is not None]
    there = [f"cd {shlex.quote(command.cwd)} &&"] if command.cwd is not None else []
    environment = ["env", *unset, *values] if unset or values else []
    return " ".join([*there, *environment, *map(_quoted, command.argv)])


def _quoted(word: str) -> str:
    """Return a word as a shell would read it, on one line."""
    lines = word.split("\n")
    if len(lines) == 1:
        return shlex.quote(word)
    if len(lines) > _LONGEST_SCRIPT:
        lines = [f"[{len(lines) - 1} lines]", lines[-1]]
    escaped = "\n".join(lines).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{escaped}'"
