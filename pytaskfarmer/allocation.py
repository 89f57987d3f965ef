"""Read-only facts of the batch allocation that this process runs in: Slurm's environment, and `scontrol`.

Nothing here fails: what a variable does not say, or says in words that make no sense, is simply not known.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_SPARE_DESCRIPTORS = 64
_DESCRIPTORS_OF_SLOT = 2  # what tells that its process has ended, and its spool


@dataclass(frozen=True, slots=True)
class Allocation:
    """What is known of the allocation; every fact is None outside of one.

    `step` is None in the batch script itself. `nodes` are those of the step, or else of the job. `cpus` are the
    allocation's on this node. `restarts` counts how often the job was requeued.
    """

    job: str | None = None
    array_job: str | None = None
    array_task: int | None = None
    step: str | None = None
    node: str | None = None
    nodes: int | None = None
    cpus: int | None = None
    restarts: int | None = None
    announced_end: float | None = None

    @property
    def in_step_of_several_nodes(self) -> bool:
        """Whether this process is one of several that `srun` started, on more than one node."""
        return self.step is not None and (self.nodes or 1) > 1

    @property
    def identity(self) -> str:
        """How `scontrol` and people call the job, elements of an array as ARRAY_TASK; "" outside of one."""
        if self.array_job is not None and self.array_task is not None:
            return f"{self.array_job}_{self.array_task}"
        return self.job or ""


def read(environ: Mapping[str, str]) -> Allocation:
    """Return the facts that an environment holds."""
    job = _word(environ, "SLURM_JOB_ID") or _word(environ, "SLURM_JOBID")
    if job is None:
        return Allocation()
    step = _word(environ, "SLURM_STEP_ID") or _word(environ, "SLURM_STEPID")
    of_job = _number(environ, "SLURM_JOB_NUM_NODES") or _number(environ, "SLURM_NNODES")
    of_step = _number(environ, "SLURM_STEP_NUM_NODES") if step is not None else None
    end = _number(environ, "SLURM_JOB_END_TIME")
    return Allocation(
        job=job,
        array_job=_word(environ, "SLURM_ARRAY_JOB_ID"),
        array_task=_number(environ, "SLURM_ARRAY_TASK_ID"),
        step=step,
        node=_word(environ, "SLURMD_NODENAME"),
        nodes=of_step or of_job or 1,
        cpus=_number(environ, "SLURM_CPUS_ON_NODE") or None,
        restarts=_number(environ, "SLURM_RESTART_COUNT") or 0,
        announced_end=float(end) if end else None,
    )


def cpus(environ: Mapping[str, str], affinity: Collection[int]) -> int:
    """Return how many CPUs this process may keep busy; `affinity` is its mask.

    The mask is the last word upwards, the allocation downwards. A step has one farmer a task, and Slurm gave each of
    them SLURM_CPUS_PER_TASK; the batch script has the node's share of the whole job, whatever that variable says.
    """
    allocation = read(environ)
    limits = [len(affinity)]
    if allocation.cpus is not None:
        limits.append(allocation.cpus)
    per_task = _number(environ, "SLURM_CPUS_PER_TASK")
    if allocation.step is not None and per_task:
        limits.append(per_task)
    return max(1, min(limits))


def most_slots() -> int:
    """Return how many slots this process can hold, by its limits on open files and on processes."""
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limits = [(files - _SPARE_DESCRIPTORS) // _DESCRIPTORS_OF_SLOT]
    if processes != resource.RLIM_INFINITY:
        limits.append(processes - _SPARE_DESCRIPTORS)
    return max(1, min(limits))


def end_time(allocation: Allocation, patience: float = 5.0) -> float | None:
    """Return when the allocation ends, in seconds since the epoch, or None.

    Where the environment does not say so, `scontrol` is asked, each time. Its controller may be busy: that blocks for
    up to `patience` seconds.
    """
    if allocation.announced_end is not None or not allocation.identity:
        return allocation.announced_end
    return parse_end_time(_ask(allocation.identity, patience))


def parse_end_time(text: str) -> float | None:
    """Return the EndTime that `scontrol show job` printed in UTC, in seconds since the epoch, or None."""
    import calendar
    import time

    match = re.search(r"\bEndTime=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\b", text)
    try:
        return float(calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))) if match else None
    except ValueError:
        return None


def _ask(job: str, patience: float) -> str:
    """Return what `scontrol` says of a job, with times in UTC, which no change of the clock makes ambiguous."""
    import subprocess

    environ = os.environ | {"TZ": "UTC0", "SLURM_TIME_FORMAT": "standard"}
    command = ["scontrol", "--oneliner", "show", "job", job]
    try:
        return subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience,
            check=False,
            encoding="utf-8",
            errors="replace",
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _word(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
