"""Read-only facts of the batch allocation that this process runs in, as Slurm tells them.

Nothing here fails: what a variable does not say, or says in words that make no sense, is simply not known.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

_SPARE_DESCRIPTORS = 64
_OF_PROCESS = 2  # descriptors: what tells that it has ended, and the spool of its slot
_OF_WORKER, _OF_CALL = 3, 2  # its end, its line and its mark; the spool, and the log of a call that is not sent yet
_SHELL_OF_SALLOC = "4294967290"  # with `use_interactive_step`: a step by name, but the place of a script
_TASKS_PER_NODE = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,9})\))?")


@dataclass(frozen=True, slots=True)
class Allocation:
    """What is known of the allocation; every fact is None outside of one.

    `engine` names the batch system. `step` is None in the batch script itself, and in the shell of `salloc`. `nodes`
    are those of the step, or else of the job, and `farmers_here` the processes that `srun` started on this node, this
    one included. `cpus` and `gpus` are the allocation's on this node, `cpus_of_task` what a process of a step was
    promised.
    """

    job: str | None = None
    array_job: str | None = None
    array_task: int | None = None
    step: str | None = None
    node: str | None = None
    nodes: int | None = None
    cpus: int | None = None
    announced_end: float | None = None
    cpus_of_task: int | None = None
    gpus: int | None = None
    farmers_here: int | None = None
    engine: str = ""

    @property
    def in_step_of_several_nodes(self) -> bool:
        """Whether this process is one of several that `srun` started, on more than one node."""
        return self.step is not None and (self.nodes or 1) > 1

    @property
    def identity(self) -> str:
        """How the batch system and people call the job, elements of an array as ARRAY_TASK; "" outside of one."""
        if self.array_job is not None and self.array_task is not None:
            return f"{self.array_job}_{self.array_task}"
        return self.job or ""


def read(environ: Mapping[str, str]) -> Allocation:
    """Return the facts that an environment of Slurm's holds."""
    job = _word(environ, "SLURM_JOB_ID") or _word(environ, "SLURM_JOBID")
    if job is None:
        return Allocation()
    step = _word(environ, "SLURM_STEP_ID") or _word(environ, "SLURM_STEPID")
    if step == _SHELL_OF_SALLOC:
        step = None
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
        announced_end=float(end) if end else None,
        cpus_of_task=_number(environ, "SLURM_CPUS_PER_TASK") or None if step is not None else None,
        gpus=_number(environ, "SLURM_GPUS_ON_NODE"),
        farmers_here=_tasks_here(environ) if step is not None else None,
        engine="slurm",
    )


def cpus(allocation: Allocation, affinity: Collection[int]) -> int:
    """Return how many CPUs this process may keep busy; `affinity` is its mask.

    The mask is the last word upwards, the allocation downwards. A step has one farmer a task, and Slurm promised each
    of them SLURM_CPUS_PER_TASK; the batch script has the node's share of the whole job, whatever that variable says.
    """
    limits = [len(affinity), allocation.cpus, allocation.cpus_of_task]
    return max(1, min(limit for limit in limits if limit is not None))


def crowding(allocation: Allocation, slots: int) -> str | None:
    """Say what is wrong, and how to start farmers instead, where those of one step are too many for their node.

    Several of one step on one node share its CPUs, and each believes that they are its own: more than two slots a CPU
    are no wish then, but a mistake.
    """
    farmers, shared = allocation.farmers_here or 1, allocation.cpus or os.cpu_count() or 1
    if farmers == 1 or slots * farmers <= 2 * shared:
        return None
    return (
        f"{farmers} farmers with {slots} slots each share the {shared} CPUs of this node. One farmer a node is enough: "
        f"srun --nodes={allocation.nodes} --ntasks-per-node=1 --cpus-per-task={shared} "
        f"pytaskfarmer.py --proc {shared} TASKLIST"
    )


def squeezed(allocation: Allocation, affinity: Collection[int], slots: int) -> str | None:
    """Say so where `srun` has bound this farmer to far fewer CPUs than its slots need: one, unless it was told."""
    there = len(affinity)
    if allocation.step is None or slots <= 2 * there or there == os.cpu_count():
        return None
    return (
        f"srun bound this farmer to {there} CPU{'' if there == 1 else 's'}, which its {slots} slots share; "
        f"srun --cpus-per-task={slots} gives it more"
    )


def most_slots(in_flight: int | None = None) -> int:
    """Return how many processes at a time a farmer can hold here, by its limits on open files and on processes.

    `in_flight` is how many tasks each of them may hold, if they are warm workers.
    """
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    each = _OF_PROCESS if in_flight is None else _OF_WORKER + _OF_CALL * in_flight
    limits = [(files - _SPARE_DESCRIPTORS) // each]
    if processes != resource.RLIM_INFINITY:
        limits.append(processes - _SPARE_DESCRIPTORS)
    return max(1, min(limits))


def end_time(allocation: Allocation, patience: float = 5.0) -> float | None:
    """Return when the allocation ends, in seconds since the epoch, or None.

    Where the environment does not say so, `scontrol` is asked, once. Its controller may be busy: that blocks for up to
    `patience` seconds.
    """
    if allocation.announced_end is not None or not allocation.identity:
        return allocation.announced_end
    return parse_end_time(ask(allocation.identity, patience))


def parse_end_time(text: str) -> float | None:
    """Return the EndTime that `scontrol show job` printed in UTC, in seconds since the epoch, or None."""
    import calendar
    import time

    match = re.search(r"\bEndTime=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\b", text)
    try:
        return float(calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))) if match else None
    except ValueError:
        return None


@cache
def ask(job: str, patience: float = 5.0) -> str:
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


def _tasks_here(environ: Mapping[str, str]) -> int | None:
    """Return how many processes of the step are on this node, from words such as `4(x2),1` and this node's place."""
    place = _number(environ, "SLURM_NODEID")
    words = _word(environ, "SLURM_STEP_TASKS_PER_NODE")
    if place is None or words is None:
        return None
    for word in words.split(","):
        match = _TASKS_PER_NODE.fullmatch(word)
        if match is None:
            return None
        place -= int(match[2] or 1)
        if place < 0:
            return int(match[1])
    return None


def _word(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
