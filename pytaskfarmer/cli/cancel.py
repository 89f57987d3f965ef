"""`pytaskfarmer cancel WORKDIR`."""

import click

from pytaskfarmer.cluster import batch
from pytaskfarmer.views import state, words


@click.command("cancel", short_help="Cancel the batch jobs that were submitted for a list.")
@click.argument("workdir")
def command(workdir: str) -> None:
    """Cancel every batch job that `pytaskfarmer submit` has submitted for WORKDIR and that has not ended.

    Farmers that run get the grace that the batch system gives, and put back what they hold. WORKDIR may also be the
    task list, if its work directory has the usual name.
    """
    layout = state.workdir_of(workdir, even_before=True)
    jobs = batch.cancel(layout)
    if jobs:
        print(f"pytaskfarmer: {words.count(len(jobs), 'job')} cancelled: {' '.join(jobs)}")
    else:
        print(f"pytaskfarmer: no job of {words.place(layout.root)} waits or runs")
