"""`pytaskfarmer retry WORKDIR [ID...]`."""

import click

from pytaskfarmer.errors import UsageError, WorkdirError
from pytaskfarmer.farm import process
from pytaskfarmer.views import state, words
from pytaskfarmer.workdir import records, register, revision
from pytaskfarmer.workdir.registration import visit


@click.command("retry", short_help="Put failed tasks back into the list.")
@click.argument("workdir")
@click.argument("ids", nargs=-1, type=int, metavar="[ID...]")
def command(workdir: str, ids: tuple[int, ...]) -> None:
    """Put failed tasks back into the list: those named, or all.

    Farmers that are running take them up; otherwise run the task list again. WORKDIR may also be the task list, if its
    work directory has the usual name.
    """
    layout = state.workdir_of(workdir)
    if register.read(layout) is None:
        raise WorkdirError(f"{workdir}: was left by PyTaskFarmer 0.1.0; run its task list with --retry-failed instead.")
    with visit(layout, process.kill_leftovers) as books:
        missing = set(ids).difference(records.ids(layout.failed))
        if missing:
            strangers = ", ".join(map(str, sorted(missing)))
            raise UsageError(f"not among the failed tasks: {strangers}. Nothing was put back.")
        tasks = revision.retry(books, frozenset(ids) or None)
    if tasks:
        print(
            f"pytaskfarmer: {words.count(len(tasks), 'task')} put back into {words.place(layout.toprocess)}; "
            "if no farmer is running, run the list again"
        )
    else:
        print("pytaskfarmer: no task has failed")
