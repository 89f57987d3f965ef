"""`pytaskfarmer logs WORKDIR ID...`."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache

import click

from pytaskfarmer.errors import UsageError
from pytaskfarmer.task import signal_name
from pytaskfarmer.views import state, words
from pytaskfarmer.workdir import claims, outputs, records, register, roster
from pytaskfarmer.workdir.layout import Layout

EndingOf = Callable[[int], str | None]


@click.command("logs", short_help="Print what tasks have printed.")
@click.argument("workdir")
@click.argument("ids", nargs=-1, type=int, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="Print the output of all tasks, every attempt under a heading.")
@click.option("--failed", is_flag=True, help="Print the output of the tasks that failed, under a heading each.")
@click.option("--attempts", is_flag=True, help="Print all attempts at each task, not only the latest one.")
def command(workdir: str, ids: tuple[int, ...], everything: bool, failed: bool, attempts: bool) -> int:
    """Print what tasks have printed, by task id (the first task is 0), however it was kept.

    WORKDIR may also be the task list, if its work directory has the usual name. The exit status is 1 if one of the
    tasks has neither printed anything nor ended.
    """
    if [bool(ids), everything, failed].count(True) != 1:
        raise UsageError("name the ids of tasks, or use --all or --failed" + (", one of them." if ids else "."))
    layout = state.workdir_of(workdir)
    _check(layout, ids)
    if failed:
        ids = tuple(sorted(records.ids(layout.failed)))
        if not ids:
            print("pytaskfarmer: no task has failed", file=sys.stderr)
    running = _running(layout)
    ending = _endings(layout, {task_id for task_id, _ in running.values()})
    found = outputs.outputs(layout, None if everything else ids, running)
    if not (everything or attempts):
        found = _latest(found)
    bare = len(ids) == 1 and not (failed or attempts)
    silent = set(ids)
    for output in found:
        _print(output, "" if bare else _heading(layout, output, ending))
        silent.discard(output.task_id)
    return _explain(layout, [task_id for task_id in dict.fromkeys(ids) if task_id in silent], ending)


def _latest(found: Iterable[outputs.Output]) -> Iterator[outputs.Output]:
    """Yield the last of each task's outputs, unless it is empty."""
    latest = {output.task_id: output for output in found}
    return (output for output in latest.values() if output.length)


def _check(layout: Layout, ids: Collection[int]) -> None:
    known = register.read(layout)
    for task_id in ids:
        if known is not None and not 0 <= task_id < known.tasks:
            raise UsageError(f"there is no task {task_id}: the list has {words.count(known.tasks, 'task')}, from 0 on.")


def _running(layout: Layout) -> dict[tuple[str, int], tuple[int, int]]:
    return {
        (name, slot): (task_id, attempt)
        for name in roster.names(layout)
        for task_id, (attempt, slot, _) in claims.read(layout.claim(name)).running.items()
    }


def _endings(layout: Layout, running: Collection[int]) -> EndingOf:
    """Return what tells how a task's last attempt ended, and reads the timeline only if asked."""

    @cache
    def endings() -> dict[int, tuple[str, int | str | None]]:
        return state.endings(layout)

    def ending(task_id: int) -> str | None:
        known = None if task_id in running else endings().get(task_id)
        return words.ending_of(*known) if known else None

    return ending


def _heading(layout: Layout, output: outputs.Output, ending: EndingOf) -> str:
    """Return the line above an output; of several attempts in files, only the last one's end is known."""
    end: str | None
    if output.outcome is not None:
        status = output.status if output.status >= 0 else signal_name(-output.status)
        end = words.ending_of(output.outcome.value, status)
    else:
        end = ending(output.task_id) if output.path == layout.log(output.task_id) else None
    return f"==> task {output.task_id}, attempt {output.attempt}{f', {end}' if end else ''} <==\n"


def _print(output: outputs.Output, heading: str) -> None:
    stream = sys.stdout.buffer
    stream.write(heading.encode())
    last = b"\n"
    for block in output.read():
        stream.write(block)
        last = block[-1:] or last
    if heading and last != b"\n":
        stream.write(b"\n")
    stream.flush()


def _explain(layout: Layout, silent: Collection[int], ending: EndingOf) -> int:
    """Say why there is nothing to print for these tasks; return the exit status."""
    if not silent:
        return 0
    finished, failed = set(records.ids(layout.finished)), set(records.ids(layout.failed))
    for task_id in silent:
        if task_id in finished | failed:
            end = f" ({ending(task_id)})" if task_id in failed and ending(task_id) else ""
            why = f"{end} printed nothing, or ran with --logs none"
        else:
            why = " has not ended, and has printed nothing so far"
        print(f"pytaskfarmer: task {task_id}{why}", file=sys.stderr)
    return 0 if finished | failed >= set(silent) else 1
