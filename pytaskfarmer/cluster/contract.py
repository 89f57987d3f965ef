"""What a batch system is to us: a few verbs, and the frozen plan of a job.

A batch system is one module of this package, named as in `ENGINES`, with an object `engine` that keeps the contract
`Engine`. It is found by its program on PATH, or inside a job by the variable that it sets there. A new one is one file
and one line of the table.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple, Protocol

from pytaskfarmer.allocation import Allocation
from pytaskfarmer.errors import FarmError, UsageError


class Traces(NamedTuple):
    """How a batch system shows itself: its program on PATH, and a variable that only its jobs have."""

    program: str
    variable: str


ENGINES: Mapping[str, Traces] = {
    "slurm": Traces("sbatch", "SLURM_JOB_ID"),
    "gridengine": Traces("qconf", "SGE_TASK_ID"),
}
"""The batch systems, by the names of their modules here."""


PATIENCE = 60.0
"""How long a busy batch system is waited for, in seconds."""


class BatchError(FarmError):
    """The batch system refused, did not answer, or said what makes no sense."""


class State(enum.Enum):
    """Where a job is, whatever its batch system calls that.

    `HELD` waits for a person: it would not start by itself, however empty the machine. `CANCELLED` has ended, or is
    about to, because somebody wished so; a system that does not tell calls it `ENDED`. `UNKNOWN`: the system did not
    answer.
    """

    PENDING = "pending"
    HELD = "held"
    RUNNING = "running"
    ENDED = "ended"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sight:
    """Where a job is, and in the batch system's words why it waits or how it ended; "" where it does not say.

    One that is `ending` is on its way out, but something of it may still run.
    """

    state: State
    reason: str = ""
    ending: bool = False

    def __str__(self) -> str:
        return "is ending" if self.ending else _WORDS[self.state] + (f": {self.reason}" if self.reason else "")


_WORDS = {
    State.PENDING: "waits",
    State.HELD: "does not start by itself",
    State.RUNNING: "runs",
    State.ENDED: "has ended",
    State.CANCELLED: "was cancelled",
    State.UNKNOWN: "is not known",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run in a job.

    On each of `nodes` nodes, `farmers_per_node` processes `argv` (absolute program) are started in `directory`. Where
    there is a `leader`, it is what the job's script becomes, and what starts them stands behind it: it gets the
    signals, and its exit status is the job's. `farmers` independent jobs are made of the one plan.

    `seconds` is the time limit, None for the system's own. `cpus` is for each farmer, None for whole nodes where the
    system knows such a thing. `output` is a path with `{job}` where the job's id goes. `after` are jobs that must have
    succeeded first, `follows` those that must have ended, in whatever way. A `requeue` job may run again after the
    failure of a node and by our own wish. `options` are for the batch system as they are, a value None for a flag.
    """

    argv: tuple[str, ...]
    directory: str
    output: str
    leader: tuple[str, ...] = ()
    name: str = "pytaskfarmer"
    nodes: int = 1
    farmers_per_node: int = 1
    farmers: int = 1
    seconds: float | None = None
    cpus: int | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    partition: str | None = None
    after: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    requeue: bool = False
    options: tuple[tuple[str, str | None], ...] = ()


class Engine(Protocol):
    """One batch system. A verb that talks to it raises `BatchError`, and answers within a minute or so."""

    name: str

    def allocation(self, environ: Mapping[str, str]) -> Allocation:
        """Return what a job's environment tells, with `engine` = `name`; `Allocation()` outside of a job."""
        ...

    def end_time(self, allocation: Allocation) -> float | None:
        """Return when the allocation ends, in seconds since the epoch; None if that is not known. Never raises."""
        ...

    def render(self, plan: Plan) -> str:
        """Return the job's script. Pure. Raises `UsageError` for a wish that this system has no counterpart of.

        The script gives the farmers their grace: what runs them stands behind `exec` or what is as good.
        """
        ...

    def submit(self, script: str, plan: Plan) -> tuple[str, ...]:
        """Submit what `render` has made of `plan`; return what to call the jobs, one id for each or one for all."""
        ...

    def states(self, jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, State]:
        """Return where each of these jobs is, asking once. Never raises.

        What gives no answer within `patience` seconds is `UNKNOWN`.
        """
        ...

    def look(self, jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, Sight]:
        """Return where each of these jobs is, and why; looks closer at what waits than `states`. Never raises.

        Each question to the batch system is given up after `patience` seconds.
        """
        ...

    def shorten(self, job: str) -> None:
        """Let a job that waits, and has hardly anything to do, start sooner, if the system knows how. Never raises."""
        ...

    def cancel(self, jobs: Sequence[str]) -> None:
        """End these jobs, the last one first; those that have ended already are no error."""
        ...

    def requeue(self, job: str) -> int | None:
        """Let this job, from within it, run again when it ends: return the exit status that asks for that, if any."""
        ...


def load(name: str) -> Engine:
    """Return the batch system of that name. Raises `UsageError`."""
    if name not in ENGINES:
        raise UsageError(f"there is no batch system {name!r}. Known: {', '.join(ENGINES)}.")
    engine: Engine = import_module(f"pytaskfarmer.cluster.{name}").engine
    return engine


def find(path: str | None = None) -> Engine:
    """Return the batch system whose program is on PATH (or `path`). Raises `UsageError` if there is none."""
    import shutil

    for name, traces in ENGINES.items():
        if shutil.which(traces.program, path=path):
            return load(name)
    programs = ", ".join(f"{traces.program} ({name})" for name, traces in ENGINES.items())
    raise UsageError(f"no batch system found: none of these programs is on PATH: {programs}.")


def surroundings(environ: Mapping[str, str]) -> Allocation:
    """Return the facts of the job in which this process runs; `Allocation()` outside of one."""
    for name, traces in ENGINES.items():
        if environ.get(traces.variable):
            return load(name).allocation(environ)
    return Allocation()


def end_time(allocation: Allocation) -> float | None:
    """Return when an allocation ends, in seconds since the epoch, or None; asks the batch system if need be."""
    return load(allocation.engine).end_time(allocation) if allocation.engine else None


def stuck(engine: Engine, jobs: Sequence[str], patience: float) -> list[str]:
    """Return a line for each of these jobs that does not start by itself, with the batch system's reason."""
    return [f"job {job} {sight}" for job, sight in engine.look(jobs, patience).items() if sight.state is State.HELD]


def outer_environment(
    environ: Mapping[str, str], names: Collection[str] = (), prefixes: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return what a new job may inherit: nothing of a farm around us, nor variables of these names and prefixes.

    A process that carried the mark of a farmer would be killed as that one's leftover.
    """
    foreign = ("PYTASKFARMER_", *prefixes)
    ours = {"PROC_NUMBER", *names}
    return {name: value for name, value in environ.items() if name not in ours and not name.startswith(foreign)}


def as_clock(seconds: float) -> str:
    """Return a time limit, at least a second, as `HH:MM:SS`."""
    whole = max(1, round(seconds))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
