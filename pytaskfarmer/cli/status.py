"""`pytaskfarmer status WORKDIR`."""

import json
import os
import sys
from dataclasses import asdict, dataclass

import click

from pytaskfarmer.durations import format_duration
from pytaskfarmer.views import state, words
from pytaskfarmer.workdir.layout import Layout

_SHOWN = 20
_PATIENCE = 5.0
_OVER = {"ended", "cancelled"}


@dataclass(frozen=True, slots=True)
class _Job:
    """A batch job: `state` is one of `cluster.contract.State`'s words, and `words` say it to a person."""

    id: str
    engine: str
    state: str
    reason: str
    output: str
    words: str


@click.command("status", short_help="Show how a run stands: counts, running tasks, farmers.")
@click.argument("workdir")
@click.option("--all", "everything", is_flag=True, help=f"Show all tasks, farmers and jobs, not only {_SHOWN} of each.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def command(workdir: str, everything: bool, as_json: bool) -> None:
    """Show how a run stands: counts, running tasks, farmers alive and dead, failed tasks, batch jobs.

    Every task is counted once. `waiting` tasks are in the list for any farmer to take; `held` ones have been taken by a
    farmer and are about to start, wait for another attempt, or have just ended; `lost` ones were taken by a farmer
    that died, and the next run takes them back.

    Reads the files of WORKDIR without a lock, so it disturbs nobody, and what it says may be a moment old. Where jobs
    are that `pytaskfarmer submit` has submitted, the batch system is asked. WORKDIR may also be the task list, if its
    work directory has the usual name.
    """
    layout = state.workdir_of(workdir, even_before=True)
    now = state.read(layout)
    failed = list(state.failures(layout))
    jobs = _jobs(layout)
    if as_json:
        more = {"failed_tasks": [asdict(task) for task in failed], "jobs": [asdict(job) for job in jobs]}
        print(json.dumps({**asdict(now), **more}, indent=1))
        return
    most = sys.maxsize if everything else _SHOWN
    if state.has_books(layout):
        _show(now, failed, most)
    else:
        print(f"{words.place(now.workdir)}: no farmer has begun yet")
    living = [job for job in jobs if job.state not in _OVER]
    _table("jobs", [_job(job) for job in (*living, *(job for job in reversed(jobs) if job.state in _OVER))], most)
    for engine in dict.fromkeys(job.engine for job in jobs if job.state == "unknown"):
        print(f"  {engine} does not answer, so where its jobs are is not known")


def _show(now: state.State, failed: list[state.FailedTask], most: int) -> None:
    print(f"{words.place(now.workdir)}: {words.count(now.tasks, 'task')}")
    parts = [f"{now.finished:,} finished", f"{now.failed:,} failed", f"{now.running:,} running"]
    parts += [f"{now.held:,} held", f"{now.waiting:,} waiting", *([f"{now.lost:,} lost"] if now.lost else [])]
    print("  " + ", ".join(parts))
    if not now.ready:
        print("  the list is still being set up")
    if now.lost:
        print("  lost tasks were taken by farmers that died; the next run takes them back")
    _table("running", [_running(task) for task in now.running_tasks if task.alive], most)
    _table("farmers", [_farmer(farmer) for farmer in now.farmers], most)
    _table("failed", [_failed(task) for task in failed], most)


def _table(title: str, rows: list[str], most: int) -> None:
    if rows:
        print(f"{title}:")
        for row in rows[:most]:
            print(f"  {row}")
        if len(rows) > most:
            print(f"  and {len(rows) - most:,} more (--all shows them)")


def _jobs(layout: Layout) -> list[_Job]:
    """Return the jobs of a work directory; where none is noted, nothing is imported or asked."""
    if not os.path.exists(layout.job_notes):
        return []
    from pytaskfarmer.cluster import batch

    return [
        _Job(job.id, job.engine, sight.state.value, sight.reason, layout.job_output(job.id), str(sight))
        for job, sight in batch.sights(layout, _PATIENCE)
    ]


def _job(job: _Job) -> str:
    return f"{job.id}  {job.words}  {words.place(job.output)}"


def _running(task: state.RunningTask) -> str:
    again = f" attempt {task.attempt}" if task.attempt > 1 else ""
    age = format_duration(max(0.0, task.age))
    return f"{task.id}  {task.host} slot {task.slot}{again}  {age}  {words.cut(task.task)}"


def _farmer(farmer: state.FarmerState) -> str:
    life = "suspended" if farmer.suspended else "alive" if farmer.alive else "dead"
    since = "up" if farmer.alive else "began"
    ago = "" if farmer.alive else " ago"
    job = f" job {farmer.job}" if farmer.job else ""
    row = f"{farmer.host} pid {farmer.pid}{job}  {life}  {since} {format_duration(max(0.0, farmer.age))}{ago}"
    if farmer.alive:
        return f"{row}  {words.count(farmer.slots, 'slot')}, {farmer.running} running, {farmer.held} held"
    return f"{row}  {words.count(farmer.running + farmer.held, 'task')} lost"


def _failed(task: state.FailedTask) -> str:
    end = words.ending_of(task.outcome, task.status) if task.outcome else "no record"
    return f"{task.id}  {end}  {words.cut(task.task)}"
