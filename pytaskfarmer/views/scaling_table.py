"""The table that scaling studies append to: a CSV file, one row for each run that counts."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pytaskfarmer.errors import FarmError, UsageError
from pytaskfarmer.views.scaling import Timing
from pytaskfarmer.views.words import count

COLUMNS = (
    "study", "date", "list", "digest", "tasks", "options", "workers", "repeat", "seconds", "task_seconds",
    "cpu_seconds", "host", "cores", "version",
)  # fmt: skip
"""`study` and `date` are when the command and the run began, in ISO 8601 with the offset from UTC, so `study` is the
same for the runs that were compared. `list` is its name as typed, `digest` tells its tasks from those of another one,
`options` are those for the farmer, and `cores` are the CPUs that it may use. The seconds are those of `Timing`."""


@dataclass(frozen=True, slots=True)
class Study:
    """What is measured: which list with which options, and where; `began` has a time zone."""

    began: datetime
    tasklist: str
    digest: str
    tasks: int
    options: str
    host: str
    cores: int
    version: str

    def row(self, began: datetime, timing: Timing) -> tuple[str | int, ...]:
        """Return the row of a run that began then, in the order of `COLUMNS`."""
        return (
            self.began.isoformat(timespec="seconds"), began.isoformat(timespec="seconds"), self.tasklist, self.digest,
            self.tasks, self.options, timing.workers, timing.repeat, f"{timing.seconds:.3f}",
            f"{timing.task_seconds:.3f}", f"{timing.cpu_seconds:.3f}", self.host, self.cores, self.version,
        )  # fmt: skip

    @property
    def title(self) -> str:
        """What stands above a picture."""
        return f"{self.tasklist}: {count(self.tasks, 'task')} on {self.host}, {count(self.cores, 'CPU')}"


class Table:
    """The file at `path`; made, with its head, when the first row comes."""

    def __init__(self, path: str) -> None:
        """Look at what is there. Raises `UsageError` for a table with other columns."""
        self.path = path
        try:
            with open(path, newline="", encoding="utf-8", errors="replace") as file:
                head = next(csv.reader(file), None)
        except FileNotFoundError:
            head = None
        if head is not None and tuple(head) != COLUMNS:
            raise UsageError(f"{path}: has other columns than a table of ours; move it away, or use --output DIR.")

    def prepare(self) -> None:
        """Make sure that rows can be written, before hours are spent on them."""
        os.makedirs(os.path.dirname(self.path) or os.curdir, exist_ok=True)
        open(self.path, "ab").close()

    def add(self, row: Sequence[str | int]) -> None:
        """Append a row, on a line of its own also where a crash has torn the last one. Raises `FarmError`."""
        try:
            with open(self.path, "a+b") as file:
                line = _line(row)
                if not file.seek(0, os.SEEK_END):
                    line = _line(COLUMNS) + line
                else:
                    file.seek(-1, os.SEEK_END)
                    line = (b"" if file.read() == b"\n" else b"\n") + line
                file.write(line)
        except OSError as error:
            raise FarmError(f"{self.path}: cannot be written: {error.strerror}.") from error


def _line(row: Sequence[str | int]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")
