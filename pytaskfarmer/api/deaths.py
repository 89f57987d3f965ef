"""What a caller is told of the death of a worker."""

import contextlib
import signal

from pytaskfarmer.api.faults import WorkerDied
from pytaskfarmer.task import Outcome
from pytaskfarmer.workdir import outputs
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.results import Result

_SHOWN = 2000
_NOTE = "pytaskfarmer: the worker "


def death(layout: Layout, result: Result) -> BaseException:
    """Return the exception of the call that was executing."""
    if result.outcome is Outcome.TIMED_OUT:
        return TimeoutError("the call took longer than the timeout, and was ended")
    printed = _printed(layout, result.task_id)
    return WorkerDied(f"{_words(result.status)} during this call{f'; it had printed: {printed}' if printed else ''}")


def _printed(layout: Layout, task_id: int) -> str:
    """Return the end of what a task has printed, without the farmer's note of what `_words` says too."""
    output = outputs.latest(layout, task_id)
    if output is None:
        return ""
    with open(output.path, "rb") as file:
        file.seek(output.offset + max(0, output.length - _SHOWN))
        printed = file.read(min(_SHOWN, output.length)).decode(errors="replace").strip()
    before, _, last = printed.rpartition("\n")
    return before if last.startswith(_NOTE) else printed


def _words(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"the worker was killed by {signal.Signals(-status).name}"
    return f"the worker ended with exit status {status}"
