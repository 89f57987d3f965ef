"""How many slots a farmer gets, and what each of them: from the options, the node and the batch system."""

import os
from dataclasses import dataclass

from pytaskfarmer import allocation
from pytaskfarmer.farm.resources import Share, Wants, plan

_SLOTS = 8


@dataclass(frozen=True, slots=True)
class Sizing:
    """So many processes at a time, with a share each if they have one, and what a person must know about that."""

    processes: int
    shares: tuple[Share, ...] = ()
    warnings: tuple[str, ...] = ()


def size(proc: int | str | None, wants: Wants, batch: allocation.Allocation, in_flight: int | None = None) -> Sizing:
    """Return what `--proc` (None: not given) and the wants of a task come to here. Raises `UsageError`.

    `in_flight` is how many tasks one process may hold, if they are warm workers.
    """
    sizing, most = _wanted(proc, wants, batch), allocation.most_slots(in_flight)
    warnings = [*sizing.warnings]
    if sizing.processes > most:
        warnings.append(f"--proc {sizing.processes}: more than this node can hold; using {most} slots")
    processes = min(sizing.processes, most)
    if squeezed := allocation.squeezed(batch, os.sched_getaffinity(0), processes):
        warnings.append(squeezed)
    return Sizing(processes, sizing.shares[:processes], tuple(warnings))


def _wanted(proc: int | str | None, wants: Wants, batch: allocation.Allocation) -> Sizing:
    if wants:
        from pytaskfarmer.farm import node

        facts = node.read(os.environ, batch, os.sched_getaffinity(0))
        asked = proc if isinstance(proc, int) else None
        shares = plan(wants, facts, asked, os.environ)
        warnings = _idle_gpus(wants.gpus, facts.gpu_count, len(shares)) if wants.gpus and asked is None else ()
        return Sizing(len(shares), shares if wants.cpus or wants.gpus else (), warnings)
    if proc == "auto":
        return Sizing(allocation.cpus(batch, os.sched_getaffinity(0)))
    if proc == "all":
        return Sizing(os.cpu_count() or 1)
    return Sizing(int(proc or _SLOTS))


def _idle_gpus(each: int, there: int, processes: int) -> tuple[str, ...]:
    """Return a warning where the CPUs or the memory, not the GPUs, say how many tasks run."""
    if (processes + 1) * each > there:
        return ()
    idle = f"{there - processes * each} of {there} GPUs stay idle"
    return (f"{idle}: CPUs or memory allow {processes} tasks at a time; --proc N runs N, with fewer CPUs each",)
