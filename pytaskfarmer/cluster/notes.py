"""What a work directory knows of its batch jobs: a file to which a line is added for each job, and each beginning.

It is written by whoever submits, perhaps before the work directory has books, and by the jobs; nothing about tasks
depends on it.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.workdir.layout import Layout

_ID = re.compile(r"\w[\w.+]*")  # and no option of the programs that are asked about it


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was submitted: by which engine, at what time (seconds since the epoch), and which it waits for."""

    id: str
    engine: str
    at: float
    follows: tuple[str, ...] = ()


@dataclass(slots=True)
class Notes:
    """All jobs, in order of submission; how often each began, and how many tasks had ended when it last did."""

    jobs: dict[str, Job] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    ended_before: dict[str, int] = field(default_factory=dict)

    def followers(self, job: str) -> list[str]:
        """Return the jobs that wait for `job`, and those that wait for these, in order of submission."""
        found = [job]
        for other in self.jobs.values():
            if not set(found).isdisjoint(other.follows):
                found.append(other.id)
        return found[1:]


def read(layout: Layout) -> Notes:
    """Return what is noted; lines that a crash tore, or that are not ours, count for nothing."""
    notes = Notes()
    for facts in _lines(layout.job_notes):
        match facts:
            case {"submitted": str(job), "engine": str(engine), "at": float(at), "follows": [*follows]}:
                if _ID.fullmatch(job):
                    notes.jobs[job] = Job(job, engine, at, tuple(map(str, follows)))
            case {"began": str(job), "ended": int(ended)}:
                notes.begun[job] += 1
                notes.ended_before[job] = ended
    return notes


def submitted(layout: Layout, engine: str, jobs: Sequence[str], follows: Sequence[str] = ()) -> None:
    """Note jobs that were just submitted."""
    for job in jobs:
        _append(layout, {"submitted": job, "engine": engine, "at": time.time(), "follows": list(follows)})


def began(layout: Layout, job: str, ended: int) -> None:
    """Note that a job begins, with so many tasks ended."""
    _append(layout, {"began": job, "at": time.time(), "ended": ended})


def prepare(layout: Layout) -> None:
    """Make the directory into which jobs print, before they do. Raises `WorkdirError`."""
    try:
        os.makedirs(layout.jobs, exist_ok=True)
    except OSError as error:
        raise WorkdirError(f"{error.filename}: cannot be made: {error.strerror}.") from None


def _append(layout: Layout, facts: dict[str, object]) -> None:
    with open(layout.job_notes, "ab", buffering=0) as file:
        file.write(json.dumps(facts).encode() + b"\n")


def _lines(path: str) -> Iterator[object]:
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue
