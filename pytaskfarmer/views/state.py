"""The state of a run, read from its files without a lock: it may be a moment old, and decides nothing."""

import os
import time
from collections.abc import Container, Iterator
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
    """A registered farmer; `age` in seconds.

    `alive` is what its heartbeat and, on its own node, its process tell; only there it can be seen to be `suspended`.
    `held` counts what it has taken and does not run now. `job` is what its batch system calls its job, "" outside.
    """

    name: str
    host: str
    pid: int
    slots: int
    alive: bool
    suspended: bool
    age: float
    held: int
    running: int
    job: str


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that has failed; `status` is the exit status or the signal's name, None where no event tells it."""

    id: int
    task: str
    outcome: str | None
    status: int | str | None


@dataclass(frozen=True, slots=True)
class State:
    """Counts of a run, its running tasks and its farmers.

    Every task is counted once. `held` are those that a living farmer has taken and does not run now: about to start,
    waiting for another attempt, or just ended. `lost` ones were taken by the dead, or are named nowhere; while the list
    is being set up (not `ready`), the latter are `waiting`.
    """

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


def workdir_of(path: str, *, even_before: bool = False) -> Layout:
    """Return the layout of a work directory; also for the path of a task list whose work directory is beside it.

    `even_before` any farmer has begun, one for which jobs were submitted will do. Raises `WorkdirError` where there is
    none.
    """
    for candidate in (path, os.path.normpath(path) + "_workdir"):
        layout = Layout(os.path.abspath(candidate))
        if os.path.isdir(layout.root) and not os.access(layout.root, os.R_OK | os.X_OK):
            raise WorkdirError(f"{candidate}: cannot be read: permission denied.")
        if has_books(layout) or (even_before and os.path.exists(layout.job_notes)):
            return layout
        if os.path.exists(layout.job_notes):
            raise WorkdirError(f"{path}: no farmer has begun yet; `pytaskfarmer status` tells where its jobs are.")
    if os.path.isdir(path):
        raise WorkdirError(f"{path}: not a work directory. Name the directory that holds `toprocess` and `finished`.")
    if os.path.exists(path):
        raise WorkdirError(
            f"{path}: has not been run: there is no {path}_workdir. If its work directory is elsewhere, name the "
            "directory instead of the list."
        )
    raise WorkdirError(f"{path}: no such file or directory. Name a task list or its work directory.")


def has_books(layout: Layout) -> bool:
    """Whether a farmer has begun there, of this or of an older version."""
    return any(os.path.exists(path) for path in (layout.register, layout.toprocess, layout.finished))


def read(layout: Layout) -> State:
    """Read the state of a run, in the order in which tasks move, so that one which moves meanwhile is not missed."""
    known = register.read(layout)
    waiting = set(records.ids(layout.toprocess))
    claimed_by = list(_claims(layout))
    done = set(records.ids(layout.finished))
    failed = set(records.ids(layout.failed)) - done
    waiting -= done | failed
    farmers: list[FarmerState] = []
    running: list[RunningTask] = []
    taken: set[int] = set()
    now = time.time()
    for name, claimed, farmer, alive in claimed_by:
        theirs = claimed.texts.keys() - done - failed
        if alive:
            taken |= theirs
            waiting -= theirs
        else:
            theirs -= waiting
        held = len(theirs - claimed.running.keys())
        farmers.append(
            FarmerState(
                name, farmer.host, farmer.pid, farmer.slots, alive, alive and _is_suspended(farmer), now - farmer.began,
                held, len(theirs) - held, farmer.allocation,
            )
        )  # fmt: skip
        for task_id in sorted(theirs & claimed.running.keys()):
            attempt, slot, began = claimed.running[task_id]
            text = printable(claimed.texts[task_id])
            running.append(RunningTask(task_id, text, attempt, farmer.host, slot, now - began, name, alive))
    tasks = known.tasks if known else len(done | failed | waiting)
    ready = known is None or known.complete
    nowhere = max(0, tasks - len(done) - len(failed) - len(waiting) - len(taken))
    to_come, lost = (0, nowhere) if ready else (nowhere, 0)
    runs = sum(task.alive for task in running)
    return State(
        layout.root, known.source if known else "", tasks, len(done), len(failed), runs, max(0, len(taken) - runs),
        len(waiting) + to_come, lost, ready, tuple(running), tuple(farmers),
    )  # fmt: skip


def _claims(layout: Layout) -> Iterator[tuple[str, claims.Claims, identity.Farmer, bool]]:
    """Yield what each farmer holds, with its name, who it is, and whether it seems to live."""
    for name in roster.names(layout):
        claimed = claims.read(layout.claim(name))
        if claimed.farmer is not None:
            yield name, claimed, claimed.farmer, is_alive(layout, claimed.farmer)


def endings(layout: Layout, ids: Container[int] | None = None) -> dict[int, tuple[str, int | str | None]]:
    """Return the outcome of each task's last attempt that was not stopped, and its exit status or signal's name.

    Of these tasks, or of all; reads the whole timeline.
    """
    ends: dict[int, tuple[str, int | str | None]] = {}
    for event in timeline.read(layout.timeline):
        args = event.get("args", {})
        task_id = args.get("id")
        if (
            task_id is not None
            and (ids is None or task_id in ids)
            and args.get("outcome", Outcome.STOPPED.value) != Outcome.STOPPED.value
        ):
            ends[task_id] = (args["outcome"], args.get("status", args.get("signal")))
    return ends


def failures(layout: Layout) -> Iterator[FailedTask]:
    """Yield the tasks that have failed, with what the timeline says of their last attempt."""
    failed = dict(records.scan(layout.failed))
    ends = endings(layout, failed) if failed else {}
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


def _is_suspended(farmer: identity.Farmer) -> bool:
    if not farmer.same_pids:
        return False
    try:
        with open(f"/proc/{farmer.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
