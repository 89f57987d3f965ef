"""What a caller is told of the death of a worker."""

from pytaskfarmer.api.faults import WorkerDied
from pytaskfarmer.task import Outcome, signal_name
from pytaskfarmer.workdir import outputs
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.results import Result

_SHOWN = 2000
_NOTE = "pytaskfarmer: the worker "


def death(layout: Layout, result: Result, *, echoed: bool) -> BaseException:
    """Return the exception of the call that was executing; its text has what was printed, unless that was `echoed`."""
    if result.outcome is Outcome.TIMED_OUT:
        return TimeoutError("the call took longer than the timeout, and was ended")
    log = _log(layout, result.task_id)
    words = f"{_words(result.status)} during this call"
    return WorkerDied(words if echoed or not log else f"{words}; it had printed: {log}", result.status, log)


def without_note(printed: str) -> str:
    """Return what a task has printed, without the farmer's note of what `_words` says too."""
    before, end, last = printed.rstrip("\n").rpartition("\n")
    return before + end if last.startswith(_NOTE) else printed


def _log(layout: Layout, task_id: int) -> str:
    """Return the end of what a task has printed."""
    output = outputs.latest(layout, task_id)
    if output is None:
        return ""
    with open(output.path, "rb") as file:
        file.seek(output.offset + max(0, output.length - _SHOWN))
        return without_note(file.read(min(_SHOWN, output.length)).decode(errors="replace")).strip()


def _words(status: int) -> str:
    if status < 0:
        return f"the worker was killed by {signal_name(-status)}"
    return f"the worker ended with exit status {status}"
