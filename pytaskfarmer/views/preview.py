"""`--dry-run`: the tasks that a run would start, read without a lock and without a trace."""

from collections.abc import Iterator

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.views import state
from pytaskfarmer.workdir import claims, records, register, roster
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.source import Source


def tasks(layout: Layout, source: Source, *, retry_failed: bool) -> Iterator[bytes]:
    """Yield an `ID task` line for every task that is not done and that no living farmer runs.

    Raises `TasklistError` where a finished task's line was changed. Holds the texts of what is done in memory.
    """
    adopting = register.read(layout) is None
    finished = dict(records.scan(layout.finished))
    failed = {} if retry_failed else dict(records.scan(layout.failed))
    running = set(_running(layout))
    for task_id, text in source.stream():
        recorded = finished.get(task_id, failed.get(task_id))
        if recorded is not None and recorded.strip() == text.strip():
            continue
        if task_id in finished and not adopting:
            raise TasklistError(
                source.path, None, f"task {task_id} has finished and was changed: a run would refuse this."
            )
        if task_id not in running:
            yield records.line_of(task_id, text)


def _running(layout: Layout) -> Iterator[int]:
    for name in roster.names(layout):
        held = claims.read(layout.claim(name))
        if held.farmer is not None and state.is_alive(layout, held.farmer):
            yield from held.running
