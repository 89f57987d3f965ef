"""`pytaskfarmer logs WORKDIR ID...`."""

import sys

import click

from pytaskfarmer.errors import UsageError
from pytaskfarmer.views import state
from pytaskfarmer.workdir import claims, outputs, roster
from pytaskfarmer.workdir.layout import Layout


@click.command("logs")
@click.argument("workdir")
@click.argument("ids", nargs=-1, type=int, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="Print the output of all tasks, under a heading each.")
@click.option("--attempts", is_flag=True, help="Print all attempts at each task, not only the latest one.")
def command(workdir: str, ids: tuple[int, ...], everything: bool, attempts: bool) -> int:
    """Print what tasks have printed, by task id, however it was kept.

    WORKDIR may also be the task list, if its work directory has the usual name. The exit status is 1 if nothing was
    found.
    """
    if everything == bool(ids):
        raise UsageError("name the ids of tasks, or use --all.")
    layout = state.workdir_of(workdir)
    running = _running(layout)
    printed = 0
    if everything or attempts:
        for output in outputs.outputs(layout, None if everything else ids, running):
            _print(output, heading=True)
            printed += 1
    else:
        for task_id in ids:
            latest = outputs.latest(layout, task_id, running)
            if latest is not None:
                _print(latest, heading=len(ids) > 1)
                printed += 1
    if not printed:
        print(
            "pytaskfarmer: no output: the tasks printed nothing, have not run, or ran with --logs none", file=sys.stderr
        )
    return 0 if printed else 1


def _running(layout: Layout) -> dict[tuple[str, int], tuple[int, int]]:
    return {
        (name, slot): (task_id, attempt)
        for name in roster.names(layout)
        for task_id, (attempt, slot, _) in claims.read(layout.claim(name)).running.items()
    }


def _print(output: outputs.Output, *, heading: bool) -> None:
    stream = sys.stdout.buffer
    if heading:
        end = f", {output.outcome.value} {output.status}" if output.outcome else ""
        stream.write(f"==> task {output.task_id}, attempt {output.attempt}{end} <==\n".encode())
    last = b"\n"
    for block in output.read():
        stream.write(block)
        last = block[-1:] or last
    if heading and last != b"\n":
        stream.write(b"\n")
    stream.flush()
