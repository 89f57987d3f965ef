"""The state of a run, read from its files without a lock: it may be a moment old, and decides nothing."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.task import Outcome, printable
from pytaskfarmer.workdir import claims, identity, records, register, roster, timeline
from pytaskfarmer.workdir.layout import Layout

_SILENT = 3 * roster.HEARTBEAT


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that a farmer runs now; `age` in seconds."""

    id: int
    task: str
    attempt: int
    host: str
    slot: int
    age: float
    farmer: str
    alive: bool


@dataclass(frozen=True, slots=True)
class FarmerState:
    """A registered farmer. `alive` is what its heartbeat and, on its own node, its process tell; `age` in seconds."""

    name: str
    host: str
    pid: int
    slots: int
    alive: bool
    age: float
    held: int
    running: int


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that has failed; `status` is the exit status or the signal's name, None where no event tells it."""

    id: int
    task: str
    outcome: str | None
    status: int | str | None


@dataclass(frozen=True, slots=True)
class State:
    """Counts of a run, its running tasks and its farmers. `lost` tasks were held by the dead or are named nowhere."""

    workdir: str
    tasklist: str
    tasks: int
    finished: int
    failed: int
    running: int
    held: int
    waiting: int
    lost: int
    ready: bool
    running_tasks: tuple[RunningTask, ...]
    farmers: tuple[FarmerState, ...]


def workdir_of(path: str) -> Layout:
    """Return the layout of a work directory; also for the path of a task list whose work directory is beside it.

    Raises `WorkdirError` where there is none.
    """
    for candidate in (path, os.path.normpath(path) + "_workdir"):
        layout = Layout(os.path.abspath(candidate))
        if os.path.isdir(layout.root) and not os.access(layout.root, os.R_OK | os.X_OK):
            raise WorkdirError(f"{candidate}: cannot be read: permission denied.")
        if any(os.path.exists(p) for p in (layout.register, layout.toprocess, layout.finished)):
            return layout
    raise WorkdirError(f"{path}: not a work directory. Name the directory that holds `toprocess` and `finished`.")


def read(layout: Layout) -> State:
    """Read the state of a run."""
    known = register.read(layout)
    done = set(records.ids(layout.finished))
    failed = set(records.ids(layout.failed)) - done
    waiting = set(records.ids(layout.toprocess)) - done - failed
    farmers: list[FarmerState] = []
    running: list[RunningTask] = []
    held_ids: set[int] = set()
    now = time.time()
    for name in roster.names(layout):
        held = claims.read(layout.claim(name))
        farmer = held.farmer
        if farmer is None:
            continue
        alive = is_alive(layout, farmer)
        open_ids = held.texts.keys() - done - failed - waiting
        if alive:
            held_ids |= open_ids
        farmers.append(
            FarmerState(
                name, farmer.host, farmer.pid, farmer.slots, alive, now - farmer.began, len(open_ids), len(held.running)
            )
        )
        for task_id, (attempt, slot, began) in sorted(held.running.items()):
            text = printable(held.texts.get(task_id, ""))
            running.append(RunningTask(task_id, text, attempt, farmer.host, slot, now - began, name, alive))
    tasks = known.tasks if known else len(done | failed | waiting)
    lost = max(0, tasks - len(done) - len(failed) - len(waiting) - len(held_ids))
    return State(
        layout.root, known.source if known else "", tasks, len(done), len(failed), sum(r.alive for r in running),
        len(held_ids), len(waiting), lost, known is None or known.complete, tuple(running), tuple(farmers),
    )  # fmt: skip


def failures(layout: Layout) -> Iterator[FailedTask]:
    """Yield the tasks that have failed, with what the timeline says of their last attempt."""
    failed = dict(records.scan(layout.failed))
    ends: dict[int, tuple[str, int | str | None]] = {}
    if failed:
        for event in timeline.read(layout.timeline):
            args = event.get("args", {})
            if args.get("id") in failed and args.get("outcome") != Outcome.STOPPED.value:
                ends[args["id"]] = (args.get("outcome", ""), args.get("status", args.get("signal")))
    for task_id, text in failed.items():
        outcome, status = ends.get(task_id, (None, None))
        yield FailedTask(task_id, printable(text.decode("utf-8", "surrogateescape")), outcome, status)


def is_alive(layout: Layout, farmer: identity.Farmer) -> bool:
    """Whether a farmer seems to live: by its process where that can be seen, else by its heartbeat."""
    if farmer.same_pids:
        return bool(farmer.ticks) and identity.start_ticks(farmer.pid) == farmer.ticks
    try:
        return time.time() - os.stat(layout.claim_lock(farmer.name)).st_mtime < _SILENT
    except FileNotFoundError:
        return False
