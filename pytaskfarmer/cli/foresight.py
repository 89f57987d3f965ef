"""What a farmer would refuse in a job, or find done, asked before the job is submitted: a queue is a long wait."""

from dataclasses import dataclass

from pytaskfarmer.cluster import leader
from pytaskfarmer.errors import UsageError
from pytaskfarmer.workdir import register, revision
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.source import Source, fingerprint


@dataclass(frozen=True, slots=True)
class Outlook:
    """How many tasks a list has, and if nothing of it is left (`done`), how many of them have failed."""

    tasks: int
    done: bool = False
    failed: int = 0


def outlook(layout: Layout, source: Source, *, lock: str | None, update: bool, retry_failed: bool) -> Outlook:
    """Read the list as farmers will, and compare it with what the work directory knows; takes no lock.

    Raises `FarmError` for what they would refuse.
    """
    known = register.read(layout)
    news = fingerprint(source, known.tasks if known else 0)
    if known is None:
        return Outlook(news.tasks)
    if lock and lock != known.lock:
        raise UsageError(f"--lock {lock}: {layout.root} uses {known.lock}. Leave the option out.")
    if not known.complete:
        return Outlook(news.tasks)
    differences = revision.compare(layout, known, source, news, (), update=update)
    now = leader.standing(layout)
    news_to_do = news.tasks > known.tasks or differences.changed or (retry_failed and now.failed)
    return Outlook(news.tasks, now.done and not news_to_do, now.failed)
