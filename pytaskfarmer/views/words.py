"""What a run says to a person, as values: pure functions from numbers to lines."""

import os
import shlex
from collections.abc import Iterator

from pytaskfarmer.durations import format_duration
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.watching import Summary, Tally
from pytaskfarmer.task import Attempt, Outcome, printable, signal_name
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.locking import FLOCK
from pytaskfarmer.workdir.opening import Opened

_TEXT_SHOWN = 60
_ENDS_THAT_TELL = 3
"""No time to go is estimated before so many tasks, and one in each slot, have ended."""


def place(path: str) -> str:
    """Return a path as short as it can be typed here."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def count(number: int, noun: str) -> str:
    """Return "1 task", "1,200 tasks"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cut(text: str) -> str:
    """Return a task's text, short enough for a line, with `…` where it was cut."""
    return printable(text, _TEXT_SHOWN)


def ending(attempt: Attempt) -> str:
    """Return in few words how an attempt ended."""
    status = attempt.status if attempt.status >= 0 else signal_name(-attempt.status)
    return ending_of(attempt.outcome.value, status)


def ending_of(outcome: str, status: int | str | None) -> str:
    """Return in few words what an outcome and an exit status or signal's name mean."""
    if outcome == Outcome.SUCCESS.value:
        return "ok"
    if outcome == Outcome.NONZERO_EXIT.value:
        return f"exit {status}"
    if outcome == Outcome.KILLED_BY_SIGNAL.value:
        return str(status)
    return outcome.replace("_", " ")


def start_line(opened: Opened, rules: Rules, logs: str) -> str:
    """Return the one line at the start."""
    books = opened.books
    parts = [count(books.register.tasks, "task")]
    if opened.census is not None and (done := opened.census.finished + opened.census.failed):
        failed = f", {opened.census.failed:,} of them failed" if opened.census.failed else ""
        parts.append(f"{done:,} done before{failed}")
    if opened.company:
        parts.append(f"with {count(opened.company, 'other farmer')}")
    parts += [count(rules.slots, "slot"), f"logs: {logs}"]
    if books.register.lock != FLOCK:
        parts.append(f"lock: {books.register.lock}")
    return "; ".join([*parts, f"work directory {place(books.layout.root)}"])


def progress_line(tally: Tally, seconds: float) -> str:
    """Return one sparse line of progress."""
    ended = tally.finished + tally.failed
    if tally.before is None or tally.company:
        parts = [f"{ended:,} done here", f"{tally.failed:,} failed"]
    else:
        parts = [f"{tally.before + ended:,} done", f"{tally.failed_before + tally.failed:,} failed"]
    parts.append(f"{tally.running:,} running")
    remaining = left(tally)
    parts.append(f"{remaining:,} left")
    rate = ended / seconds if seconds > 0 else 0.0
    if rate > 0:
        parts.append(f"{rate:.3g}/s")
        steady = not (tally.company or tally.in_trouble) and ended >= max(_ENDS_THAT_TELL, tally.running)
        if steady and remaining > tally.running:
            parts.append(f"about {format_duration(remaining / rate)} to go")
    return ", ".join(parts)


def left(tally: Tally) -> int:
    """Return how many tasks have not ended: exact for a farmer that is alone, an estimate in company."""
    if tally.before is not None and not tally.company:
        return tally.tasks - tally.before - tally.finished - tally.failed
    return tally.waiting + tally.held


def end_line(attempt: Attempt) -> str:
    """Return the line about one end that `--verbose` prints."""
    again = f" (attempt {attempt.number})" if attempt.number > 1 else ""
    text = cut(attempt.task.text)
    return f"task {attempt.task.id}{again}: {ending(attempt)} after {format_duration(attempt.duration)}: {text}"


def summary_lines(summary: Summary, layout: Layout, logs: str, slots: int) -> Iterator[str]:
    """Yield the summary: counts, time, failures, what was held back, and what to do next."""
    about = "" if summary.exact else "about "
    counts = [
        f"{about}{summary.list_finished:,} of {summary.tally.tasks:,} finished",
        f"{summary.list_failed:,} failed",
    ]
    if summary.left:
        counts.append(f"{about}{summary.left:,} left")
    tally = summary.tally
    if not (summary.left or tally.finished or tally.failed or tally.stopped):
        yield f"{', '.join(counts)}; nothing was left to do"
        yield from _next_step(summary, layout, logs)
        return
    wall = f"{format_duration(summary.seconds)}"
    busy = summary.busy_seconds / (summary.seconds * slots) if summary.seconds > 0 else 0.0
    yield f"{', '.join(counts)}; {wall}, {count(slots, 'slot')} {min(busy, 1.0):.0%} busy"
    if summary.failures:
        yield "failed in this run, and not recorded yet:" if summary.claims_left else "failed in this run:"
        for attempt in summary.failures:
            text = cut(attempt.task.text)
            yield f"  {attempt.task.id}  {ending(attempt)}  {text}{_log(attempt, layout, logs)}"
        if summary.tally.failed > len(summary.failures):
            yield f"  and {summary.tally.failed - len(summary.failures):,} more"
    if summary.not_fitting:
        yield f"{count(summary.not_fitting, 'task')} held back: a typical one would not have ended before the deadline"
    if summary.stopped_by and not summary.unfit:
        yield f"stopped by {summary.stopped_by}"
        if summary.tally.stopped:
            yield f"{count(summary.tally.stopped, 'running task')} went back to the list"
    if summary.claims_left:
        yield "the work directory cannot be written: nothing is lost, and the next run records what this one held"
    yield from _next_step(summary, layout, logs)


def _log(attempt: Attempt, layout: Layout, logs: str) -> str:
    if logs == "files":
        return f"  {place(layout.log(attempt.task.id))}"
    if logs == "pack":
        return f"  pytaskfarmer logs {shlex.quote(place(layout.root))} {attempt.task.id}"
    return ""


def _next_step(summary: Summary, layout: Layout, logs: str) -> Iterator[str]:
    directory = shlex.quote(place(layout.root))
    if summary.failures and logs == "files":
        yield f"see: pytaskfarmer logs {directory} {summary.failures[0].task.id}"
    if summary.list_failed > len(summary.failures):
        yield f"all that failed: pytaskfarmer status {directory} --all"
    if summary.unfit:
        yield "next: mend what keeps the runner's workers from starting, and run the same command again to resume"
    elif summary.left and summary.exit_status == 3:
        yield "next: run the same command again to resume"
    elif summary.left:
        yield f"the rest is held by {count(summary.others, 'other farmer')} (--wait waits for it)"
    elif summary.list_failed:
        yield "next: run the same command with --retry-failed"
