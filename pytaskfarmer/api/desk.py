"""The files of a farm of calls, beside those of every work directory."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass

from pytaskfarmer.workdir.layout import Layout


@dataclass(frozen=True, slots=True)
class Desk:
    """Their names; `root` is the work directory, absolute."""

    root: str

    @property
    def layout(self) -> Layout:
        """The names of all other files."""
        return Layout(self.root)

    @property
    def calls(self) -> str:
        """Functions and arguments, packed one behind the other."""
        return os.path.join(self.root, "calls")

    @property
    def list(self) -> str:
        """The task list: a line for each slice of calls."""
        return os.path.join(self.root, "calls.list")

    @property
    def jobs(self) -> str:
        """What the caller asked for, a JSON object a line: enough to recognise it when it asks again."""
        return os.path.join(self.root, "calls.jobs")

    @property
    def done(self) -> str:
        """Where workers are to begin with slices that were stopped: a task's id and a place in its chunk a line."""
        return os.path.join(self.root, "calls.done")

    @property
    def log(self) -> str:
        """What the farm itself has to say."""
        return os.path.join(self.root, "farm.log")

    def log_of_job(self, job: str) -> str:
        """Return what the farmers in a batch job have to say."""
        return f"{self.log}-{job}"

    def logs_of_jobs(self) -> Sequence[str]:
        """Return those that there are."""
        return glob.glob(f"{glob.escape(self.log)}-*")
