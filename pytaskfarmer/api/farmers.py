"""What can be known in files of the farmers in jobs: how many calls each makes at a time, and why they have ended."""

import os

from pytaskfarmer.api.desk import Desk
from pytaskfarmer.workdir.identity import slots_in

REFUSALS = ("pytaskfarmer: error: ", "no worker can be had: ")
"""How the words of a farmer begin that cannot work."""


def slots(root: str) -> list[int]:
    """Return the slots of each farmer that is registered; some may be dead."""
    from pytaskfarmer.workdir import roster  # not earlier: few callers have farmers in jobs, and it takes 30 ms

    try:
        return [slots_in(name) for name in roster.names(Desk(root).layout)]
    except OSError:  # a file system that has a bad moment
        return []


def last_words(root: str) -> tuple[str, str]:
    """Return the youngest log of the farmers in jobs, and in a line of it why they ended, or its last one."""
    desk = Desk(root)
    path: str = max(desk.logs_of_jobs(), key=os.path.getmtime, default=desk.log_of_job("*"))
    try:
        with open(path, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
    except OSError:
        return path, "no log"
    return path, next((line for line in lines if line.startswith(REFUSALS)), lines[-1] if lines else "not a word")
