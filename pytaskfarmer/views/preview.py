"""`--dry-run`: the tasks that a run would start, read without a lock and without a trace."""

from collections.abc import Iterator, Sequence

from pytaskfarmer.views import state
from pytaskfarmer.workdir import claims, records, register, revision, roster
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.source import Source, fingerprint


def tasks(layout: Layout, source: Source, *, retry_failed: bool, update: bool) -> Iterator[bytes]:
    """Yield an `ID task` line for every task that is not done and that no living farmer runs.

    Raises `TasklistError` for a list that a run would refuse. Holds the texts of what is done in memory.
    """
    known = register.read(layout)
    living = list(_living(layout))
    news = fingerprint(source, known.tasks if known else 0)
    if known is not None and known.complete:
        revision.compare(layout, known, source, news, living, update=update)
    done = {} if retry_failed else dict(records.scan(layout.failed))
    done.update(records.scan(layout.finished))
    running = {task_id for name in living for task_id in claims.read(layout.claim(name)).running}
    for task_id, text in source.stream():
        if task_id not in running and done.get(task_id, b"").strip() != text.strip():
            yield records.line_of(task_id, text)


def _living(layout: Layout) -> Sequence[str]:
    farmers = {name: claims.read(layout.claim(name)).farmer for name in roster.names(layout)}
    return [name for name, farmer in farmers.items() if farmer is not None and state.is_alive(layout, farmer)]
