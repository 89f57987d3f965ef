"""Slurm: jobs by `sbatch`, farmers of several nodes by `srun`.

What its signals mean. At the time limit and on `scancel` the script and every step get TERM, and KILL after KillWait
(30 s by default). `--signal=B:USR1@60` reaches the script alone, `--signal=USR1@60` the steps alone. A bash script with
a plain foreground command dies of its TERM, and takes the command with it: so the script here becomes its last command
by `exec`, and that passes on what it gets.

Farmers are one step, also a single one: of a task that runs out of memory outside of a step, Slurm makes a job that is
OUT_OF_MEMORY, whatever its exit status. There is never a step for a task. `--no-kill` lets the farmers of other nodes
go on when a node fails, `--kill-on-bad-exit=0` when a farmer dies, and `--wait=0` when one has ended, however long ago;
`--cpu-bind=none` leaves every CPU of the job on its node to the farmer, which binds tasks itself. With `--overlap`, a
task may use `srun` as well. `--export=ALL` gives farmers the environment that the job has: `srun` would take away even
its PATH, where that was all `sbatch` left. `--mpi=none` keeps a task that is an MPI program from taking itself for a
rank of the step.
"""

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence

from pytaskfarmer import allocation
from pytaskfarmer.allocation import Allocation
from pytaskfarmer.cluster import program
from pytaskfarmer.cluster.contract import PATIENCE, BatchError, Plan, Sight, State, as_clock, outer_environment
from pytaskfarmer.errors import UsageError

_STEP = shlex.split("srun --kill-on-bad-exit=0 --wait=0 --no-kill --overlap --cpu-bind=none --export=ALL --mpi=none")
_PENDING = {"PENDING", "REQUEUED", "REQUEUE_FED"}
_HELD = {"REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_ENDED = {
    *("BOOT_FAIL", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT")
}
_NEVER = re.compile(  # what only a person can change; a limit of the kind ...PerJob is smaller than this very job
    r"JobHeld\w*|JobHoldMaxRequeue|.*requeued.held|DependencyNeverSatisfied|BadConstraints|Invalid(Account|QOS)"
    r"|(Account|QOS)NotAllowed|Partition(Config|Down|Inactive|NodeLimit|TimeLimit)|(Assoc|QOS)\w*PerJob\w*"
)
_JOB = re.compile(r"([0-9]+)(?:;\S+)?")
_OF_THE_USER = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_EXPORT_ENV", "SLURM_JWT", "SLURM_TIME_FORMAT"}


class Slurm:
    """The batch system Slurm."""

    name = "slurm"

    def allocation(self, environ: Mapping[str, str]) -> Allocation:
        """Return what the environment of a batch script or a step tells."""
        return allocation.read(environ)

    def end_time(self, allocation_: Allocation) -> float | None:
        """Return when the job reaches its time limit: from the environment of newer releases, else from `scontrol`."""
        return allocation.end_time(allocation_)

    def render(self, plan: Plan) -> str:
        """Return a bash script with its options in `#SBATCH` lines."""
        lines = [_directive(key, value) for key, value in _directives(plan)]
        command = shlex.join((*plan.leader, *_STEP, *_share(plan), *plan.argv))
        return "\n".join(["#!/bin/bash", *lines, "", f"exec {command}", ""])

    def submit(self, script: str, plan: Plan) -> tuple[str, ...]:
        """Hand the script to `sbatch`, once for each farmer; after a refusal, or Ctrl-C, those so far are cancelled."""
        environ = _outside(os.environ)
        jobs: list[str] = []
        try:
            for _ in range(plan.farmers):
                jobs.append(_submit(script, plan, environ))  # noqa: PERF401 - what there is so far matters below
        except (BatchError, KeyboardInterrupt):
            if jobs:
                self.cancel(jobs)
            raise
        return tuple(jobs)

    def states(self, jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, State]:
        """Ask `squeue`. A job that it has forgotten (some minutes after its end) has ended."""
        return {job: sight.state for job, sight in self.look(jobs, patience).items()}

    def look(self, jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, Sight]:
        """Ask `squeue`, whose one answer has all there is to know."""
        words = ["squeue", "--noheader", "--states=all", "--format=%i|%F|%T|%r", f"--jobs={','.join(jobs)}"]
        try:
            answer = program.ask(words, _unfiltered(), patience=patience) if jobs else program.Answer(0, "", "")
        except BatchError:
            return dict.fromkeys(jobs, Sight(State.UNKNOWN))
        if answer.status and "Invalid job id" not in answer.err:
            return dict.fromkeys(jobs, Sight(State.UNKNOWN))
        return parse(answer.out, jobs)

    def shorten(self, job: str) -> None:
        """Set its time limit to a minute: such a job fits into holes of the schedule."""
        with contextlib.suppress(BatchError):
            program.ask(["scontrol", "update", f"JobId={job}", "TimeLimit=1"])

    def cancel(self, jobs: Sequence[str]) -> None:
        """Ask `scancel`, for all at once: the last one first, so that none starts because the one before it is gone."""
        if not jobs:
            return
        answer = program.ask(["scancel", *reversed(jobs)], _unfiltered())
        known = ("Invalid job id", "already completing or completed")
        refusals = [
            line for line in answer.err.splitlines() if line.strip() and not any(word in line for word in known)
        ]
        if refusals:
            raise BatchError(f"scancel: {' '.join(refusals)}")

    def requeue(self, job: str) -> None:
        """Ask `scontrol`: the job starts anew when it has ended."""
        answer = program.ask(["scontrol", "requeue", job])
        if answer.status:
            raise BatchError(f"scontrol requeue {job}: {answer.complaint}")


engine = Slurm()


def parse(text: str, jobs: Sequence[str]) -> dict[str, Sight]:
    """Return where jobs are by lines `ID|ARRAY|STATE|REASON`; of an array, what its most living element does."""
    found: dict[str, list[Sight]] = {job: [] for job in jobs}
    for line in text.splitlines():
        job, array, word, reason = (*line.split("|", 3), "", "", "")[:4]
        for name in {job, array} & found.keys():
            found[name].append(_sight(word, "" if reason == "None" else reason))
    order = (State.RUNNING, State.PENDING, State.HELD, State.CANCELLED, State.ENDED)
    return {
        job: min(sights, key=lambda sight: (order.index(sight.state), sight.ending), default=Sight(State.ENDED))
        for job, sights in found.items()
    }


def _sight(word: str, reason: str) -> Sight:
    if word in _PENDING:
        return Sight(State.HELD if _NEVER.fullmatch(reason) else State.PENDING, reason)
    if word in _HELD:
        return Sight(State.HELD, reason or word)
    if word == "CANCELLED":
        return Sight(State.CANCELLED)
    if word in _ENDED:
        return Sight(State.ENDED, "" if word == "COMPLETED" else ", ".join(filter(None, (word, reason))))
    return Sight(State.RUNNING, ending=word == "COMPLETING")


def _directives(plan: Plan) -> list[tuple[str, str | None]]:
    """Return the options of `sbatch`; of two with one name, the later one counts."""
    options: list[tuple[str, str | None]] = [
        ("job-name", plan.name),
        ("chdir", plan.directory),
        ("output", _pattern(plan.output)),
        ("open-mode", "append"),  # a job that runs again must not wipe what it said before
        ("nodes", str(plan.nodes)),
        ("ntasks-per-node", str(plan.farmers_per_node)),
        *([("exclusive", None)] if plan.cpus is None else [("cpus-per-task", str(plan.cpus))]),
        *([("time", as_clock(plan.seconds))] if plan.seconds is not None else []),
        *([("no-kill", None)] if plan.nodes > 1 else []),
        *([("requeue", None)] if plan.requeue else []),
        *([("kill-on-invalid-dep", "yes")] if plan.after else []),  # else it would wait for ever, where others failed
    ]
    wishes = {"account": plan.account, "qos": plan.qos, "constraint": plan.constraint, "partition": plan.partition}
    options += [(key, value) for key, value in wishes.items() if value is not None]
    options += plan.options
    dependency = [f"afterok:{job}" for job in plan.after] + [f"afterany:{job}" for job in plan.follows]
    if plan.after and any(key in {"dependency", "d"} for key, _ in plan.options):
        raise UsageError("--after and --sbatch dependency=...: use one of them.")
    return [*options, ("dependency", ",".join(dependency))] if dependency else options


def _pattern(path: str) -> str:
    """Return a path as `--output` wants it, where a backslash would switch all patterns off."""
    if "\\" in path:
        raise UsageError(
            f"{os.path.dirname(path)}: Slurm cannot write to a path with a backslash in it. Choose another."
        )
    return "%j".join(path.replace("%", "%%").rsplit("{job}", 1))  # the last: a list may be called so


def _directive(key: str, value: str | None) -> str:
    option, equals = (f"--{key}", "=") if len(key) > 1 else (f"-{key}", " ")
    if value is None:
        return f"#SBATCH {option}"
    if "\n" in value:
        raise UsageError(f"{option} {value!r}: a line of a batch script has no line end in it.")
    return f"#SBATCH {option}{equals}{shlex.quote(value)}"


def _share(plan: Plan) -> list[str]:
    """Return how many farmers the step has, since `srun` does not learn all of that from its job."""
    share = [f"--nodes={plan.nodes}", f"--ntasks-per-node={plan.farmers_per_node}"]
    return share if plan.cpus is None else [*share, f"--cpus-per-task={plan.cpus}"]


def _outside(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without that of a job in which we may be: it would contradict the script."""
    if "SLURM_JOB_ID" not in environ:
        return outer_environment(environ)
    kept = {name: environ[name] for name in _OF_THE_USER & environ.keys()}
    return outer_environment(environ, prefixes=("SLURM", "SRUN")) | kept


def _unfiltered() -> dict[str, str]:
    """Return the environment without the user's defaults, which may hide jobs, or let `scancel` wait for a yes."""
    return outer_environment(os.environ, prefixes=("SQUEUE_", "SCANCEL_"))


def _submit(script: str, plan: Plan, environ: Mapping[str, str]) -> str:
    # Also on the command line: SBATCH_ACCOUNT and its like in the environment override the lines of a script.
    options = [word for key, value in _directives(plan) for word in shlex.split(_directive(key, value))[1:]]
    answer = program.ask(["sbatch", "--parsable", *options], environ, stdin=script)
    if answer.status:
        raise BatchError(f"sbatch refused the job: {answer.complaint}")
    match = _JOB.fullmatch(answer.out.strip().rpartition("\n")[2])  # some sites greet first
    if match is None:
        raise BatchError(f"sbatch printed {answer.out.strip()!r}, which is no job id; `squeue --me` shows your jobs.")
    sys.stderr.write(answer.err)  # what the site has to say to its users
    return match[1]
