"""`pytaskfarmer status WORKDIR`."""

import json
from dataclasses import asdict

import click

from pytaskfarmer.durations import format_duration
from pytaskfarmer.views import state, words

_SHOWN = 20


@click.command("status", short_help="Show how a run stands: counts, running tasks, farmers.")
@click.argument("workdir")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def command(workdir: str, as_json: bool) -> None:
    """Show how a run stands: counts, running tasks, farmers alive and dead, failed tasks.

    Every task is counted once. `waiting` tasks are in the list for any farmer to take; `held` ones have been taken by a
    farmer and are about to start, wait for another attempt, or have just ended; `lost` ones were taken by a farmer
    that died, and the next run takes them back.

    Reads the files of WORKDIR without a lock, so it disturbs nobody, and what it says may be a moment old. WORKDIR may
    also be the task list, if its work directory has the usual name.
    """
    layout = state.workdir_of(workdir)
    now = state.read(layout)
    failed = list(state.failures(layout))
    if as_json:
        print(json.dumps({**asdict(now), "failed_tasks": [asdict(task) for task in failed]}, indent=1))
        return
    print(f"{words.place(now.workdir)}: {words.count(now.tasks, 'task')}")
    parts = [f"{now.finished:,} finished", f"{now.failed:,} failed", f"{now.running:,} running"]
    parts += [f"{now.held:,} held", f"{now.waiting:,} waiting", *([f"{now.lost:,} lost"] if now.lost else [])]
    print("  " + ", ".join(parts))
    if not now.ready:
        print("  the list is still being set up")
    if now.lost:
        print("  lost tasks were taken by farmers that died; the next run takes them back")
    _table("running", [_running(task) for task in now.running_tasks if task.alive])
    _table("farmers", [_farmer(farmer) for farmer in now.farmers])
    _table("failed", [_failed(task) for task in failed])


def _table(title: str, rows: list[str]) -> None:
    if rows:
        print(f"{title}:")
        for row in rows[:_SHOWN]:
            print(f"  {row}")
        if len(rows) > _SHOWN:
            print(f"  and {len(rows) - _SHOWN:,} more (--json prints all)")


def _running(task: state.RunningTask) -> str:
    again = f" attempt {task.attempt}" if task.attempt > 1 else ""
    age = format_duration(max(0.0, task.age))
    return f"{task.id}  {task.host} slot {task.slot}{again}  {age}  {words.cut(task.task)}"


def _farmer(farmer: state.FarmerState) -> str:
    life = "suspended" if farmer.suspended else "alive" if farmer.alive else "dead"
    since = "up" if farmer.alive else "began"
    ago = "" if farmer.alive else " ago"
    row = f"{farmer.host} pid {farmer.pid}  {life}  {since} {format_duration(max(0.0, farmer.age))}{ago}"
    if farmer.alive:
        return f"{row}  {words.count(farmer.slots, 'slot')}, {farmer.running} running, {farmer.held} held"
    return f"{row}  {words.count(farmer.running + farmer.held, 'task')} lost"


def _failed(task: state.FailedTask) -> str:
    end = words.ending_of(task.outcome, task.status) if task.outcome else "no record"
    return f"{task.id}  {end}  {words.cut(task.task)}"
