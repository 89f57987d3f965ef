"""`--dry-run`: the tasks that a run would start, read without a lock and without a trace."""

import os
from collections.abc import Iterator

from pytaskfarmer.workdir import claims, records, register, roster
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.source import Source


def tasks(layout: Layout, source: Source, *, retry_failed: bool) -> Iterator[bytes]:
    """Yield an `ID task` line for every task that is not done and that no registered farmer holds."""
    known = register.read(layout) if os.path.isdir(layout.root) else None
    adopting = known is None
    done: dict[int, bytes] = {}
    for path in (layout.finished,) if retry_failed else (layout.finished, layout.failed):
        done.update((task_id, text.strip() if adopting else b"") for task_id, text in records.scan(path))
    for name in roster.names(layout):
        done.update((task_id, b"") for task_id in claims.read(layout.claim(name)).running)
    for task_id, text in source.stream():
        if task_id not in done or (adopting and done[task_id] != text.strip()):
            yield records.line_of(task_id, text)
