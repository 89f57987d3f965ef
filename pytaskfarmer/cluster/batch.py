"""From a plan to jobs in the batch system, and out of it again; each is noted in the work directory."""

import sys
from dataclasses import replace

from pytaskfarmer.cluster import notes
from pytaskfarmer.cluster.contract import ENGINES, BatchError, Engine, Plan, Sight, State, load
from pytaskfarmer.errors import FarmError
from pytaskfarmer.workdir.layout import Layout

_OVER = {State.ENDED, State.CANCELLED}


def leader(engine: Engine, layout: Layout, allocations: int = 1) -> tuple[str, ...]:
    """Return what is to stand before the command that starts the farmers: see `leader.py`."""
    again = ("--allocations", str(allocations)) if allocations > 1 else ()
    return (*python("pytaskfarmer.cluster"), "--engine", engine.name, "--workdir", layout.root, *again, "--")


def python(module: str) -> tuple[str, ...]:
    """Return how to run a module of ours by this very interpreter, whatever lies in the current directory."""
    return sys.executable, "-P", "-m", module


def rows(plan: Plan, chain: int) -> list[Plan]:
    """Return the plans that are submitted first: of jobs that others follow, each farmer has a row of its own."""
    return [plan] if chain == 1 else [replace(plan, farmers=1)] * plan.farmers


def submit(engine: Engine, plan: Plan, layout: Layout, chain: int = 1) -> tuple[str, ...]:
    """Submit all jobs of a plan, or none, and return their ids.

    With `chain` above 1, each of the plan's farmers becomes a row of that many jobs, one after the end of the other.
    """
    notes.prepare(layout)
    jobs: list[str] = []
    try:
        for first in rows(plan, chain):
            link = first
            for _ in range(chain):
                made = engine.submit(engine.render(link), link)
                jobs += made
                notes.submitted(layout, engine.name, made, link.follows)
                link = replace(first, after=(), follows=made)
    except (FarmError, OSError, KeyboardInterrupt):
        _withdraw(engine, jobs)
        raise
    return tuple(jobs)


def _withdraw(engine: Engine, jobs: list[str]) -> None:
    try:
        engine.cancel(jobs)
    except BatchError as error:
        print(f"pytaskfarmer: jobs that may still be there: {' '.join(jobs)}: {error}", file=sys.stderr)


def sights(layout: Layout, patience: float) -> list[tuple[notes.Job, Sight]]:
    """Return every job that was submitted for a work directory, in that order, and where it is.

    A batch system that gives no answer within `patience` seconds leaves its jobs `UNKNOWN`.
    """
    known = _jobs(layout)
    found: dict[str, Sight] = {}
    for name in dict.fromkeys(job.engine for job in known):
        found |= load(name).look([job.id for job in known if job.engine == name], patience)
    return [(job, found[job.id]) for job in known]


def cancel(layout: Layout) -> list[str]:
    """Cancel every job that was submitted for a work directory and has not ended; return their ids."""
    known = _jobs(layout)
    cancelled: list[str] = []
    for name in dict.fromkeys(job.engine for job in known):
        engine = load(name)
        states = engine.states([job.id for job in known if job.engine == name])
        left = [job for job, state in states.items() if state not in _OVER]
        engine.cancel(left)
        cancelled += left
    return cancelled


def _jobs(layout: Layout) -> list[notes.Job]:
    """Return the jobs that were submitted for a work directory, but for those of batch systems that are not known."""
    return [job for job in notes.read(layout).jobs.values() if job.engine in ENGINES]
