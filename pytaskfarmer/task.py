"""The words everyone speaks: a task, and why its last attempt ended.

Where a task *is*, the books say; why an attempt *ended* (`Outcome`) does not tell: a task whose attempt was stopped is
back in `toprocess`, one whose attempt failed may be waiting for the next attempt.

Task texts are `str` decoded from UTF-8 with `surrogateescape`, whatever the locale says, so that bytes which are
not UTF-8 come back unchanged from `encode`.
"""

import enum
import functools
import signal
from dataclasses import dataclass

LONGEST_TEXT = 131_071
"""Bytes of the longest argument that Linux hands to a program (MAX_ARG_STRLEN, less its final NUL)."""


class Outcome(enum.Enum):
    """Why an attempt ended."""

    SUCCESS = "success"
    NONZERO_EXIT = "nonzero_exit"
    KILLED_BY_SIGNAL = "killed_by_signal"
    TIMED_OUT = "timed_out"
    FAILED_TO_START = "failed_to_start"
    STOPPED = "stopped"
    OUT_OF_MEMORY = "out_of_memory"
    FARMER_LOST = "farmer_lost"


@dataclass(frozen=True, slots=True)
class Task:
    """One line of a task list: `id` counts from 0, `text` has no newline."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt at a task ended.

    `number` counts from 1. `status` is the exit status, or minus the signal's number. `start` is in seconds since
    the epoch, `duration` and `cpu` (user + system) in seconds, `peak_memory` in bytes; `pid` is the OS's.
    """

    task: Task
    number: int
    slot: int
    outcome: Outcome
    status: int
    start: float
    duration: float
    cpu: float = 0.0
    peak_memory: int = 0
    pid: int = 0


def encode(text: str) -> bytes:
    """Return the very bytes that `decode` was given."""
    return text.encode("utf-8", "surrogateescape")


def decode(line: bytes) -> str:
    """Return `line` as text from which `encode` gives the same bytes back."""
    return line.decode("utf-8", "surrogateescape")


def printable(text: str, limit: int = 200) -> str:
    """Return `text` fit for a terminal or JSON: no control or lone surrogate characters, at most `limit` long."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    if short.isprintable():
        return short
    return "".join(c if c.isprintable() or c == " " else "\N{REPLACEMENT CHARACTER}" for c in short)


@functools.cache
def signal_name(number: int) -> str:
    """Return "SIGTERM" for 15, and "SIG40" for a signal without a name of its own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def defect(text: bytes) -> str | None:
    """Say what makes a task text unusable, or return None: it is fine."""
    if b"\0" in text:
        return "has a NUL byte, which no command line can carry"
    if b"\n" in text:
        return "has a newline; a task is one line"
    if len(text) > LONGEST_TEXT:
        return f"is {len(text):,} bytes long; the kernel takes no argument above {LONGEST_TEXT:,}"
    return None
