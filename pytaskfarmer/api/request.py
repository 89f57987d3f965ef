"""What a farm of calls is asked for: jobs, each a function for many calls, and slices of these calls, which are tasks.

A job is a JSON object on a line of its own; a later line about the same job counts more. A slice is six numbers and the
digest of its chunk on a line of the task list.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

ONE, STAR, APPLY = "one", "star", "apply"
"""How an item becomes the arguments of a call: it is the only one; it holds them all; it is a pair (them, keywords)."""


class Place(NamedTuple):
    """Where bytes lie in the file of calls."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class JobLine:
    """One function for many calls, in chunks of so many.

    `name` recognises it when the calls are made again, and `likeness` tells whether the function has changed.
    """

    job: int
    function: Place
    how: str = ONE
    chunk: int = 1
    name: str = ""
    likeness: str = ""

    def line(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self)) + "\n"


def parse_job(line: str | bytes) -> JobLine:
    """Return the job that `JobLine.line` wrote."""
    found = json.loads(line)
    return JobLine(**{**found, "function": Place(*found["function"])})


@dataclass(frozen=True, slots=True)
class Slice:
    """Calls `start` to `start + count - 1` of a chunk, whose first call is number `first` of its job.

    `digest` recognises the chunk when its calls are made again; one word.
    """

    job: int
    chunk: Place
    first: int
    start: int
    count: int
    digest: str = "-"

    @property
    def stop(self) -> int:
        """The place behind the last of them."""
        return self.start + self.count

    def line(self) -> str:
        """Return the task's text."""
        return f"{self.job} {self.chunk.offset} {self.chunk.size} {self.first} {self.start} {self.count} {self.digest}"

    def part(self, start: int, stop: int) -> "Slice":
        """Return the calls from `start` up to `stop`, as places in the chunk."""
        return replace(self, start=start, count=stop - start)


def parse(line: str) -> Slice:
    """Return the slice that `Slice.line` wrote."""
    *numbers, digest = line.split()
    job, offset, size, first, start, count = map(int, numbers)
    return Slice(job, Place(offset, size), first, start, count, digest)
